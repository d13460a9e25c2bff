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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavra.errors import LavraError
from lavra.retrieval.schema import arrow_schema, create_indexes
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


class Writer:
    """Owns the changes to the index at ``root``; any number of these, in any number of processes, take turns."""

    def __init__(self, root: Path, *, wait: float = WAIT_S) -> None:
        from filelock import FileLock

        self.root = root
        self._wait = wait
        self._commit = FileLock(root / "commit.lock")
        self._whole = FileLock(root / "whole.lock")

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Keep every other update and erasure out, from beginning to end."""
        with self._taking(self._whole, "being updated"):
            yield

    @contextmanager
    def committing(self) -> Iterator[Table]:
        """The current table, for one change."""
        with self._taking(self._commit, "being written to"):
            settings = read_settings(self.root)
            if settings is None:
                raise LavraError(f"the index at {self.root} was deleted while it was open: open it again")
            yield connect(self.root).open_table(settings.table)

    def create(self, settings: IndexSettings) -> IndexSettings:
        """Make an empty table and switch to it, unless another writer made one meanwhile; the settings that hold."""
        with self._taking(self._commit, "being written to"):
            if (existing := read_settings(self.root)) is not None:
                return existing
            self._create_table(settings)
            write_settings(self.root, settings)
            return settings

    def replace_table(self, settings: IndexSettings, batches: Any) -> None:
        """Write a table of ``batches`` under a new name, switch to it, and delete every other file of the old one.

        A kill before the switch leaves the old table as it was, a kill after it the new one; what is left over in
        either case goes with the next ``sweep``.
        """
        with self._taking(self._commit, "being written to"):
            self._create_table(settings, batches)
            write_settings(self.root, settings)
            self._sweep(settings)

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

    def maintain(self, *, thoroughly: bool = False) -> None:
        """Compact small files and bring the indexes up to date, where enough has gathered to be worth it."""
        with self.committing() as table:
            stats: Any = table.stats()
            lexical = table.index_stats("analysed_idx")
            unindexed = lexical.num_unindexed_rows if lexical is not None else table.count_rows()
            small = stats["fragment_stats"]["num_small_fragments"]
            if unindexed >= UNINDEXED_ROWS or small >= SMALL_FRAGMENTS or (thoroughly and (unindexed or small > 1)):
                table.optimize(cleanup_older_than=OLD_VERSIONS)

    def _create_table(self, settings: IndexSettings, batches: Any = None) -> None:
        schema = arrow_schema(settings.dimension)
        table = connect(self.root).create_table(settings.table, data=batches, schema=schema)
        create_indexes(table)

    def _sweep(self, settings: IndexSettings) -> None:
        for entry in self.root.iterdir():
            if entry.suffix == ".lance" and entry.stem != settings.table:
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.name.startswith(f".{NAME}."):
                entry.unlink(missing_ok=True)

    @contextmanager
    def _taking(self, lock: Any, doing: str) -> Iterator[None]:
        from filelock import Timeout

        try:
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


def in_list(column: str, values: Sequence[str]) -> str:
    """A filter for a column of identifiers of our own making.

    Raises:
        LavraError: an identifier that is none of ours; identifiers from outside never reach a filter unchecked.
    """
    for value in values:
        if not is_identifier(value):
            raise LavraError(f"{value[:80]!r} is not the identifier of a document or passage", status=404)
    if not values:
        return "false"
    listed = ", ".join(f"'{value}'" for value in values)
    return f"{column} IN ({listed})"


def is_identifier(value: str) -> bool:
    return 0 < len(value) <= 120 and value.isascii() and all(c.isalnum() or c in "-_.:#" for c in value)
