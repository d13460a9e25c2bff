"""The candidates of a question: what either search found, each with what both searches think of it.

A passage found by one search alone still gets the other's score (its cosine from the stored vector, its BM25 from a
second look-up restricted to these passages), so that the fusion compares like with like and never has to guess what
a missing rank means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lavra.retrieval.analysis import analyse_query
from lavra.retrieval.snapshot import Snapshot

if TYPE_CHECKING:
    import numpy as np

DEPTH = 50
"""Rows taken from each search."""

MAX_STEMS = 256
"""Distinct stems of a question that are searched for; a pasted page is no better a question than its beginning."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that one of the searches found, as the fusion sees it."""

    chunk_id: str
    document_id: str
    analysed: str
    """The passage's stems, joined by spaces."""
    bm25: float
    cosine: float
    lexical_rank: int | None
    """From 1 in the order of BM25; None if that search did not find it."""
    dense_rank: int | None


def find_candidates(
    snapshot: Snapshot, question: str, vector: np.ndarray, where: str, *, depth: int = DEPTH
) -> tuple[list[Candidate], list[str]]:
    """The candidates for a question, and the stems that it was searched by.

    ``vector``: (dimension,) the question's embedding, L2-normalised; ``where``: the reader's rights.
    """
    stems = analyse_query(question, "und", snapshot.languages()).split()[:MAX_STEMS]
    query = " ".join(stems)
    lexical = snapshot.lexical(query, where, depth)
    dense = snapshot.dense(vector, where, depth)
    lexical_rank = {row["chunk_id"]: rank for rank, row in enumerate(lexical, 1)}
    dense_rank = {row["chunk_id"]: rank for rank, row in enumerate(dense, 1)}
    bm25 = {row["chunk_id"]: row["_score"] for row in lexical}
    bm25 |= snapshot.bm25(query, [row["chunk_id"] for row in dense if row["chunk_id"] not in bm25])
    rows: dict[str, dict[str, Any]] = {row["chunk_id"]: row for row in (*lexical, *dense)}
    found = [
        Candidate(
            chunk_id=chunk_id,
            document_id=row["document_id"],
            analysed=row["analysed"],
            bm25=bm25.get(chunk_id, 0.0),
            cosine=_cosine(row, vector),
            lexical_rank=lexical_rank.get(chunk_id),
            dense_rank=dense_rank.get(chunk_id),
        )
        for chunk_id, row in rows.items()
    ]
    return found, stems


def _cosine(row: dict[str, Any], vector: np.ndarray) -> float:
    if "_distance" in row:
        return 1.0 - float(row["_distance"])
    import numpy as np

    return float(np.asarray(row["vector"], dtype=np.float32) @ vector)
