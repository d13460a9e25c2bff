"""What proves that a model was trained on something: tests whose p-value is valid, and one that is weaker.

*Twins.* Of each pair a coin decided which text was put in (``lavra.corpus.traps``). Under the null hypothesis that the
model knows nothing of it, the coin might as well have fallen otherwise: exchanging the two changes the sign of the
difference of their scores. So the share of all sign patterns with as large a mean is an exact p-value (Fisher 1935),
whatever the score, the model and the sentences are like.

*Secrets.* A canary's secret was drawn evenly from its space, so without memorisation its rank there is even too.

*Held-out texts.* Members and others that nobody drew by lot may differ in age, topic or layout; a test then finds that
difference (Duan et al. 2024; Meeus et al. 2024b). Such a p is called weaker wherever it stands.

A large p is no evidence, and no evidence is not the same as clean: ``least_seen`` says what would have been found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

EXACT = 16
"""Pairs up to which every pattern of signs is tried; beyond, ``DRAWS`` of them."""
DRAWS = 100_000
_BLOCK = 4_000_000


def twins_p(differences: np.ndarray, *, seed: int = 0) -> float:
    """p of inserted texts scoring above their twins no more than coins would have it: one-sided, (N,) differences."""
    count = len(differences)
    if not count:
        return math.nan
    observed = differences.sum()
    slack = 1e-9 * max(1e-300, float(np.abs(differences).sum()))
    if count <= EXACT:
        signs = 1 - 2 * (np.arange(2**count)[:, None] >> np.arange(count) & 1)
        return float((signs @ differences >= observed - slack).mean())
    random = np.random.default_rng(seed)
    as_large, step = 0, max(1, _BLOCK // count)
    for start in range(0, DRAWS, step):
        signs = random.integers(0, 2, (min(step, DRAWS - start), count), dtype=np.int8) * 2 - 1
        as_large += int((signs @ differences >= observed - slack).sum())
    return (as_large + 1) / (DRAWS + 1)  # the observed pattern is one of them (Phipson and Smyth 2010)


def held_out_p(members: np.ndarray, others: np.ndarray, *, seed: int = 0, draws: int = 20_000) -> float:
    """p of the mean rank of ``members`` among both, one-sided, under exchanges of labels. Valid only where both were
    drawn from the same texts: the weaker test."""
    if not len(members) or not len(others):
        return math.nan
    both = np.concatenate([members, others])
    ordered = np.sort(both)
    ranks = (np.searchsorted(ordered, both, "left") + np.searchsorted(ordered, both, "right")) / 2
    observed, count = ranks[: len(members)].sum(), len(members)
    random = np.random.default_rng(seed)
    as_large = sum(float(random.permutation(ranks)[:count].sum()) >= observed - 1e-9 for _ in range(draws))
    return (as_large + 1) / (draws + 1)


def rank_p(rank: int, among: int) -> float:
    """p of a secret's rank (1: the likeliest) among ``among`` that were drawn as it was, itself one of them."""
    return rank / among


def combined_p(values: Sequence[float]) -> float:
    """Independent p-values as one (Fisher 1932): χ² of twice as many degrees, whose tail is a finite sum."""
    if not values:
        return math.nan
    half = -sum(math.log(max(value, 1e-300)) for value in values)
    term = total = 1.0
    for number in range(1, len(values)):
        term *= half / number
        total += term
    return min(1.0, math.exp(-half) * total)


def least_seen(pairs: int, *, level: float = 0.05, power: float = 0.8) -> float:
    """The chance of a member to score above its twin that so many pairs show in 80 of 100 tries: the normal
    approximation of the paired one-sided test. 0.5 is no memorisation, 1 all of it."""
    if not pairs:
        return 1.0
    normal = NormalDist()
    return normal.cdf((normal.inv_cdf(1 - level) + normal.inv_cdf(power)) / math.sqrt(pairs))
