"""One version of the table, as a search reads it: whatever a writer does meanwhile, both halves see the same rows.

Opening a version costs a fraction of a millisecond (the indexes stay in a cache that all snapshots of a connection
share), so each search opens the newest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavra.errors import LavraError
from lavra.retrieval.record import Record
from lavra.retrieval.schema import PARTITION_ROWS, in_list
from lavra.retrieval.settings import read_settings

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from lancedb.db import DBConnection

SPARE = 20
"""The vector index holds 8-bit vectors: so many rows more than asked for are compared again, in full.

Measured on E5 vectors, of the nearest fifty are found .98 without these and all with ten of them."""

MIN_PARTITIONS = 64
SHARE_OF_PARTITIONS = 1 / 3
"""Partitions of the vector index that are searched, of 100,000 chunks a third (64 of 195).

The nearest ten among chunks of which a reader may read 1, 4 and 17% (spread evenly) were found to .992, 1.000 and
1.000, the nearest fifty to .968, .986 and .993, at half the CPU time of searching all."""


class Snapshot:
    """The newest version of the current table at the moment of opening."""

    def __init__(self, root: Path, connection: DBConnection) -> None:
        settings = read_settings(root)
        if settings is None:
            raise LavraError(f"there is no index at {root}: run `lavra index` first", status=404)
        self.settings = settings
        self.table: Any = connection.open_table(settings.table)

    @property
    def version(self) -> tuple[str, int]:
        """Equal versions, equal rows."""
        return self.settings.table, self.table.version

    def nearest(self, vector: np.ndarray, where: str, limit: int) -> np.ndarray:
        """The ids of the ``limit`` + ``SPARE`` rows whose 8-bit vectors are nearest to ``vector`` (dimension,) by
        cosine among those that ``where`` lets through.

        The ``limit`` nearest are among them, and found by comparing with their full vectors. That is left to the
        caller, who reads these rows in any case: LanceDB would read them once more to refine. Where the partitions
        that are searched hold too few of a reader's rows, all are.
        """
        limit += SPARE
        trained = self.settings.vectors_trained
        few = max(MIN_PARTITIONS, int(SHARE_OF_PARTITIONS * trained / PARTITION_ROWS)) if trained else None
        found = self._nearest(vector, where, limit, few)
        return found if few is None or len(found) == limit else self._nearest(vector, where, limit)

    def _nearest(self, vector: np.ndarray, where: str, limit: int, partitions: int | None = None) -> np.ndarray:
        query = self.dense_query(vector, where, partitions).select(["_distance"]).with_row_id(True)
        return query.limit(limit).to_arrow()["_rowid"].to_numpy()

    def dense_query(self, vector: np.ndarray, where: str, partitions: int | None = None) -> Any:
        """``partitions``: how many are searched, the nearest ones; by default all."""
        query = self.table.search(vector, vector_column_name="vector").distance_type("cosine")
        query = query.minimum_nprobes(partitions or MIN_PARTITIONS).maximum_nprobes(partitions or 0)
        return query.where(where, prefilter=True)

    def lexical(self, stems: str, where: str, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows best by BM25 for any of these stems among those that ``where`` lets through, best first.

        Their ids (N,) and scores (N,). Without stems nothing is found.
        """
        import numpy as np

        if not stems:
            return np.zeros(0, np.uint64), np.zeros(0, np.float32)
        query = self.lexical_query(stems, where).select(["_score"]).with_row_id(True)
        found = query.limit(limit).to_arrow()
        return found["_rowid"].to_numpy(), found["_score"].to_numpy()

    def lexical_query(self, stems: str, where: str) -> Any:
        from lancedb import query

        # A MatchQuery takes its text as tokens, any of which may match: nothing that a user types is query syntax.
        make: Any = query.MatchQuery
        match = make(stems, "analysed", operator=query.FullTextOperator.OR)
        return self.table.search(match).where(where, prefilter=True)

    def bm25(self, stems: str, row_ids: Sequence[int]) -> dict[int, float]:
        """The BM25 of these rows; one that shares no stem is absent."""
        if not stems or not row_ids:
            return {}
        query = self.lexical_query(stems, f"_rowid IN ({', '.join(map(str, row_ids))})").select(["_score"])
        found = query.with_row_id(True).limit(len(row_ids)).to_arrow()
        return dict(zip(found["_rowid"].to_pylist(), found["_score"].to_pylist(), strict=True))

    def read(self, columns: Sequence[str], where: str | None = None) -> pa.Table:
        """These columns of all rows that ``where`` lets through."""
        query = self.table.search()
        if where is not None:
            query = query.where(where)
        return query.select(list(columns)).to_arrow()

    def rows(self, row_ids: Sequence[int]) -> tuple[list[Record], np.ndarray]:
        """The rows (N,) that a search of this snapshot found, in the order given, and their vectors (N, dimension)."""
        import numpy as np

        if not row_ids:
            return [], np.zeros((0, self.settings.dimension), np.float32)
        found = self.table.take_row_ids(list(row_ids)).select(["record"]).with_row_id().to_arrow()
        packed = dict(zip(found["_rowid"].to_pylist(), found["record"].to_pylist(), strict=True))
        records = [Record(packed[row_id]) for row_id in row_ids]
        vectors = np.frombuffer(b"".join(record.vector for record in records), np.float32)
        return records, vectors.reshape(len(records), -1)

    def languages(self) -> list[str]:
        """The languages of the documents, most frequent first."""
        counted = self.read(["language"]).group_by("language").aggregate([("language", "count")])
        return counted.sort_by([("language_count", "descending")])["language"].to_pylist()

    def fingerprints(self) -> dict[str, str]:
        """What each document was when it was indexed, by its id."""
        found = self.read(["document_id", "fingerprint"]).group_by(["document_id", "fingerprint"]).aggregate([])
        return dict(zip(found["document_id"].to_pylist(), found["fingerprint"].to_pylist(), strict=True))

    def vectors(self, document_ids: Sequence[str]) -> dict[str, tuple[np.ndarray, bytes]]:
        """The vectors of these documents' chunks and of their sentences, by the digest of what was embedded."""
        import numpy as np

        found = self.read(["said_digest", "record"], in_list("document_id", document_ids))
        records = map(Record, found["record"].to_pylist())
        vectors = ((np.frombuffer(record.vector, np.float32), record.sentences) for record in records)
        return dict(zip(found["said_digest"].to_pylist(), vectors, strict=True))


def matrix(vectors: pa.ChunkedArray) -> np.ndarray:
    """A column of vectors as (rows, dimension) float32."""
    return vectors.combine_chunks().flatten().to_numpy().reshape(len(vectors), vectors.type.list_size)
