"""What the replies of each way are worth: one number a question that ways are compared by, and all that goes with it.

That number, the *quality* of a reply, is 1 or 0 for refusing where nothing answers the question; where something does,
it is the share of the right answer's words that the reply holds, of those that tell something: not the question's own
words, which a model that knows nothing says again, nor function words. Recall, because of the measures without a judge
it agrees best with people on answers in whole sentences (Adlakha et al. 2024, Evaluating Correctness and Faithfulness
of Instruction-Following Models for Question Answering); F1 punishes every word beside a gold answer of two. It does not
see what is said beside the answer, which is what groundedness is for. A judge, or any other measure, takes its place
where one says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lavra.errors import LavraError
from lavra.evaluation.answers import normalise, without_markers
from lavra.evaluation.grounding import Entailment
from lavra.evaluation.items import Question, Reply
from lavra.evaluation.measuring import NAMES, Judge, Scores, measure
from lavra.evaluation.retrieved import found_by
from lavra.retrieval.analysis import fold
from lavra.retrieval.function_words import FUNCTION_WORDS
from lavra.workspace.studying.race import Entry
from lavra.workspace.studying.replies import Kept

if TYPE_CHECKING:
    from lavra.inference.embedder import Embedder

QUALITY = "quality"
RIGHT = 0.5
"""Quality from which a reply counts as right, where its failures are counted."""
FAILURES = ("error", "refused", "invented", "not_found", "found_wrong", "wrong")
"""No reply; refused what the documents answer; answered what nothing answers; the search found no source; it did, and
the reply is wrong all the same; wrong, by a way that does not search."""


@dataclass(frozen=True)
class Result:
    """A candidate's replies, measured. ``scores``: of the questions it answered; ``quality_N``: of all questions of the
    study, NaN where it was not asked."""

    entry: Entry
    kept: Sequence[Kept]
    scores: Scores
    quality_N: np.ndarray

    @property
    def name(self) -> str:
        return self.entry.candidate.name

    @property
    def failures(self) -> list[str]:
        """What went wrong, a question each; "" where nothing did."""
        quality = self.scores.values[QUALITY]
        return [
            failure(question, reply, float(value))
            for question, reply, value in zip(self.scores.questions, self.scores.replies, quality, strict=True)
        ]


def score(
    questions: Sequence[Question],
    kept: Sequence[Kept],
    *,
    by: str = QUALITY,
    embedder: Embedder | None = None,
    judge: Judge | None = None,
    entailment: Entailment | None = None,
) -> Scores:
    """Measure replies; ``values[QUALITY]`` is what ways are compared by."""
    from lavra.workspace.studying.replies import key

    by_key = {one.reply.question: one.reply for one in kept}
    replies = [replace(by_key[key(question)], question=question.id) for question in questions]
    scores = measure(questions, replies, embedder=embedder, judge=judge, entailment=entailment)
    values = {**scores.values, QUALITY: _quality(scores, by)}
    return replace(scores, values=values)


def _quality(scores: Scores, by: str) -> np.ndarray:
    """(N,) in 0 to 1. Refusing decides where nothing answers, also for measures that do not apply there."""
    answerable = np.array([question.answerable for question in scores.questions], dtype=bool)
    chosen = (
        scores.values[by] if by != QUALITY else np.array(list(map(telling_recall, scores.questions, scores.replies)))
    )
    found: np.ndarray = np.where(answerable, chosen, scores.values["refusal"])
    return found


def telling_recall(question: Question, reply: Reply) -> float:
    """Share of the words of the nearest right answer that tell something, and that the reply holds (as bags)."""
    if reply.refused or reply.error:
        return 0.0
    said = Counter(normalise(without_markers(reply.text), question.language).split())
    found = [0.0]
    for answer in question.answers:
        wanted = telling_words(answer, question.text, question.language)
        found.append((said & wanted).total() / max(1, wanted.total()))
    return max(found)


def telling_words(answer: str, question: str, language: str) -> Counter[str]:
    """Words of an answer that are neither the question's nor function words; all of them where none is left."""
    words = normalise(answer, language).split()
    empty = {*normalise(question, language).split(), *FUNCTION_WORDS.get(language, ())}
    return Counter([word for word in words if word not in empty and fold(word) not in empty] or words)


def check_measure(by: str) -> None:
    """Raises LavraError for a measure that ways cannot be compared by."""
    usable = (QUALITY, "exact_match", "token_f1", "rouge_l", "chrf", "similarity", "judge")
    if by not in usable or (by != QUALITY and by not in NAMES):
        raise LavraError(f"ways cannot be compared by {by!r}: give one of {', '.join(usable)}.")


def results(
    questions: Sequence[Question],
    entries: Sequence[Entry],
    measured: Callable[[Sequence[Question], Sequence[Kept]], Scores],
    progress: Callable[[int], None] = lambda done: None,
) -> list[Result]:
    """Every candidate that answered something, measured."""
    found = []
    for done, entry in enumerate(entries):
        progress(done)
        answered = [question for question in questions if entry.replies is not None and question in entry.replies]
        if not answered:
            continue
        kept = entry.kept(answered)
        scores = measured(answered, kept)
        value = dict(zip([question.id for question in answered], scores.values[QUALITY], strict=True))
        quality_N = np.array([value.get(question.id, np.nan) for question in questions])
        found.append(Result(entry, kept, scores, quality_N))
    progress(len(entries))
    return found


def failure(question: Question, reply: Reply, quality: float) -> str:
    """One of ``FAILURES``, or ""."""
    if reply.error:
        return "error"
    if not question.answerable:
        return "" if reply.refused else "invented"
    if reply.refused:
        return "refused"
    if quality >= RIGHT:
        return ""
    if not reply.passages:
        return "wrong"
    return "found_wrong" if any(found_by(reply.passages, question.sources)) else "not_found"
