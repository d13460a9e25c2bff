"""From keys of bands to clusters of near-duplicates, and which document of each stays.

Candidates (an equal key in some band) are compared exactly; pairs at or above the threshold are edges; a cluster is a
connected component (scipy). N documents, E edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lavra.corpus.duplicates.shingles import jaccard, shingle_sets

_ALL_PAIRS = 32
"""A bucket of at most this many is compared pair by pair; a larger one in a chain and with its first document, which
finds the same clusters where its members are alike, as those of so large a bucket are."""


@dataclass(frozen=True)
class Clusters:
    """Near-duplicates of N documents."""

    labels: NDArray[np.int64]
    """(N,) the cluster of each document: the row of its first document."""
    pairs: NDArray[np.int64]
    """(E, 2) pairs found alike, the smaller row first, sorted."""
    similarity: NDArray[np.float64]
    """(E,) Jaccard similarity of each."""
    candidates: int
    """Pairs that were compared."""


def find_clusters(
    keys: NDArray[np.uint64],
    offsets: NDArray[np.int64],
    data: NDArray[np.uint8],
    *,
    n: int,
    threshold: float,
) -> Clusters:
    """Clusters of N documents whose shingle sets are alike by ``threshold`` or more.

    keys: (N, bands) of `minhash.band_keys`; offsets and data: the texts; n: words of a shingle.
    """
    pairs = find_candidates(keys)
    rows = np.unique(pairs)
    flat, ends = shingle_sets(offsets, data, rows, n)
    similarity = jaccard(flat, ends, np.searchsorted(rows, pairs[:, 0]), np.searchsorted(rows, pairs[:, 1]))
    alike = similarity >= threshold
    return Clusters(components(len(keys), pairs[alike]), pairs[alike], similarity[alike], len(pairs))


def find_candidates(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """(E, 2) pairs of rows with an equal key in some column, each once, sorted."""
    count = len(keys)
    found: list[NDArray[np.int64]] = []
    for band in range(keys.shape[1]):
        column = keys[:, band]
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        sizes = np.diff(np.r_[starts, count])
        for start, size in zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
            if ordered[start] == 0:  # texts without words are not duplicates of each other
                continue
            members = np.sort(order[start : start + size])
            if size <= _ALL_PAIRS:
                left, right = np.triu_indices(size, 1)
                found.append(members[left] * count + members[right])
            else:
                found.append(members[:-1] * count + members[1:])
                found.append(members[0] * count + members[1:])
    if not found:
        return np.zeros((0, 2), np.int64)
    together = np.unique(np.concatenate(found))
    return np.stack([together // count, together % count], axis=1)


def components(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) the smallest row of each row's connected component."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not count:
        return np.zeros(0, np.int64)
    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    first = np.full(component.max(initial=-1) + 1, count, np.int64)
    np.minimum.at(first, component, np.arange(count))
    return first[component]


def keepers(labels: NDArray[np.int64], preference: Sequence[NDArray[np.float64]]) -> NDArray[np.bool_]:
    """(N,) whether each document stays: of a cluster, the one with the highest preference.

    preference: (N,) columns, the first decides, the next where it is equal; last the earliest row.
    """
    rows = np.arange(len(labels))
    order = np.lexsort((rows, *(-column for column in reversed(preference)), labels))
    first = np.r_[True, labels[order][1:] != labels[order][:-1]] if len(labels) else np.zeros(0, bool)
    stays = np.zeros(len(labels), bool)
    stays[order[first]] = True
    return stays
