"""Which way to take, by a rule that does not claim more than the questions show.

The best is the one with the highest mean quality. The others are compared with it question by question, and p is
corrected for their number (Holm 1979): a way *loses* where p is below 0.05, else the two are *tied*, which is said,
with the number of questions that would tell them apart. A tie is no equality: the best is recommended all the same,
unless a way that answers more cheaply is shown to be hardly worse (by less than ``MARGIN``, with 95% certainty).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lavra.evaluation.intervals import Difference, holm, paired
from lavra.workspace.studying.scoring import Result

SIGNIFICANT = 0.05
MARGIN = 0.05
"""Of quality: what a cheaper way may be worse by."""


@dataclass(frozen=True)
class Compared:
    """The best way against another. ``p`` is corrected for the number of comparisons."""

    name: str
    difference: Difference
    p: float

    @property
    def tied(self) -> bool:
        return not self.p < SIGNIFICANT

    @property
    def hardly_worse(self) -> bool:
        return self.difference.high < MARGIN


@dataclass(frozen=True)
class Decision:
    """``chosen``: the recommended way; ``best``: the one of the highest mean; ``against``: the others, compared with
    the best, the nearest first."""

    chosen: str
    best: str
    against: tuple[Compared, ...]

    @property
    def tied(self) -> tuple[Compared, ...]:
        return tuple(other for other in self.against if other.tied)

    @property
    def cheaper(self) -> bool:
        """It is not the best, but hardly worse and cheaper."""
        return self.chosen != self.best


def decide(found: Sequence[Result], cost: Callable[[Result], float], *, seed: int = 0) -> Decision | None:
    """``cost``: of an answer, whichever way it is counted. None where nothing was measured, or no reply is right.

    Ways that were dropped after few questions are compared on the questions that both answered; only one that answered
    as much as any other can be the best.
    """
    if not found or not any(np.nansum(result.quality_N) for result in found):
        return None
    most = max(len(result.kept) for result in found)
    whole = [result for result in found if len(result.kept) == most]
    best = max(whole, key=lambda result: (float(np.nanmean(result.quality_N)), -cost(result)))
    others = [result for result in found if result is not best]
    differences = [paired(best.quality_N, other.quality_N, seed=seed) for other in others]
    corrected = holm([difference.p if difference.count else 1.0 for difference in differences])
    against = sorted(
        (
            Compared(other.name, difference, p)
            for other, difference, p in zip(others, differences, corrected, strict=True)
        ),
        key=lambda compared: compared.difference.mean,
    )
    named = {result.name: result for result in whole}
    near = [named[c.name] for c in against if c.hardly_worse and c.name in named and cost(named[c.name]) < cost(best)]
    chosen = min(near, key=cost, default=best)
    return Decision(chosen.name, best.name, tuple(against))


def front(points: Sequence[tuple[str, float, float]]) -> list[str]:
    """Of (name, cost, quality) those that nothing beats in both: Pareto's front, cheapest first."""
    kept: list[str] = []
    highest = -np.inf
    for name, _, quality in sorted(points, key=lambda point: (point[1], -point[2])):
        if quality > highest:
            kept.append(name)
            highest = quality
    return kept
