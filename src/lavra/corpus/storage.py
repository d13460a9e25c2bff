"""A corpus on disk: ``documents.parquet``, one row a document, written as a stream and read row group by row group.

=========  ======================================================================================================
column     holds
=========  ======================================================================================================
id         sixteen hexadecimal digits that follow from ``source``
source     name in the corpus: ``<root>/<path>``, ``#<record>`` after it for a record
root       label of the root it was read from
title, text, format, language, licence (null: none stated), owner (null: none stated)
roles      list of the roles that may read it
spans      list of {kind, start, end, label, level}: headings, pages, tables …; offsets in code points of ``text``
sha256     of the source's bytes (the file, or the record's line)
hash       SHA-256 of the text
bytes      size of the source
modified   of the source, ISO 8601, UTC
metadata   map of what else the file says about itself
=========  ======================================================================================================

Nothing in it depends on the time of writing: the same documents give the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from lavra.corpus.document import Document, Span
from lavra.errors import LavraError

FILE_NAME = "documents.parquet"
_GROUP_ROWS = 1_000
_GROUP_CHARACTERS = 8_000_000
_GROUPS = 500
"""Row groups after which they become larger, up to eight times: the writer holds 39 kB for each until the end."""


@cache
def schema() -> Any:
    """The Arrow schema of ``documents.parquet``."""
    import pyarrow as pa

    span = pa.struct(
        [
            ("kind", pa.string()),
            ("start", pa.int64()),
            ("end", pa.int64()),
            ("label", pa.string()),
            ("level", pa.int8()),
        ]
    )
    strings = ["id", "source", "root", "title", "text", "format", "language", "licence", "owner"]
    return pa.schema(
        [
            *[pa.field(name, pa.string(), nullable=name in ("licence", "owner")) for name in strings],
            ("roles", pa.list_(pa.string())),
            ("spans", pa.list_(span)),
            ("sha256", pa.string()),
            ("hash", pa.string()),
            ("bytes", pa.int64()),
            ("modified", pa.string()),
            ("metadata", pa.map_(pa.string(), pa.string())),
        ],
        metadata={"lavra.corpus": "1"},
    )


class CorpusWriter:
    """Writes documents beside ``path`` and renames when all is well: a reader sees a whole file or none."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as parquet

        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._partial = path, path.with_name(path.name + ".partial")
        self._writer = parquet.ParquetWriter(self._partial, schema(), compression="zstd", compression_level=3)
        self._rows: list[dict[str, Any]] = []
        self._characters = self._groups = 0

    def __enter__(self) -> CorpusWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
        self._writer.close()
        if kind is None:
            with open(self._partial, "rb") as file:
                os.fsync(file.fileno())
            os.replace(self._partial, self._path)
        else:
            self._partial.unlink(missing_ok=True)

    def add(self, document: Document, root: str) -> None:
        """Append one document."""
        self._rows.append(to_row(document, root))
        self._characters += len(document.text)
        scale = min(1 + self._groups // _GROUPS, 8)
        if len(self._rows) >= scale * _GROUP_ROWS or self._characters >= scale * _GROUP_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=schema()))
            self._rows, self._characters = [], 0
            self._groups += 1


def load_documents(corpus: Path) -> Iterator[Document]:
    """Every document of a corpus (its directory, or the Parquet file), in order, a row group in memory at a time."""
    for document, _ in load_rows(corpus):
        yield document


def load_document(corpus: Path, document_id: str) -> Document | None:
    """One document by its id, or None. Only the ids and the row group that has it are read."""
    with open_corpus(corpus) as file:
        for group in range(file.num_row_groups):
            ids = file.read_row_group(group, columns=["id"]).column("id").to_pylist()
            if document_id in ids:
                row = file.read_row_group(group).slice(ids.index(document_id), 1).to_pylist()[0]
                return from_row(row)
    return None


def load_rows(corpus: Path, keep: Callable[[str], bool] | None = None) -> Iterator[tuple[Document, str]]:
    """Every document with its root's label; only of the roots that ``keep`` accepts, where given."""
    with open_corpus(corpus) as file:
        for group in range(file.num_row_groups):
            for batch in file.iter_batches(batch_size=128, row_groups=[group]):
                for row in batch.to_pylist():
                    if keep is None or keep(row["root"]):
                        yield from_row(row), row["root"]


def open_corpus(corpus: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    path = corpus / FILE_NAME if corpus.is_dir() else corpus
    try:
        return parquet.ParquetFile(path)
    except FileNotFoundError:
        raise LavraError(f"there is no corpus at {corpus}: make one with `lavra ingest`") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise LavraError(f"the corpus {path} cannot be read ({error}): make it again with `lavra ingest`") from None


def to_row(document: Document, root: str) -> dict[str, Any]:
    """A document as a row of `schema`; ``root`` is the label of the root it was read from."""
    metadata = dict(document.metadata)
    return {
        "id": document.id,
        "source": document.source,
        "root": root,
        "title": document.title,
        "text": document.text,
        "format": document.format,
        "language": document.language,
        "licence": document.licence,
        "owner": document.owner,
        "roles": list(document.roles),
        "spans": [
            {"kind": s.kind, "start": s.start, "end": s.end, "label": s.label, "level": s.level} for s in document.spans
        ],
        "sha256": metadata.pop("sha256", None),
        "hash": document.hash,
        "bytes": document.bytes,
        "modified": document.modified,
        "metadata": sorted(metadata.items()),
    }


def from_row(row: dict[str, Any]) -> Document:
    """The document of a row."""
    metadata = dict(row["metadata"] or [])
    if row["sha256"]:
        metadata["sha256"] = row["sha256"]
    return Document(
        source=row["source"],
        text=row["text"],
        title=row["title"],
        format=row["format"],
        language=row["language"],
        licence=row["licence"],
        owner=row["owner"],
        roles=tuple(row["roles"]),
        spans=tuple(Span(**span) for span in row["spans"] or ()),
        bytes=row["bytes"],
        modified=row["modified"],
        metadata=metadata,
    )
