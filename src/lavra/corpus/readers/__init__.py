"""One file a format: ``read(data, name, settings) -> list[Parts]``, raising `Unreadable` for what cannot be read.

Formats of many records have ``stream(file, settings)`` instead, which yields one after the other (`stream_records`);
``look_ahead(file, settings)``, where there is one, goes through the file before and hands on what it found.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib import import_module
from typing import BinaryIO

from lavra.corpus.detect import HEAD_BYTES, STREAMED, inside_zip, old_office
from lavra.corpus.encoding import looks_binary
from lavra.corpus.packing import inner_name, open_stream, packing, unpacked
from lavra.corpus.parts import BadRecord, Inner, Parts, Record, Unreadable, one_line
from lavra.corpus.settings import ReadSettings

_MODULES = {
    "pdf": "pdf",
    "docx": "docx",
    "pptx": "pptx",
    "xlsx": "xlsx",
    "odt": "odt",
    "epub": "epub",
    "html": "html",
    "markdown": "markdown",
    "text": "plain",
    "code": "code",
    "json": "records",
    "jsonl": "records",
    "csv": "delimited",
    "mail": "mail",
    "notebook": "notebook",
    "parquet": "parquet",
    "warc": "warc",
    "webpage": "webpage",
    "mediawiki": "mediawiki",
    "wikitext": "wikitext",
    "mbox": "mbox",
    "gutenberg": "gutenberg",
}


def read(kind: str, data: bytes, name: str, settings: ReadSettings) -> tuple[str, list[Parts | BadRecord]]:
    """Read a whole file of format ``kind`` (`detect.detect`'s answer): its final format and its documents.

    Raises `Unreadable`; whatever else a parser raises on a damaged file is turned into one, kind ``corrupt``.
    """
    if kind == "zip":
        kind = inside_zip(data, name, settings)
    if kind == "ole":
        raise old_office(data)
    if kind in STREAMED:
        return kind, _texts(kind, [made for record in _listed(kind, data, settings) for made in record], settings)
    limit = settings.megabytes(kind)
    if len(data) > limit * 1_000_000:
        raise too_large(kind, len(data), limit)
    if looks_binary(data[:HEAD_BYTES]) and packing(data[:16]) and (inner := inner_name(name)):
        data, name = unpacked(data, limit * 1_000_000, kind), inner
    module = import_module(f"lavra.corpus.readers.{_MODULES[kind]}")
    try:
        documents = module.read(data, name, settings)
    except (Unreadable, MemoryError):
        raise
    except Exception as error:  # parsers raise anything on damaged files
        said = one_line(str(error).split("\n")[0][:200]) or type(error).__name__
        raise Unreadable("corrupt", f"the {kind} file is damaged or cut off ({said})") from error
    return kind, _texts(kind, documents, settings)


def _texts(kind: str, documents: list[Parts | BadRecord], settings: ReadSettings) -> list[Parts | BadRecord]:
    """The documents that hold text, if it is not too much of it."""
    documents = [parts for parts in documents if isinstance(parts, BadRecord) or parts.text.strip()]
    if not documents:
        raise Unreadable("empty", "there is no text in it")
    characters = sum(len(parts.text) for parts in documents if isinstance(parts, Parts))
    if characters > settings.max_text_megabytes * 1_000_000:
        raise Unreadable(
            "too_large",
            f"it holds {characters / 1e6:,.0f} million characters of text, over the limit of "
            f"{settings.max_text_megabytes:,}: raise `max_text_megabytes` or split it",
        )
    return documents


def stream_records(kind: str, file: BinaryIO, settings: ReadSettings) -> Iterator[tuple[Record, int, str]]:
    """The records of a file of format ``kind``, one of `detect.STREAMED`, each with its size and its SHA-256.

    Raises `Unreadable` where the rest cannot be read. Memory holds a record, bounded, and a chunk.
    """
    module = import_module(f"lavra.corpus.readers.{_MODULES[kind]}")
    ahead = []
    if hasattr(module, "look_ahead") and file.seekable():
        ahead.append(module.look_ahead(open_stream(file), settings))
        file.seek(0)
    source = file if kind == "parquet" else open_stream(file)
    yield from module.stream(source, settings, *ahead)


def _listed(kind: str, data: bytes, settings: ReadSettings) -> Iterator[list[Parts | BadRecord]]:
    """The documents of each record of a file that is in memory; where it cannot be read further, that is one more."""
    number = 0
    try:
        for record, _, _ in stream_records(kind, io.BytesIO(data), settings):
            number += 1
            if not isinstance(record, Inner):
                yield [record]
                continue
            try:
                made = read(record.kind, record.data, kind, settings)[1]
            except Unreadable as error:
                yield [BadRecord(record.about.record, error.kind, error.reason)]
            else:
                yield [parts if isinstance(parts, BadRecord) else record.parts(parts) for parts in made]
    except Unreadable as error:
        if not number:
            raise
        yield [BadRecord(str(number + 1), error.kind, error.reason)]


def too_large(kind: str, size: int, limit: int) -> Unreadable:
    """The reason for a file over its format's limit, which says what to raise."""
    return Unreadable(
        "too_large",
        f"it has {size / 1e6:,.0f} MB, over the limit of {limit:,} MB for {kind} files: "
        "raise `max_megabytes` to read it, or split it",
    )
