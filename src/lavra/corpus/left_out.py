"""What an ingest left out, one row each: ``skipped.parquet`` beside the corpus, however many there are.

========  ======================================================================================================
column    holds
========  ======================================================================================================
source    the file or record
kind      one word to count by: ``corrupt``, ``duplicate`` …
reason    a sentence for a person
kept      of exact duplicates, the source that is kept instead; else null
earlier   whether an ingest before this one left it out, of files that were not read again
========  ======================================================================================================
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavra.corpus.walking import Skipped
from lavra.errors import LavraError

FILE_NAME = "skipped.parquet"
_GROUP_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row of the file."""

    source: str
    kind: str
    reason: str
    kept: str | None = None
    earlier: bool = False

    def skipped(self) -> Skipped:
        """As reports show it."""
        return Skipped(self.source, self.kind, self.reason)


class LeftOutWriter:
    """Writes ``skipped.parquet`` into ``out``, row group by row group; there whole in the end, or not at all."""

    def __init__(self, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._path = out / FILE_NAME
        self._partial = self._path.with_name(FILE_NAME + ".partial")
        self._rows: list[LeftOut] = []
        self._writer: Any = None

    def add(self, row: LeftOut) -> None:
        """Append one row."""
        self._rows.append(row)
        if len(self._rows) >= _GROUP_ROWS:
            self._flush()

    def close(self, *, whole: bool) -> None:
        """Put the file in place, or remove what there is of it."""
        if whole:
            self._flush()
        if self._writer is not None:
            self._writer.close()
        if whole:
            os.replace(self._partial, self._path)
        else:
            self._partial.unlink(missing_ok=True)

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        schema = pa.schema(
            [(name, pa.string()) for name in ("source", "kind", "reason", "kept")] + [("earlier", pa.bool_())]
        )
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._partial, schema, compression="zstd")
        columns = [[getattr(row, name) for row in self._rows] for name in schema.names]
        # Names may hold half characters, which no file can: they are written as escapes.
        columns[0], columns[2], columns[3] = map(_writable, (columns[0], columns[2], columns[3]))
        self._writer.write_table(pa.table(columns, schema=schema))
        self._rows = []


def load_left_out(corpus: Path) -> Iterator[LeftOut]:
    """What is not in the corpus, row by row. Raises `LavraError` where the file cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    path = corpus / FILE_NAME
    if not path.exists():  # a corpus of before there was this file: its report names all
        yield from _of_report(corpus)
        return
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1_000):
                for row in batch.to_pylist():
                    yield LeftOut(**row)
    except (pa.ArrowException, OSError, TypeError) as error:
        raise LavraError(f"{path} cannot be read ({error}): make the corpus again with `lavra ingest`") from None


def _of_report(corpus: Path) -> Iterator[LeftOut]:
    from lavra.corpus.report import load_report

    report = load_report(corpus)
    for skipped in report.skipped:
        kept = report.duplicates.get(skipped.source) if skipped.kind == "duplicate" else None
        yield LeftOut(skipped.source, skipped.kind, skipped.reason, kept)
    named = {skipped.source for skipped in report.skipped if skipped.kind == "duplicate"}
    for source, kept in report.duplicates.items():
        if source not in named:
            yield duplicate(source, kept, earlier=True)


def duplicate(source: str, kept: str, *, earlier: bool = False) -> LeftOut:
    """The row of a document with the same text as another."""
    return LeftOut(source, "duplicate", f"it has the same text as {kept}, which is kept", kept, earlier)


def _writable(values: list[str | None]) -> list[str | None]:
    return [value if value is None else value.encode("utf-8", "backslashreplace").decode() for value in values]
