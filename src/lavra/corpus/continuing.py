"""An ingest that was stopped goes on where it stood: what readers gave is kept in stretches until all is read.

A stretch is a Parquet file of some millions of characters, there whole or not at all, which says how far the reading
was behind it (`Place`). An ingest that begins again takes from the stretches what was read, in its order, and reads on
from the last one's place: a file, and of a file of records the record. What is decided over all documents (duplicates,
counts) is decided again, so that the corpus has the same bytes as one that nothing stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lavra.corpus.document import Document
from lavra.corpus.remembering import Remembered
from lavra.corpus.storage import from_row, schema, to_row
from lavra.corpus.walking import Skipped

_CHARACTERS = 16_000_000
_ROWS = 5_000
_SECONDS = 20.0
"""A stretch is written when it has so much text, or so many rows, or when this time has gone by: work that a kill may
cost, and memory, in which a row of little text takes two kilobytes."""
_PLACE = b"lavra.place"


@dataclass(slots=True)
class Place:
    """How far a reading is: entries of the walk that are done, and of the next one the records that are."""

    entries: int = 0
    records: int = 0
    source: str = ""
    """The entry in which those records are."""


class Stretches:
    """What was read, kept in ``folder``. A context manager; what is in memory is kept when it is left by an error.

    ``place`` is shared with the reading, which moves it; it begins where the last stretch ends.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._files = sorted(folder.glob("*.parquet"))
        self.place = self._last_place()
        self._rows: list[dict[str, Any]] = []
        self._mark = replace(self.place)
        self._whole = 0
        self._characters = 0
        self._since = time.monotonic()

    def __enter__(self) -> Stretches:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with contextlib.suppress(OSError):  # the disk may be full, which is being told
                self._see()
                self._write()

    def kept(self) -> Iterator[tuple[str, Document | Skipped]]:
        """What the stretches hold, in its order, each with its root's label."""
        import pyarrow.parquet as parquet

        for path in self._files:
            with parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=128):
                    for row in batch.to_pylist():
                        if row["_kind"] is None:
                            yield row["root"], from_row(row)
                        else:
                            yield row["root"], Skipped(row["source"], row["_kind"], row["_reason"])

    def names(self) -> Remembered[int] | None:
        """The records' names of the file in which the reading goes on, as `Assembly.names`; None: at its beginning."""
        import pyarrow.parquet as parquet

        if not self.place.records:
            return None
        found: Remembered[int] = Remembered()
        begins = f"{self.place.source}#"
        for path in self._files:
            for row in parquet.read_table(path, columns=["source", "_kind"]).to_pylist():
                if row["_kind"] is None and row["source"].startswith(begins):
                    found[row["source"].removeprefix(begins)] = 2
        return found

    def add(self, label: str, item: Document | Skipped) -> None:
        """Keep what was just read; what came before it is written if it is enough."""
        self._see()
        if self._whole and (
            self._characters >= _CHARACTERS or len(self._rows) >= _ROWS or time.monotonic() - self._since >= _SECONDS
        ):
            self._write()
        if isinstance(item, Document):
            self._rows.append({**to_row(item, label), "_kind": None, "_reason": None})
            self._characters += len(item.text)
        else:
            nothing = to_row(Document(_writable(item.source), ""), label)
            self._rows.append({**nothing, "_kind": item.kind, "_reason": _writable(item.reason)})

    def _see(self) -> None:
        """When the reading has moved on, all that is here is whole."""
        if self.place != self._mark:
            self._mark, self._whole = replace(self.place), len(self._rows)

    def _write(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        if not self._whole:
            return
        more = [pa.field(name, pa.string()) for name in ("_kind", "_reason")]
        place = {_PLACE: json.dumps(asdict(self._mark)).encode()}
        table = pa.Table.from_pylist(self._rows[: self._whole], schema=pa.schema([*schema(), *more], metadata=place))
        path = self._folder / f"{len(self._files):06}.parquet"
        partial = path.with_suffix(".partial")
        try:
            parquet.write_table(table, partial, compression="zstd", compression_level=1)
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        # Only now are the rows let go: a disk that is full now may not be when this is tried again.
        self._files.append(path)
        self._rows, self._whole = self._rows[self._whole :], 0
        self._characters = sum(len(row["text"]) for row in self._rows)
        self._since = time.monotonic()

    def _last_place(self) -> Place:
        import pyarrow.parquet as parquet

        if not self._files:
            return Place()
        return Place(**json.loads(parquet.read_schema(self._files[-1]).metadata[_PLACE]))


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
