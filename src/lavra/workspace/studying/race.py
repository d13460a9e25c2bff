"""Building candidates and asking them, cheapest first; under a budget the worse half leaves the race again and again.

Successive halving (Jamieson and Talwalkar 2016, Non-stochastic Best Arm Identification): all candidates answer a few
questions, the better half twice as many, until two are left, who answer all. What a budget buys is thereby spent on
those between which the choice lies. Building may take half of a budget, since what is built has to be asked as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lavra.errors import LavraError
from lavra.evaluation.items import Question
from lavra.training.callbacks import Callback, Step
from lavra.workspace.runs import Interrupted
from lavra.workspace.studying.budget import Spending
from lavra.workspace.studying.exam import Exam
from lavra.workspace.studying.grid import Candidate
from lavra.workspace.studying.replies import Kept, Replies, ask, replies_path
from lavra.workspace.studying.way import Built, Given
from lavra.workspace.workspace import Progress

FEWEST = 8
"""Questions of the first round, at least: fewer say nothing."""
FOR_BUILDING = 0.5
"""Share of a budget that all building may take; and never so much that a fifth of it is not left for asking."""
_ALL_BUT_ASKING = 0.8
LAST = 2
"""Candidates that answer everything: one more than the winner, to compare it with."""

State = Literal["whole", "dropped", "failed", "unbuilt", "cut"]


@dataclass
class Entry:
    """A candidate in the race. ``state``: it answered everything; it was dropped after a round; it failed; it was not
    built, or cut off, since the budget was spent. ``reason``: of the last three, in words."""

    candidate: Candidate
    built: Built | None = None
    replies: Replies | None = None
    state: State = "whole"
    reason: str = ""

    def kept(self, questions: Sequence[Question]) -> list[Kept]:
        return self.replies.of(questions) if self.replies is not None else []


class OverBudget(LavraError):
    """Building would take more than its share of the budget."""


class _Deadline(Callback):
    """Stops a training when ``share`` of the budget is spent; what was saved of it is continued under a larger one."""

    def __init__(self, spending: Spending, share: float) -> None:
        self.spending, self.share = spending, share

    def step(self, step: Step) -> None:
        if self.spending.share > self.share:
            raise OverBudget(f"what the budget has for building was spent at step {step.step} of {step.steps}")


class _Shown(Callback):
    """Steps of a training as the study's own progress."""

    def __init__(self, progress: Progress, name: str) -> None:
        self.progress, self.name = progress, name

    def step(self, step: Step) -> None:
        self.progress(f"Training {self.name}", step.step, step.steps)


@dataclass
class Race:
    """``quality``: how good the replies of an entry to some questions are, between 0 and 1; ``fees``: what others
    charge for replies."""

    given: Given
    exam: Exam
    spending: Spending
    quality: Callable[[Sequence[Question], Sequence[Kept]], float]
    fees: Callable[[Candidate, Sequence[Kept]], float]
    built: float = 0.0
    """Share of the budget that was spent on building."""

    def run(self, candidates: Sequence[Candidate]) -> list[Entry]:
        """All candidates, in the order given, as far as they came."""
        entries = [Entry(candidate) for candidate in candidates]
        racing = list(entries)
        for size in self._rounds(len(entries)):
            questions = self.exam.asked[:size]
            for entry in racing:
                if entry.built is None:
                    self._build(entry)
                if entry.built is not None:
                    self._ask(entry, questions)
            racing = [entry for entry in racing if entry.state == "whole"]
            if size < len(self.exam.asked):
                racing = self._better(racing, questions)
        return entries

    def _rounds(self, count: int) -> list[int]:
        return rounds(len(self.exam.asked), count) if self.spending.budget else [len(self.exam.asked)]

    def _better(self, racing: Sequence[Entry], questions: Sequence[Question]) -> list[Entry]:
        """The better half, in the order of before; of equals the cheaper."""
        best = sorted(racing, key=lambda entry: -self.quality(questions, entry.kept(questions)))
        staying = best[: max(LAST, math.ceil(len(best) / 2))]
        for entry in best[len(staying) :]:
            entry.state = "dropped"
        return [entry for entry in racing if entry in staying]

    def _build(self, entry: Entry) -> None:
        candidate = entry.candidate
        if self.spending.share >= 1:
            entry.state, entry.reason = "unbuilt", "the budget was spent before"
            return
        self.given.progress(f"Building {candidate.name}", 0, 1)
        callbacks = [*self.given.callbacks, _Shown(self.given.progress, candidate.name)]
        if self.spending.budget:
            left = FOR_BUILDING - self.built
            callbacks.append(_Deadline(self.spending, min(_ALL_BUT_ASKING, self.spending.share + left)))
        given = replace(self.given.to(candidate), callbacks=callbacks)
        before = self.spending.share
        try:
            with self.spending.on():
                entry.built = candidate.way.build(given)
        except Interrupted:
            raise
        except OverBudget as error:
            entry.state, entry.reason = "unbuilt", str(error)
        except Exception as error:  # reported, and the others go on
            self._failed(entry, error)
        else:
            entry.replies = Replies(replies_path(self.given.desk.workspace.store.root, entry.built.recipe))
            self.given.progress(f"Building {candidate.name}", 1, 1)
        finally:
            self.built += self.spending.share - before

    def _ask(self, entry: Entry, questions: Sequence[Question]) -> None:
        assert entry.built is not None
        assert entry.replies is not None
        name = entry.candidate.name
        before = set(entry.replies.kept)
        try:
            with self.spending.on():
                ask(
                    entry.built.load, questions, entry.replies, self.given.roles,
                    enough=lambda: self.spending.share >= 1,
                    progress=lambda done, total: self.given.progress(f"Asking {name}", done, total),
                )  # fmt: skip
        except Exception as error:
            self._failed(entry, error)
        new = [kept for question, kept in entry.replies.kept.items() if question not in before]
        self.spending.pay(self.fees(entry.candidate, new))
        if entry.state == "whole" and len(entry.kept(questions)) < len(questions):
            entry.state, entry.reason = "cut", "the budget was spent"

    def _failed(self, entry: Entry, error: Exception) -> None:
        said = str(error) if isinstance(error, LavraError) else f"{type(error).__name__}: {error}"
        entry.state, entry.reason = "failed", said
        self.given.say(f"{entry.candidate.name} failed, and the others go on: {said}")


def rounds(questions: int, candidates: int) -> list[int]:
    """How many questions each round asks, all of them in the last one."""
    halvings = max(0, math.ceil(math.log2(max(1, candidates) / LAST)))
    sizes = [max(FEWEST, questions >> left) for left in range(halvings, 0, -1)]
    return [*sorted({size for size in sizes if size < questions}), questions]
