"""All measures of a set of replies at once: one value a question and measure, NaN where a measure does not apply.

| measure | is | applies to |
|---|---|---|
| ``exact_match``, ``token_f1``, ``token_recall``, ``rouge_l``, ``chrf``, ``similarity`` | nearness to a right answer (``answers``) | answerable questions; 0 where the reply refuses |
| ``judge`` | a judge model's grade (``judging``) | where a judge is given |
| ``squad_f1`` | ``token_f1`` where answerable, else 1 for refusing: SQuAD 2.0's F1 | all |
| ``recall@1``, ``@3``, ``@5``, ``@10``, ``mrr``, ``ndcg``, ``context_precision`` | what was retrieved (``retrieved``) | answerable questions, where something retrieves |
| ``grounded`` | share of the reply's sentences that what was retrieved or cited supports (``grounding``) | replies that say something, of ways that retrieve or cite |
| ``grounded_in_source`` | the same against the question's own sources, whatever was retrieved | answerable questions whose sources have text |
| ``citation_precision``, ``citation_recall`` | citations that support their sentence; sentences that have one | replies that cite; ways that cite |
| ``hallucinated`` | 1 where a sentence is supported by neither (lower is better) | replies that say something |
| ``refusal`` | 1 where refusing or answering was the right decision | all |
| ``first_token``, ``seconds``, ``tokens_per_second`` | speed | replies without an error |

A reply with an error counts as a wrong one: a way that fails on hard questions must not look better for it.
"""  # noqa: E501

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lavra.errors import LavraError
from lavra.evaluation import answers as near
from lavra.evaluation import retrieved
from lavra.evaluation.grounding import Entailment, ground
from lavra.evaluation.intervals import Interval, mean_interval
from lavra.evaluation.items import Question, Reply
from lavra.retrieval.updating import TextEmbedder

LOWER_IS_BETTER = frozenset({"hallucinated", "first_token", "seconds"})

AT = (1, 3, 5, 10)
"""Depths of recall@k."""

Judge = Callable[[Question, Reply], float]
"""A grade between 0 and 1, or NaN where the judge could not say."""


@dataclass(frozen=True)
class Scores:
    """What was measured, in the order of ``questions``."""

    questions: tuple[Question, ...]
    replies: tuple[Reply, ...]
    values: Mapping[str, np.ndarray]
    """By measure, (N,) float64; NaN where it does not apply."""

    def interval(self, measure: str, *, seed: int = 0) -> Interval:
        """The mean of a measure with its interval."""
        return mean_interval(self.values[measure], seed=seed)

    def only(self, chosen: Callable[[Question], bool]) -> Scores:
        """The scores of some questions: of a topic, of a document."""
        kept = [number for number, question in enumerate(self.questions) if chosen(question)]
        return Scores(
            tuple(self.questions[number] for number in kept),
            tuple(self.replies[number] for number in kept),
            {name: values[kept] for name, values in self.values.items()},
        )


def measure(
    questions: Sequence[Question],
    replies: Sequence[Reply],
    *,
    embedder: TextEmbedder | None = None,
    judge: Judge | None = None,
    entailment: Entailment | None = None,
) -> Scores:
    """Measure replies against their questions.

    ``replies`` may come in any order; one for each question. Without an embedder, what needs one is NaN;
    ``entailment`` decides what is grounded in place of words.

    Raises:
        LavraError: where a question has no reply, or two, or a reply no question.
    """
    ordered = _matched(questions, replies)
    values = {name: np.full(len(questions), math.nan) for name in NAMES}
    retrieves = any(reply.passages for reply in ordered)
    cites = any(reply.cited for reply in ordered)
    for number, (question, reply) in enumerate(zip(questions, ordered, strict=True)):
        row = {**_answer(question, reply), **_decision(question, reply), **_speed(reply)}
        if retrieves and question.answerable:
            row |= _retrieval(question, reply)
        if not (reply.refused or reply.error):
            row |= ground(question, reply, embedder, entailment).values(evidence=retrieves or cites, cites=cites)
        if judge is not None:
            row["judge"] = judge(question, reply) if not reply.error else 0.0
        for name, value in row.items():
            values[name][number] = value
    if embedder is not None:
        values["similarity"] = _similarity(questions, ordered, embedder)
    return Scores(tuple(questions), ordered, values)


NAMES = (
    *("exact_match", "token_f1", "token_recall", "rouge_l", "chrf", "similarity", "judge", "squad_f1"),
    *(f"recall@{k}" for k in AT),
    *("mrr", "ndcg", "context_precision"),
    *("grounded", "grounded_in_source", "citation_precision", "citation_recall", "hallucinated", "refusal"),
    *("first_token", "seconds", "tokens_per_second"),
)


def _matched(questions: Sequence[Question], replies: Sequence[Reply]) -> tuple[Reply, ...]:
    by_question = {reply.question: reply for reply in replies}
    if len(by_question) < len(replies):
        raise LavraError("a question has two replies: measure one run at a time.")
    known = {question.id for question in questions}
    if strange := next((name for name in by_question if name not in known), None):
        raise LavraError(f"there is a reply to {strange!r}, which is not among the questions: measure the same set.")
    if missing := next((name for name in known if name not in by_question), None):
        raise LavraError(f"the question {missing!r} has no reply: answer all questions, or leave it out of both.")
    return tuple(by_question[question.id] for question in questions)


def _answer(question: Question, reply: Reply) -> dict[str, float]:
    if not question.answerable:
        return {"squad_f1": float(reply.refused and not reply.error)}
    if reply.refused or reply.error:
        return dict.fromkeys(("exact_match", "token_f1", "token_recall", "rouge_l", "chrf", "squad_f1"), 0.0)
    said = near.without_markers(reply.text)
    squad = {
        name: max(by(said, answer, question.language) for answer in question.answers) for name, by in _SQUAD.items()
    }
    return {
        **squad,
        "squad_f1": squad["token_f1"],
        "rouge_l": max(near.rouge_l(said, answer) for answer in question.answers),
        "chrf": max(near.chrf(said, answer) for answer in question.answers),
    }


_SQUAD: Mapping[str, Callable[[str, str, str], float]] = {
    "exact_match": near.exact_match,
    "token_f1": near.token_f1,
    "token_recall": near.token_recall,
}


def _decision(question: Question, reply: Reply) -> dict[str, float]:
    return {"refusal": float(reply.refused != question.answerable and not reply.error)}


def _retrieval(question: Question, reply: Reply) -> dict[str, float]:
    found = retrieved.found_by(reply.passages, question.sources)
    count = len(question.sources)
    return {
        **{f"recall@{k}": retrieved.recall_at(found, count, k) for k in AT},
        "mrr": retrieved.reciprocal_rank(found),
        "ndcg": retrieved.ndcg(found, count),
        "context_precision": retrieved.context_precision(found),
    }


def _speed(reply: Reply) -> dict[str, float]:
    if reply.error:
        return {}
    writing = reply.seconds - reply.first_token
    tokens = reply.completion_tokens - 1  # the first one's time is first_token
    speed = tokens / writing if tokens > 0 and writing > 0 else math.nan
    return {"first_token": reply.first_token, "seconds": reply.seconds, "tokens_per_second": speed}


def _similarity(questions: Sequence[Question], replies: Sequence[Reply], embedder: TextEmbedder) -> np.ndarray:
    """(N,) cosine of the reply with the nearest right answer, not below 0."""
    found = np.full(len(questions), math.nan)
    texts: dict[str, int] = {}
    asked: list[tuple[int, int, list[int]]] = []
    for number, (question, reply) in enumerate(zip(questions, replies, strict=True)):
        if not question.answerable:
            continue
        found[number] = 0.0
        if said := near.without_markers(reply.text) if not (reply.refused or reply.error) else "":
            numbers = [texts.setdefault(text, len(texts)) for text in (said, *question.answers)]
            asked.append((number, numbers[0], numbers[1:]))
    if asked:
        vectors = embedder.documents(list(texts))
        for number, said_number, right in asked:
            found[number] = max(0.0, float((vectors[right] @ vectors[said_number]).max()))
    return found
