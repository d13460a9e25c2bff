"""How well a score tells members from others: ROC, its area, and what is found at few false alarms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lavra.evaluation.intervals import RESAMPLES

COLOURS = {"loss": "#6b7280", "zlib": "#0f766e", "min_k": "#2563eb", "min_k_plus": "#7e22ce", "reference": "#c2410c"}


@dataclass(frozen=True)
class Roc:
    """``false`` and ``true``: shares of others and of members with a score at or above each threshold, from (0, 0)."""

    false: np.ndarray
    true: np.ndarray

    @classmethod
    def of(cls, members: np.ndarray, others: np.ndarray) -> Roc:
        scores = np.concatenate([members, others])
        is_member = np.concatenate([np.ones(len(members)), np.zeros(len(others))])
        order = np.argsort(-scores, kind="stable")
        last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # of each group of equal scores
        found = np.cumsum(is_member[order])[last]
        wrong = last + 1 - found
        return cls(np.append(0.0, wrong / max(1, len(others))), np.append(0.0, found / max(1, len(members))))

    def at(self, false: float) -> float:
        """The largest share of members found with at most ``false`` of the others."""
        return float(self.true[self.false <= false].max())


def auc(members: np.ndarray, others: np.ndarray) -> float:
    """The probability that a member scores above another text, ties counting half; NaN without either."""
    if not len(members) or not len(others):
        return float("nan")
    ordered = np.sort(others)
    below, up_to = np.searchsorted(ordered, members, "left"), np.searchsorted(ordered, members, "right")
    return float((below + up_to).mean() / 2 / len(others))


def auc_interval(
    members: np.ndarray, others: np.ndarray, *, level: float = 0.95, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """The percentile bootstrap over texts, members and others each by themselves."""
    if len(members) < 2 or len(others) < 2:
        return float("nan"), float("nan")
    random = np.random.default_rng(seed)
    found = [
        auc(
            members[random.integers(0, len(members), len(members))],
            others[random.integers(0, len(others), len(others))],
        )
        for _ in range(resamples)
    ]
    low, high = np.quantile(found, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)
