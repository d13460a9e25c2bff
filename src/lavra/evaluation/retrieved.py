"""Whether what was retrieved holds the answer: recall@k, MRR, nDCG and context precision of one question's passages.

A question's sources are its relevant items. A passage finds a source if it shares text with it: by offsets where both
have them in the same document, else by words (a passage is a piece of a document, a source may be one sentence of it
or a page). Text from another document that says the same finds it too: the answer is there. Several passages may find
one source; recall and nDCG count it once, at the first.

The formulas are those of ``trec_eval`` with gains of 0 and 1; context precision is RAGAS' (Es et al. 2024): the mean
of precision@i over the ranks i at which something useful stands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lavra.evaluation.items import Evidence, Source
from lavra.retrieval.analysis import words

SHARED = 0.5
"""Share of the shorter text's word triples that two texts must have in common to be about the same place."""


def finds(passage: Evidence, source: Source) -> bool:
    """Whether a passage holds (a piece of) a source."""
    placed = None not in (passage.start, passage.end, source.start, source.end)
    if placed and passage.document == source.document:
        return max(passage.start or 0, source.start or 0) < min(passage.end or 0, source.end or 0)
    if passage.text and source.text:
        return _shared(passage.text, source.text) >= SHARED
    return bool(source.document) and passage.document == source.document


def _shared(one: str, other: str) -> float:
    first, second = words(one), words(other)
    order = min(3, len(first), len(second))
    if not order:
        return 0.0
    grams = [set(zip(*(text[start:] for start in range(order)), strict=False)) for text in (first, second)]
    return len(grams[0] & grams[1]) / min(len(grams[0]), len(grams[1]))


def found_by(passages: Sequence[Evidence], sources: Sequence[Source]) -> list[set[int]]:
    """For each passage, best first, the numbers of the sources that it finds."""
    return [{number for number, source in enumerate(sources) if finds(passage, source)} for passage in passages]


def recall_at(found: Sequence[set[int]], count: int, k: int) -> float:
    """Share of ``count`` sources that the first ``k`` passages find."""
    return len(set().union(*found[:k])) / count if count else math.nan


def reciprocal_rank(found: Sequence[set[int]]) -> float:
    """1 / the rank of the first passage that finds a source; 0 where none does."""
    return next((1 / rank for rank, sources in enumerate(found, start=1) if sources), 0.0)


def ndcg(found: Sequence[set[int]], count: int, k: int | None = None) -> float:
    """Discounted gain of sources found for the first time among ``k`` (or all) passages, over that of the best order.

    The best order has one source at each rank (Järvelin and Kekäläinen 2002, discount log2(rank + 1)); a passage that
    holds several sources gains one for each, at most 1 in all.
    """
    if not count:
        return math.nan
    gained, seen = 0.0, set[int]()
    for rank, sources in enumerate(found[:k], start=1):
        gained += len(sources - seen) / math.log2(rank + 1)
        seen |= sources
    best = count if k is None else min(count, k)
    return min(1.0, gained / sum(1 / math.log2(rank + 1) for rank in range(1, best + 1)))


def context_precision(found: Sequence[set[int]]) -> float:
    """Mean of precision@i over the ranks i whose passage finds a source; 0 where none does."""
    hits, total = 0, 0.0
    for rank, sources in enumerate(found, start=1):
        if sources:
            hits += 1
            total += hits / rank
    return total / hits if hits else 0.0
