"""Questions asked of small corpora: a few of the passages that a search of the whole found, with the answer or without
it, or passages about something else, some of them in another language. For learning and measuring when to refuse.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lavra.retrieval.acceptance import Evidence, words_met
from lavra.retrieval.analysis import analyse_query, query_words
from lavra.retrieval.candidates import Candidate
from lavra.retrieval.fusion import Fusion
from question_sets import Question, QuestionSet, Searched, candidate_features

SIZES = (1, 2, 3, 5, 10, 30)
MIXED = ((1, 0), (1, 2), (1, 9), (3, 0), (3, 3), (10, 0), (10, 30), (2, 10))
"""Passages in the question's language, and in another."""


@dataclass(frozen=True)
class Asked:
    """A question and all that its corpus holds; ``kind``: answer, none, foreign (another subject), mixed (the answer
    among passages on other subjects and in other languages)."""

    text: str
    languages: tuple[str, ...]
    candidates: list[Candidate]
    answered: bool
    kind: str


def evidence(asked: Asked, fusion: Fusion) -> Evidence:
    """What speaks for the passage that the fusion puts first."""
    odds = fusion.log_odds(candidate_features(asked.text, asked.candidates, asked.languages))
    best = asked.candidates[int(odds.argmax())]
    keywords = analyse_query(asked.text, corpus_languages=asked.languages).split()
    met = words_met(query_words(asked.text, corpus_languages=asked.languages), keywords, best.analysed)
    return Evidence(float(odds.max()), best.sentence, met, len(asked.candidates))


def whole(of: QuestionSet, questions: Sequence[Question], searched: Searched) -> Iterator[Asked]:
    """The searches as they were, those that found the answer and those from which it was taken away."""
    for question, candidates, labels in zip(questions, searched.candidates, searched.labels, strict=False):
        if candidates:
            found = bool((labels == 1).any())
            yield Asked(question.text, (of.language,), candidates, found, "answer" if found else "none")


def small(sets: Sequence[tuple[QuestionSet, Sequence[Question], Searched]], *, seed: int = 0) -> Iterator[Asked]:
    """Each question asked of four small corpora, one of a kind."""
    draw = random.Random(seed)
    found: dict[str, list[Candidate]] = {}
    for of, _, searched in sets:
        found.setdefault(of.language, []).extend(c for candidates in searched.candidates for c in candidates)

    def foreign(language: str, count: int, documents: set[str]) -> list[Candidate]:
        chosen: list[Candidate] = []
        while len(chosen) < count:
            candidate = draw.choice(found[language])
            if candidate.document_id not in documents:
                chosen.append(candidate)
        return chosen

    for of, questions, searched in sets:
        others = sorted(set(found) - {of.language})
        for question, candidates, labels in zip(questions, searched.candidates, searched.labels, strict=True):
            right = [c for c, label in zip(candidates, labels, strict=True) if label == 1]
            wrong = [c for c, label in zip(candidates, labels, strict=True) if label == 0]
            size, only = draw.choice(SIZES), (of.language,)
            if wrong:
                yield Asked(question.text, only, draw.sample(wrong, min(size, len(wrong))), False, "none")
            if right:
                some = draw.sample(wrong, min(size - 1, len(wrong)))
                yield Asked(question.text, only, [draw.choice(right), *some], True, "answer")
            inside, outside = draw.choice(MIXED)
            other = draw.choice(others) if others else of.language
            documents = {candidate.document_id for candidate in right}
            both = tuple(dict.fromkeys((of.language, other)))
            strangers = foreign(other, outside, documents)
            mix = [*foreign(of.language, inside, documents), *strangers]
            yield Asked(question.text, both, mix, False, "foreign")
            if right:
                mix = [draw.choice(right), *foreign(of.language, inside - 1, documents), *strangers]
                yield Asked(question.text, both, mix, True, "mixed")
