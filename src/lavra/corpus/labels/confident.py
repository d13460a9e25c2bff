"""Confident learning: which labels are likely wrong, from probabilities of a model that has not seen them.

After Northcutt, Jiang and Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 70 (2021). Given
labels are noisy observations ỹ of true ones y*, and noise depends on the class alone. N rows, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Method = Literal["class", "rate", "both"]
Given = NDArray[np.int64]
Believed = NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """What is known of N labels."""

    wrong: NDArray[np.bool_]
    """(N,) whether each is likely wrong."""
    suggested: Given
    """(N,) the class that is confidently another's: the likeliest of those at or above their thresholds."""
    margin: Believed
    """(N,) normalised margin, p(ỹ) - max p(other): -1 for a label that is surely wrong, 1 for a sure one."""
    joint: NDArray[np.float64]
    """(K, K) estimate of the joint distribution of given (row) and true (column) labels."""
    thresholds: Believed
    """(K,) mean self-confidence of each class."""

    @property
    def noise(self) -> float:
        """The estimated share of wrong labels."""
        return float(1 - np.trace(self.joint))


def find_wrong(given: Given, believed: Believed, method: Method = "both") -> Found:
    """Labels that are likely wrong, with what they may be.

    given: (N,) the labels, 0 to K - 1, each class there; believed: (N, K) probabilities out of fold.
    """
    limits = thresholds(given, believed)
    joint = estimate_joint(confident_joint(given, believed, limits), given)
    pruned = {"class": lambda: by_class(given, believed, joint), "rate": lambda: by_rate(given, believed, joint)}
    chosen = [pruned[name]() for name in (("class", "rate") if method == "both" else (method,))]
    wrong = np.logical_and.reduce(chosen)
    others = np.where(np.arange(believed.shape[1]) == given[:, None], -1.0, believed)
    confident = np.where(others >= limits, others, -1.0)
    suggested = np.where(confident.max(1) >= 0, confident.argmax(1), others.argmax(1))
    # a label that is the likeliest all the same is not called wrong: nothing better could be suggested
    wrong &= believed[np.arange(len(given)), suggested] > believed[np.arange(len(given)), given]
    return Found(wrong, suggested, normalised_margin(given, believed), joint, limits)


def thresholds(given: Given, believed: Believed) -> Believed:
    """(K,) t_j, the mean probability of class j over the rows labelled so (equation 2)."""
    count = believed.shape[1]
    sums = np.bincount(given, weights=believed[np.arange(len(given)), given], minlength=count)
    return np.asarray(sums / np.maximum(np.bincount(given, minlength=count), 1))


def confident_joint(given: Given, believed: Believed, limits: Believed) -> NDArray[np.int64]:
    """(K, K) counts C[ỹ, y*]: of each row, labelled i, to the class j that is the likeliest of those whose probability
    is at or above its threshold; rows without one are not counted (equation 1)."""
    above = np.where(believed >= limits, believed, -1.0)
    counted = above.max(1) >= 0
    counts = np.zeros((believed.shape[1],) * 2, np.int64)
    np.add.at(counts, (given[counted], above[counted].argmax(1)), 1)
    return counts


def estimate_joint(counts: NDArray[np.int64], given: Given) -> NDArray[np.float64]:
    """(K, K) Q[ỹ, y*]: ``counts`` with rows calibrated to how many labels of each class there are, summing to 1
    (equation 3). A class of which no row is confident is taken to be right."""
    classes = len(counts)
    filled = np.where(counts.sum(1, keepdims=True) > 0, counts, np.eye(classes, dtype=np.int64)).astype(np.float64)
    scaled = filled / filled.sum(1, keepdims=True) * np.bincount(given, minlength=classes)[:, None]
    return np.asarray(scaled / scaled.sum())


def by_class(given: Given, believed: Believed, joint: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N,) prune by class: of each class, as many as the joint says are wrong, those of the lowest self-confidence."""
    wrong = np.zeros(len(given), bool)
    for label in range(len(joint)):
        rows = np.flatnonzero(given == label)
        many = round(len(given) * float(joint[label].sum() - joint[label, label]))
        wrong[rows[np.argsort(believed[rows, label], kind="stable")[:many]]] = True
    return wrong


def by_rate(given: Given, believed: Believed, joint: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N,) prune by noise rate: of each class and each other one, as many as the joint says are really that one, those
    whose probability of it is the most above that of their label."""
    wrong = np.zeros(len(given), bool)
    for label in range(len(joint)):
        rows = np.flatnonzero(given == label)
        for other in range(len(joint)):
            many = 0 if other == label else round(len(given) * float(joint[label, other]))
            ahead = believed[rows, other] - believed[rows, label]
            wrong[rows[np.argsort(-ahead, kind="stable")[:many]]] = True
    return wrong


def normalised_margin(given: Given, believed: Believed) -> Believed:
    """(N,) p(ỹ) minus the highest probability of another class."""
    rows = np.arange(len(given))
    others = np.where(np.arange(believed.shape[1]) == given[:, None], -np.inf, believed)
    return np.asarray(believed[rows, given] - others.max(1))
