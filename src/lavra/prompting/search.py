"""Which of many prompts is best, with few questions asked: successive halving (Jamieson and Talwalkar 2016).

All begin on a few questions, the better half goes on to twice as many, until all development questions were asked. The
prompt there is now runs along to the end, so that nothing wins by luck of the draw against nobody. What is tried is
searched part by part, the winner of one going into the next: instructions first, then how many examples and which, then
their order (Lu et al. 2022 and Zhao et al. 2021 say why order counts).

Pure: what a prompt scores on a question is whoever calls it to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Choice = Literal["nearest", "fixed"]
Order = Literal["nearest last", "nearest first"]
Answers = Literal["given", "own"]
FIRST = 16
"""Questions of the first round: fewer would drop good ones by chance, for eight right of sixteen is anything from five
to eleven."""


@dataclass(frozen=True)
class Variant:
    """A prompt that is tried. ``instruction``: the system's text; ``origin``: who wrote it; ``shown`` examples, by
    ``choice``: those nearest to the question, or always the same, drawn by ``seed``; ``answers``: as the file gives
    them, or the model's own where they were right."""

    instruction: str
    origin: str = "present"
    shown: int = 0
    choice: Choice = "nearest"
    order: Order = "nearest last"
    answers: Answers = "given"
    seed: int = 0

    @property
    def said(self) -> str:
        """In a line of a table."""
        if not self.shown:
            return "no examples"
        which = f"{self.shown} examples, {'nearest' if self.choice == 'nearest' else f'drawn by {self.seed}'}"
        own = ", in its own words" if self.answers == "own" else ""
        return f"{which}{own}, {self.order}" if self.choice == "nearest" else f"{which}{own}"


Score = Callable[[Variant, int], Sequence[float]]
"""What a variant gets on the first ``n`` development questions, a value each, NaN where none applies."""


@dataclass(frozen=True)
class Tried:
    """How far a variant came: its mean on ``questions``."""

    variant: Variant
    mean: float
    questions: int
    stage: str


@dataclass(frozen=True)
class Found:
    """The best on the development questions, and everything that was tried, in order of leaving."""

    best: Variant
    tried: tuple[Tried, ...]


def instructions_stage(present: Variant, pool: Sequence[tuple[str, str]]) -> list[Variant]:
    """The present one with each instruction of ``pool``: its origin and its text."""
    texts = {present.instruction: present}
    for origin, text in pool:
        texts.setdefault(text.strip(), replace(present, instruction=text.strip(), origin=origin))
    return list(texts.values())


def examples_stage(present: Variant, counts: Sequence[int], *, own: bool, seeds: int = 2) -> list[Variant]:
    """None, the nearest ``counts``, and as many drawn by lot; with the model's own right answers too, where asked."""
    found = [replace(present, shown=0)]
    for count in counts:
        for answers in ("given", "own") if own else ("given",):
            found.append(replace(present, shown=count, choice="nearest", answers=answers))
        found += [replace(present, shown=count, choice="fixed", seed=seed) for seed in range(1, seeds + 1)]
    return list(dict.fromkeys([present, *found]))


def order_stage(present: Variant, *, seeds: int = 3) -> list[Variant]:
    """The same examples in other orders: the nearest first, or other draws of as many."""
    if not present.shown:
        return [present]
    if present.choice == "nearest":
        return [present, replace(present, order="nearest first")]
    return [present, *(replace(present, seed=present.seed + 100 * number) for number in range(1, seeds + 1))]


def halve(variants: Sequence[Variant], score: Score, questions: int, stage: str, first: int = FIRST) -> Found:
    """The best of ``variants`` on ``questions``; the first of them runs to the end whatever it gets."""
    left, tried = list(variants), []
    asked = min(first, questions)
    while True:
        means = {variant: _mean(score(variant, asked)) for variant in left}
        order = sorted(left, key=lambda variant: (-means[variant], left.index(variant)))
        if asked == questions:
            tried += [Tried(variant, means[variant], asked, stage) for variant in reversed(order)]
            return Found(order[0], tuple(tried))
        kept = order[: math.ceil(len(order) / 2)]
        if left[0] not in kept:
            kept.append(left[0])
        tried += [Tried(variant, means[variant], asked, stage) for variant in order if variant not in kept]
        left = [variant for variant in left if variant in kept]
        asked = min(asked * 2, questions)


def _mean(values: Sequence[float]) -> float:
    there = [value for value in values if not math.isnan(value)]
    return sum(there) / len(there) if there else 0.0


def search(
    present: Variant,
    pool: Sequence[tuple[str, str]],
    score: Score,
    questions: int,
    *,
    counts: Sequence[int] = (2, 4, 8),
    own: Callable[[Variant], bool] = lambda variant: False,
) -> Found:
    """All three parts. ``counts``: of examples, none where there is nothing to show; ``own``: whether the model was
    right often enough to show its own answers, asked once the instruction is found."""
    tried: list[Tried] = []
    best = present
    for stage in ("instructions", "examples", "order"):
        if stage == "instructions":
            variants = instructions_stage(best, pool)
        elif not counts:
            break
        elif stage == "examples":
            variants = examples_stage(best, counts, own=own(best))
        else:
            variants = order_stage(best)
        if len(variants) > 1:
            found = halve(variants, score, questions, stage)
            best, tried = found.best, [*tried, *found.tried]
    return Found(best, tuple(tried))


def as_recipe(variant: Variant) -> dict[str, Any]:
    """All that a prompt depends on besides its template, as plain JSON."""
    if not variant.shown:
        return {"instruction": variant.instruction}
    own = {"choice": variant.choice, "answers": variant.answers, "shown": variant.shown}
    more = {"order": variant.order} if variant.choice == "nearest" else {"seed": variant.seed}
    return {"instruction": variant.instruction, **own, **more}
