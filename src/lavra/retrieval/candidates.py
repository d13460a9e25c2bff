"""The candidates of a question: what either search found, each with what both searches think of it.

A passage found by one search alone still gets the other's score (its cosine from the stored vector, its BM25 from a
second look-up restricted to these passages), so that the fusion compares like with like and never has to guess what
a missing rank means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lavra.retrieval.passage import Passage
from lavra.retrieval.snapshot import FOUND, Snapshot, matrix

if TYPE_CHECKING:
    import numpy as np

DEPTH = 50
"""Rows taken from each search."""


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
    lexical_rank: int | None
    """From 1 in the order of BM25; None if that search did not find it."""
    dense_rank: int | None

    def seen(self) -> dict[str, float]:
        """Its scores and ranks by name, for explanation."""
        ranks = {"lexical_rank": self.lexical_rank, "dense_rank": self.dense_rank}
        known = {name: float(rank) for name, rank in ranks.items() if rank is not None}
        return {"bm25": self.bm25, "cosine": self.cosine, **known}


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
    lexical = snapshot.lexical(stems, where, depth)
    dense = snapshot.dense(vector, where, depth)
    lexical_ids, dense_ids = lexical["chunk_id"].to_pylist(), dense["chunk_id"].to_pylist()
    lexical_rank = {chunk_id: rank for rank, chunk_id in enumerate(lexical_ids, 1)}
    dense_rank = {chunk_id: rank for rank, chunk_id in enumerate(dense_ids, 1)}

    bm25 = dict(zip(lexical_ids, lexical["_score"].to_pylist(), strict=True))
    bm25 |= snapshot.bm25(stems, [chunk_id for chunk_id in dense_ids if chunk_id not in bm25])
    cosine = dict(zip(lexical_ids, (matrix(lexical["vector"]) @ vector).tolist(), strict=True)) if lexical_ids else {}
    cosine |= {chunk_id: 1.0 - d for chunk_id, d in zip(dense_ids, dense["_distance"].to_pylist(), strict=True)}

    columns = [*FOUND, "_rowid"]
    rows = {row["chunk_id"]: row for half in (lexical, dense) for row in half.select(columns).to_pylist()}
    return [
        Candidate(
            chunk_id=chunk_id,
            document_id=row["document_id"],
            row_id=row["_rowid"],
            analysed=row["analysed"],
            bm25=bm25.get(chunk_id, 0.0),
            cosine=cosine[chunk_id],
            lexical_rank=lexical_rank.get(chunk_id),
            dense_rank=dense_rank.get(chunk_id),
        )
        for chunk_id, row in rows.items()
    ]
