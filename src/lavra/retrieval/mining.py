"""Hard negatives: passages that a search takes for an answer and that are none. What an embedder learns most from.

The nearest passage that is not marked as the answer is often one all the same. So those that come nearer than the
answer itself are passed over, or those within a share of it (Moreira et al. 2024, NV-Retriever, section 3: at most
95% of the positive's score did best), and the first few ranks where a set is known to have several answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lavra.corpus.pairs import Pair
from lavra.errors import LavraError
from lavra.retrieval.index import Index
from lavra.retrieval.updating import TextEmbedder

Near = Callable[[Sequence[str], int], list[list[tuple[str, float]]]]
"""The nearest so many texts of each anchor, best first, each with its score."""


@dataclass(frozen=True, kw_only=True)
class Mining:
    """``count`` negatives a pair, from ranks ``first`` to ``last`` (from 1) of what is nearest, each with a score of at
    most ``share`` of the positive's and at least ``margin`` below it."""

    count: int = 1
    first: int = 1
    last: int = 50
    share: float = 0.95
    margin: float = 0.0

    def __post_init__(self) -> None:
        if not (1 <= self.first <= self.last and self.count >= 1 and 0 < self.share <= 1 and self.margin >= 0):
            raise LavraError("mining: count and first are at least 1, last is not before first, share lies in (0, 1]")


def mine(
    pairs: Sequence[Pair], embedder: TextEmbedder, near: Near, mining: Mining | None = None
) -> tuple[list[Pair], int]:
    """``pairs`` with negatives, those with too few left out; and how many were.

    No positive of the same anchor, and no text that contains or lies within one, is ever a negative. Scores are the
    embedder's cosines, whatever the order of ``near`` comes from.
    """
    mining = mining or Mining()
    positives: dict[str, set[str]] = {}
    for pair in pairs:
        positives.setdefault(pair.anchor, set()).add(pair.positive)
    anchors = list(positives)
    found = dict(zip(anchors, near(anchors, mining.last), strict=True))
    limits = _cosines(pairs, embedder)
    kept = []
    for pair, limit in zip(pairs, limits, strict=True):
        ceiling = min(limit * mining.share, limit - mining.margin)
        negatives: list[str] = []
        for text, score in found[pair.anchor][mining.first - 1 :]:
            alike = any(text in positive or positive in text for positive in positives[pair.anchor])
            if score <= ceiling and not alike and text != pair.anchor and text not in negatives:
                negatives.append(text)
            if len(negatives) == mining.count:
                kept.append(replace(pair, negatives=tuple(negatives)))
                break
    return kept, len(pairs) - len(kept)


def _cosines(pairs: Sequence[Pair], embedder: TextEmbedder) -> np.ndarray:
    """(N,) of each pair; a passage that many questions ask for is read once."""
    anchors = embedder.queries([pair.anchor for pair in pairs])
    unique = {text: place for place, text in enumerate(dict.fromkeys(pair.positive for pair in pairs))}
    positives = embedder.documents(list(unique))[[unique[pair.positive] for pair in pairs]]
    return np.asarray((anchors * positives).sum(1))


def near_texts(embedder: TextEmbedder, texts: Sequence[str]) -> Near:
    """The nearest by cosine among ``texts``, all compared: (anchors, texts) in blocks."""
    unique = list(dict.fromkeys(texts))
    vectors = embedder.documents(unique)

    def near(anchors: Sequence[str], count: int) -> list[list[tuple[str, float]]]:
        found = []
        queries = embedder.queries(list(anchors))
        for start in range(0, len(queries), 512):
            scores = queries[start : start + 512] @ vectors.T
            best = min(count, len(unique))
            places = np.argpartition(-scores, best - 1, axis=1)[:, :best]
            for row, chosen in zip(scores, places, strict=True):
                order = chosen[np.argsort(-row[chosen], kind="stable")]
                found.append([(unique[index], float(row[index])) for index in order])
        return found

    return near


def near_in_index(index: Index, roles: frozenset[str]) -> Near:
    """What the index finds by meaning and by word: passages that share words with the question are the hardest."""

    def near(anchors: Sequence[str], count: int) -> list[list[tuple[str, float]]]:
        found = []
        for anchor in anchors:
            passages = index.search(anchor, roles=roles, k=count).passages
            found.append([(passage.text, passage.features.get("cosine", 0.0)) for passage in passages])
        return found

    return near
