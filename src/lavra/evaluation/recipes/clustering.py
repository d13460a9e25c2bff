"""Texts in groups, by their embeddings; and how well groups agree with labels that people gave.

::

    groups = k_means(embedder.documents(texts), 8)
    print(v_measure(groups, labels))
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np


def k_means(vectors_ND: np.ndarray, groups: int, *, seed: int = 0, starts: int = 8, steps: int = 100) -> np.ndarray:
    """(N,) the group of each vector, by cosine: spherical k-means (Dhillon and Modha 2001) from the best of ``starts``
    beginnings drawn as k-means++ draws them (Arthur and Vassilvitskii 2007)."""
    count = len(vectors_ND)
    if not 1 <= groups <= count:
        raise ValueError(f"{count} vectors do not make {groups} groups")
    unit_ND = np.asarray(vectors_ND, dtype=np.float64)
    unit_ND = unit_ND / np.maximum(np.linalg.norm(unit_ND, axis=1, keepdims=True), 1e-12)
    random = np.random.default_rng(seed)
    best, nearest = np.zeros(count, dtype=np.int64), -math.inf
    for _ in range(starts):
        centres_KD = _begin(unit_ND, groups, random)
        group_N = np.full(count, -1)
        for _ in range(steps):
            likeness_NK = unit_ND @ centres_KD.T
            moved_N = likeness_NK.argmax(1)
            if (moved_N == group_N).all():
                break
            group_N = moved_N
            for group in range(groups):
                members = unit_ND[group_N == group]
                if len(members):  # an empty one keeps its centre
                    centre = members.sum(0)
                    centres_KD[group] = centre / max(float(np.linalg.norm(centre)), 1e-12)
        near = float((unit_ND * centres_KD[group_N]).sum())
        if near > nearest:
            best, nearest = group_N, near
    return best


def _begin(unit_ND: np.ndarray, groups: int, random: np.random.Generator) -> np.ndarray:
    chosen = [int(random.integers(len(unit_ND)))]
    while len(chosen) < groups:
        far_N = np.clip(1 - (unit_ND @ unit_ND[chosen].T).max(1), 0, None)
        total = far_N.sum()
        chosen.append(int(random.choice(len(unit_ND), p=far_N / total if total > 0 else None)))
    return unit_ND[chosen].copy()


def v_measure(groups: Sequence[Hashable], labels: Sequence[Hashable]) -> float:
    """The harmonic mean of homogeneity and completeness (Rosenberg and Hirschberg 2007); 1 is the same division, and
    0 one that says nothing of the labels. Which number a group has does not matter."""
    if len(groups) != len(labels):
        raise ValueError(f"{len(groups)} groups and {len(labels)} labels")
    if not labels:
        return math.nan
    both, ours, theirs = Counter(zip(groups, labels, strict=True)), Counter(groups), Counter(labels)
    count = len(labels)
    shared = sum(n / count * math.log(n * count / (ours[one] * theirs[other])) for (one, other), n in both.items())
    homogeneity = shared / h if (h := _entropy(theirs, count)) else 1.0
    completeness = shared / h if (h := _entropy(ours, count)) else 1.0
    if homogeneity + completeness <= 0:
        return 0.0
    return 2 * homogeneity * completeness / (homogeneity + completeness)


def _entropy(counts: Counter[Hashable], total: int) -> float:
    return -sum(n / total * math.log(n / total) for n in counts.values())
