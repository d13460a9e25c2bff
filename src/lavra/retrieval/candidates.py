"""The candidates of a question: what either search found, each with what both searches think of it.

A passage found by one search alone still gets the other's score, so that the fusion compares like with like and never
has to guess what a missing rank means: its cosine from the stored vector; its BM25 from the search by words, which
scores far more passages than it proposes, and for one that shares a word and is not among those from a look-up.

Both searches give row ids alone, and the rows are read once: reading columns is most of the time of a search.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lavra.retrieval.passage import Passage
from lavra.retrieval.sentences import best_cosines
from lavra.retrieval.snapshot import Snapshot, matrix

if TYPE_CHECKING:
    import numpy as np

DEPTH = 50
"""Rows taken from each search."""

SCORED = 5_000
"""Rows whose BM25 is asked for. Beyond the first ``DEPTH`` they serve the other search's rows: 86% of questions at
100,000 chunks need no second look-up (20% at 50), and 5,000 scores take as long as 50."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that one of the searches found, as the fusion sees it."""

    chunk_id: str
    document_id: str
    row_id: int
    """Where the snapshot that found it has it."""
    analysed: str
    """The passage's stems, joined by spaces."""
    bm25: float
    cosine: float
    sentence: float
    """The cosine of the nearest of its sentences."""
    lexical_rank: int | None
    """From 1 in the order of BM25; None if that search did not find it."""
    dense_rank: int | None

    def seen(self) -> dict[str, float]:
        """Its scores and ranks by name, for explanation."""
        ranks = {"lexical_rank": self.lexical_rank, "dense_rank": self.dense_rank}
        known = {name: float(rank) for name, rank in ranks.items() if rank is not None}
        return {"bm25": self.bm25, "cosine": self.cosine, "sentence": self.sentence, **known}


def as_passage(row: dict[str, Any], score: float = 0.0, features: dict[str, float] | None = None) -> Passage:
    """A row of the columns ``SHOWN`` as it is shown."""
    return Passage(**{**row, "headings": tuple(row["headings"])}, score=score, features=features or {})


def find_candidates(
    snapshot: Snapshot, stems: str, vector: np.ndarray, where: str, *, depth: int = DEPTH
) -> list[Candidate]:
    """The candidates for a question, by the order of the searches that found them.

    ``stems``: the question's, joined by spaces; ``vector``: (dimension,) its embedding, L2-normalised; ``where``:
    the reader's rights.
    """
    import numpy as np

    scored_ids, scores = snapshot.lexical(stems, where, SCORED)
    lexical_ids = scored_ids[:depth]
    near_ids = snapshot.nearest(vector, where, depth)
    ids = np.concatenate([lexical_ids, near_ids[~np.isin(near_ids, lexical_ids)]])
    rows = snapshot.rows(ids.tolist(), ["chunk_id", "document_id", "analysed", "vector", "sentences"])
    chunk_ids, analysed = rows["chunk_id"].to_pylist(), rows["analysed"].to_pylist()
    cosine = matrix(rows["vector"]) @ vector
    sentence = best_cosines(rows["sentences"].to_pylist(), vector, cosine)

    # The rows that a search found, as places among ``ids``.
    near = np.flatnonzero(np.isin(ids, near_ids))
    dense = near[np.argsort(-cosine[near], kind="stable")[:depth]].tolist()
    dense_rank = {place: rank for rank, place in enumerate(dense, 1)}
    found = list(range(len(lexical_ids))) + [place for place in dense if place >= len(lexical_ids)]

    bm25 = dict(zip(scored_ids.tolist(), scores.tolist(), strict=True))
    if len(scored_ids) == SCORED:
        asked = set(stems.split())
        unscored = [p for p in found if ids[p].item() not in bm25 and not asked.isdisjoint(analysed[p].split())]
        looked_up = snapshot.bm25(stems, [chunk_ids[place] for place in unscored])
        bm25 |= {ids[place].item(): looked_up.get(chunk_ids[place], 0.0) for place in unscored}

    document_ids = rows["document_id"].to_pylist()
    return [
        Candidate(
            chunk_id=chunk_ids[place],
            document_id=document_ids[place],
            row_id=ids[place].item(),
            analysed=analysed[place],
            bm25=bm25.get(ids[place].item(), 0.0),
            cosine=cosine[place].item(),
            sentence=sentence[place].item(),
            lexical_rank=place + 1 if place < len(lexical_ids) else None,
            dense_rank=dense_rank.get(place),
        )
        for place in found
    ]
