"""One version of the table, as a search reads it: whatever a writer does meanwhile, both halves see the same rows.

Opening a version costs a fraction of a millisecond (the indexes stay in a cache that all snapshots share), so each
search opens the newest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavra.errors import LavraError
from lavra.retrieval.settings import read_settings
from lavra.retrieval.writer import in_list

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from lancedb.db import DBConnection

FOUND = ["chunk_id", "document_id", "analysed", "vector"]
"""What the fusion needs of each row that a search finds."""

SHOWN = ["chunk_id", "document_id", "source", "title", "text", "start", "end", "headings", "page", "language"]
"""What a passage is made of."""


class Snapshot:
    """The newest version of the current table at the moment of opening."""

    def __init__(self, root: Path, connection: DBConnection) -> None:
        settings = read_settings(root)
        if settings is None:
            raise LavraError(f"there is no index at {root}: run `lavra index` first", status=404)
        self.settings = settings
        self.table: Any = connection.open_table(settings.table)

    def dense(self, vector: np.ndarray, where: str, limit: int) -> list[dict[str, Any]]:
        """The rows nearest to ``vector`` (dimension,) by cosine among those that ``where`` lets through."""
        query = self.table.search(vector, vector_column_name="vector").distance_type("cosine")
        query = query.where(where, prefilter=True).select([*FOUND, "_distance"]).limit(limit)
        return query.to_arrow().to_pylist()

    def lexical(self, stems: str, where: str, limit: int) -> list[dict[str, Any]]:
        """The rows best by BM25 for any of these stems among those that ``where`` lets through."""
        if not stems:
            return []
        return self.lexical_query(stems, where).select([*FOUND, "_score"]).limit(limit).to_arrow().to_pylist()

    def bm25(self, stems: str, chunk_ids: Sequence[str]) -> dict[str, float]:
        """The BM25 of these chunks; one that shares no stem is absent."""
        if not stems or not chunk_ids:
            return {}
        query = self.lexical_query(stems, in_list("chunk_id", chunk_ids)).select(["chunk_id", "_score"])
        return {row["chunk_id"]: row["_score"] for row in query.limit(len(chunk_ids)).to_arrow().to_pylist()}

    def lexical_query(self, stems: str, where: str) -> Any:
        from lancedb import query

        # A MatchQuery takes its text as tokens, any of which may match: nothing that a user types is query syntax.
        make: Any = query.MatchQuery
        match = make(stems, "analysed", operator=query.FullTextOperator.OR)
        return self.table.search(match).where(where, prefilter=True)

    def read(self, columns: Sequence[str], where: str | None = None) -> pa.Table:
        """These columns of all rows that ``where`` lets through."""
        query = self.table.search()
        if where is not None:
            query = query.where(where)
        return query.select(list(columns)).to_arrow()

    def shown(self, chunk_ids: Sequence[str], where: str) -> dict[str, dict[str, Any]]:
        """What is shown of these chunks, by identifier; those that ``where`` does not let through are absent."""
        if not chunk_ids:
            return {}
        found = self.read(SHOWN, f"{in_list('chunk_id', chunk_ids)} AND {where}")
        return {row["chunk_id"]: row for row in found.to_pylist()}

    def languages(self) -> list[str]:
        """The languages of the documents, most frequent first."""
        counted = self.read(["language"]).group_by("language").aggregate([("language", "count")])
        return counted.sort_by([("language_count", "descending")])["language"].to_pylist()

    def fingerprints(self) -> dict[str, str]:
        """What each document was when it was indexed, by its id."""
        found = self.read(["document_id", "fingerprint"]).group_by(["document_id", "fingerprint"]).aggregate([])
        return dict(zip(found["document_id"].to_pylist(), found["fingerprint"].to_pylist(), strict=True))

    def vectors(self, document_ids: Sequence[str]) -> dict[str, np.ndarray]:
        """The vectors of these documents' chunks, by the digest of what was embedded."""
        found = self.read(["said_digest", "vector"], in_list("document_id", document_ids))
        matrix = found["vector"].combine_chunks().flatten().to_numpy().reshape(-1, self.settings.dimension)
        return dict(zip(found["said_digest"].to_pylist(), matrix, strict=True))
