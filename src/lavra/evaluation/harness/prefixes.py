"""Which texts begin alike, so that the beginning is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Ids = tuple[int, ...]

_LEAST = 32
"""Tokens of a beginning that is worth a pass of its own."""
_WORTH = 512
"""Tokens that a group must save: fewer do not pay for smaller batches."""


@dataclass(frozen=True)
class Cluster:
    """The texts ``members``, by number, begin with the same ``shared`` tokens."""

    shared: int
    members: tuple[int, ...]


def clusters(texts: Sequence[Ids]) -> list[Cluster]:
    """Every text once: those with a beginning worth sharing by cluster, all others in one cluster that shares nothing.

    Of each text at least the last token stays its own. In sorted order texts that begin alike are neighbours; a cluster
    goes on as long as the next text gains more by joining than all before it lose by a shorter beginning.
    """
    order = sorted(range(len(texts)), key=lambda number: texts[number])
    found: list[Cluster] = []
    rest: list[int] = []
    members: list[int] = []
    shared = 0

    def close() -> None:
        if len(members) > 1 and (len(members) - 1) * shared >= _WORTH:
            found.append(Cluster(shared, tuple(members)))
        else:
            rest.extend(members)

    for number in order:
        common = min(shared, common_beginning(texts[members[-1]], texts[number])) if members else 0
        common = min(common, len(texts[number]) - 1)
        lost = (shared - common) * (len(members) - 1)
        if members and common >= _LEAST and common >= lost:
            members.append(number)
            shared = common
        else:
            close()
            members, shared = [number], len(texts[number]) - 1
    close()
    return [*found, Cluster(0, tuple(rest))] if rest else found


def common_beginning(left: Ids, right: Ids) -> int:
    """How many leading tokens are equal. By halves: comparing slices is fast, comparing tokens is not."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
