"""Could members and others be told apart without any model? Then a membership test on them proves nothing.

A naive Bayes over words and a few facts of the layout, cross-validated, gets an AUC of its own (Das et al. 2024, Blind
Baselines Beat Membership Inference Attacks). Near 0.5 the two sets are alike; far from it they differ by themselves.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from lavra.evaluation.memorisation.curves import auc

_WORD = re.compile(r"\w+|[^\w\s]")
_FOLDS = 5


def blind_auc(members: Sequence[str], others: Sequence[str]) -> float:
    """How well the sets are told apart by words alone, (N,) and (M,) texts: each text judged by a Bayes that learned
    from the other folds. NaN for fewer than five of either."""
    if min(len(members), len(others)) < _FOLDS:
        return float("nan")
    sets = [[_words(text) for text in texts] for texts in (members, others)]
    folds = [[_fold(text) for text in texts] for texts in (members, others)]
    scores: tuple[list[float], list[float]] = ([], [])
    for fold in range(_FOLDS):
        counts = [Counter[str]() for _ in sets]
        for bags, of, count in zip(sets, folds, counts, strict=True):
            for bag, number in zip(bags, of, strict=True):
                if number != fold:
                    count.update(bag)
        size = len(counts[0] | counts[1]) + 1
        totals = [count.total() + size for count in counts]
        for side, (bags, of) in enumerate(zip(sets, folds, strict=True)):
            for bag, number in zip(bags, of, strict=True):
                if number == fold:
                    ratio = [
                        np.log((counts[0][w] + 1) / totals[0]) - np.log((counts[1][w] + 1) / totals[1]) for w in bag
                    ]
                    scores[side].append(float(np.mean(ratio)) if ratio else 0.0)
    return auc(np.array(scores[0]), np.array(scores[1]))


def _words(text: str) -> set[str]:
    """Words, and how long the text is, as a word."""
    return {word.casefold() for word in _WORD.findall(text)} | {f"\x00{len(text).bit_length()}"}


def _fold(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass")) % _FOLDS
