"""The one writer: every change to an index goes through here, a commit at a time, whoever asks for it.

Two locks, files in the index, hold across threads and processes and are freed by the system when a process dies:

- ``commit``: held for the moment of one change to the table. LanceDB's own optimistic concurrency is not enough:
  two ``optimize`` at once fail more often than not.
- ``whole``: held by what must see the whole table stand still (an update, an erasure) for as long as it takes. An
  upload does not take it, so that it need not wait for an hour of re-indexing; and a forgotten document cannot come
  back through an update that had read it before.

Searches take neither: each reads one version of the table.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavra.errors import LavraError
from lavra.retrieval.schema import arrow_schema, create_indexes, create_vector_index, in_list
from lavra.retrieval.settings import NAME, IndexSettings, read_settings, write_settings

if TYPE_CHECKING:
    import pyarrow as pa
    from lancedb.db import DBConnection
    from lancedb.table import Table

WAIT_S = 600.0
"""How long a writer waits for another before it says so and gives up."""

UNINDEXED_ROWS = 2_000
SMALL_FRAGMENTS = 20
"""Where maintenance begins: rows not yet indexed are found by scanning, each fragment is a file to open."""

OLD_VERSIONS = timedelta(minutes=10)
"""How long replaced versions are kept for searches that still read them. Keeping is not erasing: see erasure.py."""

VECTOR_INDEX_ROWS = 8_000
"""From here on a vector index finds faster than comparing every vector (``benchmarks/search_latency.py``)."""

RETRAIN = 2.0
RETRAIN_AT_REST = 1.2
"""The vector index is trained anew when the table has grown this many times, the second one after a whole update."""

MOST_VECTOR_INDEXES = 6
"""It is trained anew beyond so many, too: rows that come later get one of their own each time the table is tidied,
and each costs a search .3 ms."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure took out of the index, for the receipt; it holds no text."""

    document_ids: tuple[str, ...]
    chunks: int
    bytes: int
    """Size of the files deleted: those of the whole old table, whose other rows were written anew."""
    seconds: float


class Writer:
    """Owns the changes to the index at ``root``; any number of these, in any number of processes, take turns."""

    def __init__(self, root: Path, *, wait: float = WAIT_S) -> None:
        from filelock import FileLock

        self.root = root
        self._wait = wait
        self._commit = FileLock(root / "commit.lock")
        self._whole = FileLock(root / "whole.lock")
        self._connection = connect(root)

    @contextmanager
    def whole(self, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Keep every other update and erasure out, from beginning to end; ``waiting`` is called if one is on."""
        with self._taking(self._whole, "being updated", waiting):
            yield

    @contextmanager
    def committing(self) -> Iterator[Table]:
        """The current table, for one change."""
        with self._taking(self._commit, "being written to"):
            yield self._connection.open_table(self._settings().table)

    def create(self, settings: IndexSettings) -> IndexSettings:
        """Make an empty table and switch to it, unless another writer made one meanwhile; the settings that hold."""
        with self._taking(self._commit, "being written to"):
            if (existing := read_settings(self.root)) is not None:
                return existing
            self._create_table(settings)
            write_settings(self.root, settings)
            return settings

    def sweep(self) -> None:
        """Delete what a killed process left behind."""
        with self._taking(self._commit, "being written to"):
            if (settings := read_settings(self.root)) is not None:
                self._sweep(settings)

    def replace(self, document_ids: Sequence[str], rows: pa.Table) -> None:
        """Put these rows in the place of all rows of these documents, in one commit: all or nothing."""
        with self.committing() as table:
            of_these = in_list("document_id", document_ids)
            if table.count_rows(of_these) == 0:
                if rows.num_rows:
                    table.add(rows)
            elif rows.num_rows == 0:
                table.delete(of_these)
            else:
                (
                    table.merge_insert("chunk_id")
                    .when_matched_update_all()
                    .when_not_matched_insert_all()
                    .when_not_matched_by_source_delete(of_these)
                    .execute(rows)
                )

    def remove(self, document_ids: Sequence[str]) -> None:
        """Take documents out of every search from now on; their text stays in old versions until it is erased."""
        with self.committing() as table:
            for start in range(0, len(document_ids), 1_000):
                table.delete(in_list("document_id", document_ids[start : start + 1_000]))

    def erase(self, document_ids: Sequence[str]) -> Erased:
        """Write every other row to a new table, switch to it, and delete all files of the old one.

        Nothing is left to chance: not deleted rows in data files, not old versions, not the terms in the indexes. A
        kill before the switch leaves the old table as it was, a kill after it the new one and files that the next
        ``sweep`` deletes; erasing again does so too.
        """
        started = time.perf_counter()
        with self._taking(self._commit, "being written to"):
            settings = self._settings()
            self._sweep(settings)
            old: Any = self._connection.open_table(settings.table)
            of_these = in_list("document_id", document_ids)
            chunks = old.count_rows(of_these)
            successor = settings.with_new_table()
            self._create_table(successor, old.search().where(f"NOT ({of_these})").to_batches())
            successor = self._train(self._connection.open_table(successor.table), successor)
            write_settings(self.root, successor)
            freed = self._sweep(successor)
        return Erased(tuple(document_ids), chunks, freed, time.perf_counter() - started)

    def maintain(self, *, thoroughly: bool = False) -> None:
        """Compact small files and bring the indexes up to date, where enough has gathered to be worth it."""
        with self._taking(self._commit, "being written to"):
            settings = self._settings()
            table: Any = self._connection.open_table(settings.table)
            stats = table.index_stats("analysed_idx")
            unindexed = stats.num_unindexed_rows
            small = table.stats()["fragment_stats"]["num_small_fragments"]
            if unindexed >= UNINDEXED_ROWS or small >= SMALL_FRAGMENTS or (thoroughly and (unindexed or small > 1)):
                table.optimize(cleanup_older_than=OLD_VERSIONS)
            trained = self._train(table, settings, RETRAIN_AT_REST if thoroughly else RETRAIN)
            if trained != settings:
                write_settings(self.root, trained)

    def _train(self, table: Table, settings: IndexSettings, growth: float = RETRAIN) -> IndexSettings:
        """Give a table that has outgrown comparing vectors one by one, or its vector index, a new one."""
        rows, trained = table.count_rows(), settings.vectors_trained
        stats = table.index_stats("vector_idx") if trained else None
        grown = rows >= max(VECTOR_INDEX_ROWS, growth * trained)
        if not grown and (stats is None or (stats.num_indices or 1) <= MOST_VECTOR_INDEXES):
            return settings
        create_vector_index(table)
        return replace(settings, vectors_trained=rows)

    def _create_table(self, settings: IndexSettings, batches: Any = None) -> None:
        schema = arrow_schema(settings.dimension)
        table = self._connection.create_table(settings.table, data=batches, schema=schema)
        create_indexes(table)

    def _sweep(self, settings: IndexSettings) -> int:
        """Delete every table but the current one; how many bytes that were."""
        freed = 0
        for entry in self.root.iterdir():
            if entry.suffix == ".lance" and entry.stem != settings.table:
                freed += sum(file.stat().st_size for file in entry.rglob("*") if file.is_file())
                shutil.rmtree(entry)
            elif entry.name.startswith(f".{NAME}."):
                entry.unlink(missing_ok=True)
        return freed

    def _settings(self) -> IndexSettings:
        settings = read_settings(self.root)
        if settings is None:
            raise LavraError(f"the index at {self.root} was deleted while it was open: open it again", status=404)
        return settings

    @contextmanager
    def _taking(self, lock: Any, doing: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        from filelock import Timeout

        try:
            try:
                lock.acquire(timeout=0)
            except Timeout:
                if waiting is not None:
                    waiting()
                lock.acquire(timeout=self._wait)
        except Timeout as error:
            raise LavraError(
                f"the index at {self.root} is {doing} by another process and {self._wait:.0f} s of waiting did not "
                "help: wait until that one is done, or end it, and try again",
                status=503,
            ) from error
        try:
            yield
        finally:
            lock.release()


def connect(root: Path) -> DBConnection:
    import lancedb

    return lancedb.connect(root)
