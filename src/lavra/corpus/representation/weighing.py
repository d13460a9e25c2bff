"""Mixture weights: how often each part of a corpus is to be seen, so that small parts are not drowned by large ones.

The share of a part becomes proportional to its size to the power of ``alpha`` (Conneau et al. 2020): 1 leaves the
corpus as it is, 0 makes all parts equal. A weight is the new share over the old one: how many times as often a
document of that part is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping

from lavra.errors import LavraError

PARTS = ("languages", "dialects", "sources", "licences", "years", "topics")


def mixture(sizes: Mapping[str, float], alpha: float = 0.5, most: float = 10.0) -> dict[str, float]:
    """The weight of each part; no part is drawn more than ``most`` times as often as it is there.

    Raises LavraError where ``alpha`` is not between 0 and 1.
    """
    if not 0 <= alpha <= 1:
        raise LavraError(f"alpha is between 0 (all parts alike) and 1 (as it is), not {alpha}.")
    total = float(sum(sizes.values()))
    present = {name: size / total for name, size in sizes.items() if size > 0} if total else {}
    wanted = {name: share**alpha for name, share in present.items()}
    scale = sum(wanted.values())
    weights = {name: wanted[name] / scale / share for name, share in present.items()}
    return {name: round(min(most, weight), 4) for name, weight in weights.items()}
