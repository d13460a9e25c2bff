"""How sure a figure is: bootstrap intervals over questions, paired tests between ways, questions needed.

Questions are the sample: another set of questions from the same documents would give another mean, and the interval
says how different. It says nothing of other documents. Two ways answered the *same* questions, so they are compared
question by question; the interval of the difference is then much narrower than the two intervals side by side suggest.

Values are per question, NaN where a measure does not apply; those are left out. Everything follows from ``seed``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np

Values: TypeAlias = Sequence[float] | np.ndarray

RESAMPLES = 2000
_BLOCK = 4_000_000
"""Resampled values in memory at a time."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over ``count`` questions and the range that holds 95% (or ``level``) of what resampling gives."""

    mean: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]" if self.count else "–"


@dataclass(frozen=True, slots=True)
class Difference:
    """How much greater ``a`` is than ``b``, over the questions that both have, and how likely chance does as much."""

    mean: float
    low: float
    high: float
    p: float
    """Two-sided, of the paired permutation test: the signs of the differences are what chance decides."""
    count: int
    needed: int | None = None
    """Questions for which a difference of this size would be seen in 80 of 100 samples; ``None``: no difference."""


def mean_interval(
    values: Values, *, level: float = 0.95, seed: int = 0, resamples: int = RESAMPLES, weights: Values | None = None
) -> Interval:
    """The mean of one value a question, with its BCa bootstrap interval (Efron 1987).

    BCa corrects the percentile interval for bias and skew, which shares near 0 or 1 have. Where all values are equal
    the bootstrap would give an interval of no width, although 20 of 20 prove no 100%, and one question proves nothing:
    for values between 0 and 1 the Wilson interval (1927) is taken there, which is wide enough for any such values.

    ``weights``: by default all questions count the same.
    """
    sample = np.asarray(values, dtype=np.float64)
    weight = np.ones_like(sample) if weights is None else np.asarray(weights, dtype=np.float64)
    kept = ~np.isnan(sample) & (weight > 0)
    sample, weight = sample[kept], weight[kept]
    count = len(sample)
    if not count:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(np.average(sample, weights=weight))
    if np.ptp(sample) == 0:
        low, high = _wilson(mean, count, level) if 0 <= mean <= 1 else (mean, mean)
        return Interval(mean, low, high, count)
    means = _resampled_means(sample, weight, seed, resamples)
    low, high = _bca(sample, weight, mean, means, level)
    return Interval(mean, low, high, count)


def resampled_interval(
    items: Sequence[Any],
    measure: Callable[[Sequence[Any]], float],
    *,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 500,
) -> Interval:
    """Of a measure that is none of an item alone (a correlation, a corpus's score), with its percentile interval."""
    if not items:
        return Interval(math.nan, math.nan, math.nan, 0)
    random = np.random.default_rng(seed)
    drawn = (random.integers(0, len(items), len(items)) for _ in range(resamples))
    values = [measure([items[place] for place in places]) for places in drawn]
    low, high = np.quantile(values, ((1 - level) / 2, (1 + level) / 2))
    return Interval(measure(items), float(low), float(high), len(items))


def paired(
    a: Values, b: Values, *, level: float = 0.95, seed: int = 0, resamples: int = RESAMPLES, power: float = 0.8
) -> Difference:
    """Compare two ways on the questions that both have a value for: (N,) and (N,), in the same order.

    The interval is the bootstrap of the differences; ``p`` comes from flipping their signs (exact where there are at
    most 2¹² ways to, else ``resamples`` times 5 at random, with the observed one among them: Phipson and Smyth 2010).
    """
    one, other = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if one.shape != other.shape:
        raise ValueError(f"compare values of the same questions: {one.shape} and {other.shape}")
    differences = one - other
    differences = differences[~np.isnan(differences)]
    found = mean_interval(differences, level=level, seed=seed, resamples=resamples)
    if not found.count or not differences.any():
        return Difference(found.mean, found.mean, found.mean, 1.0 if found.count else math.nan, found.count)
    return Difference(
        found.mean,
        found.low,
        found.high,
        _sign_flips(differences, seed, resamples * 5),
        found.count,
        questions_needed(one, other, power=power, level=level),
    )


def questions_needed(a: Values, b: Values, *, power: float = 0.8, level: float = 0.95) -> int | None:
    """Questions needed to see the difference between ``a`` and ``b``, if it is as large as here.

    Of a paired test with normal differences: ``((z_level + z_power) · sd / mean)²`` (Card et al. 2020, section 4, for
    why most comparisons have too few). ``None`` where there is no difference. A guess from few questions is itself
    unsure: it says ten or a thousand, not 212 or 231.
    """
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    differences = differences[~np.isnan(differences)]
    if len(differences) < 2 or not differences.mean():
        return None
    normal = NormalDist()
    z = normal.inv_cdf((1 + level) / 2) + normal.inv_cdf(power)
    return max(2, math.ceil((z * differences.std(ddof=1) / abs(differences.mean())) ** 2))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of several comparisons at once, corrected (Holm 1979): five ways are ten chances to be lucky."""
    order = sorted(range(len(p_values)), key=lambda number: p_values[number])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, number in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[number]))
        corrected[number] = largest
    return corrected


def _resampled_means(sample: np.ndarray, weight: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """(``resamples``,) means of as many questions drawn with replacement."""
    random = np.random.default_rng(seed)
    count, means = len(sample), np.empty(resamples)
    step = max(1, _BLOCK // count)
    for start in range(0, resamples, step):
        drawn = random.integers(0, count, (min(step, resamples - start), count))
        means[start : start + len(drawn)] = (sample[drawn] * weight[drawn]).sum(1) / weight[drawn].sum(1)
    return means


def _bca(sample: np.ndarray, weight: np.ndarray, mean: float, means: np.ndarray, level: float) -> tuple[float, float]:
    """Bias-corrected and accelerated percentiles; the acceleration is the jackknife's."""
    normal = NormalDist()
    # Resampled means of few questions tie with the mean; a tie counts half on each side, as in scipy.
    below = float(((means < mean).mean() + (means <= mean).mean()) / 2)
    below = min(max(below, 1 / (len(means) + 1)), len(means) / (len(means) + 1))
    bias = normal.inv_cdf(below)
    total, sums = weight.sum(), (sample * weight).sum()
    left_out = (sums - sample * weight) / (total - weight) if len(sample) > 1 else sample
    centred = left_out.mean() - left_out
    spread = float((centred**2).sum()) ** 1.5
    acceleration = float((centred**3).sum()) / (6 * spread) if spread else 0.0
    shares = []
    for z in (normal.inv_cdf((1 - level) / 2), normal.inv_cdf((1 + level) / 2)):
        shares.append(normal.cdf(bias + (bias + z) / (1 - acceleration * (bias + z))))
    low, high = np.quantile(means, shares)
    return float(low), float(high)


def _wilson(share: float, count: int, level: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre, width = share + z * z / (2 * count), z * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2))
    low, high = (centre - width) / (1 + z * z / count), (centre + width) / (1 + z * z / count)
    return max(0.0, min(low, share)), min(1.0, max(high, share))


EXACT = 12
"""Differences that are not 0 up to which every pattern of signs is tried."""


def _sign_flips(differences: np.ndarray, seed: int, flips: int) -> float:
    moved = differences[differences != 0]
    observed = abs(moved.sum())
    slack = 1e-9 * max(1.0, np.abs(moved).sum())
    if len(moved) <= EXACT:
        signs = 1 - 2 * (np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved)) & 1)
        return float((np.abs(signs @ moved) >= observed - slack).mean())
    random = np.random.default_rng(seed)
    as_extreme, step = 0, max(1, _BLOCK // len(moved))
    for start in range(0, flips, step):
        signs = random.integers(0, 2, (min(step, flips - start), len(moved)), dtype=np.int8) * 2 - 1
        as_extreme += int((np.abs(signs @ moved) >= observed - slack).sum())
    return (as_extreme + 1) / (flips + 1)
