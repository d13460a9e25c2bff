"""Parquet: a row with a text is a document, its other short columns are claims and metadata. Streamed.

Read row by row out of one row group at a time: a value that is written once and repeated a million times is then in
memory once. Pages are looked at before Arrow unpacks them; texts in large ones are streamed (`parquet_pages`), so that
a row of 500 MB is named without being held (where the codec has no streams, Snappy and LZ4, its page is unpacked
once: 0.8 GB in all, where Arrow takes 2.2). A row group that cannot be read is named and the next one is read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, BinaryIO

from lavra.corpus.parts import BadRecord, Parts, Record, Unreadable, normalise
from lavra.corpus.readers.claims import claim
from lavra.corpus.readers.parquet_pages import HARMLESS, LARGE, TooLong, pages, values
from lavra.corpus.readers.records import ID_NAMES, TEXT_NAMES
from lavra.corpus.settings import ReadSettings

_ROWS = 32
"""Rows at a time where the file asks for columns that stay dictionaries: each batch copies them."""
_RATIO = 250
_ROW = 100
"""What a row counts for at least where the ratio is looked at: rows without a text have no end otherwise."""
_CAREFUL: Any = {"pre_buffer": False, "buffer_size": 1 << 16, "page_checksum_verification": True}


def stream(file: BinaryIO, settings: ReadSettings) -> Iterator[tuple[Record, int, str]]:
    """Each row with a text, its size in bytes and its SHA-256; bad rows are named by their number in the file."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    packed = file.seek(0, 2)
    file.seek(0)
    try:
        table = parquet.ParquetFile(file, **_CAREFUL)
        names = {name.strip().lower(): name for name in table.schema_arrow.names}
        text = next((names[name] for name in TEXT_NAMES if name in names and _is_text(table, names[name])), None)
        if text is not None:
            columns = [text, *_others(table, text)]
            rows = _ROWS if any(pa.types.is_dictionary(table.schema_arrow.field(c).type) for c in columns) else 1
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise Unreadable("corrupt", f"the Parquet file is damaged or cut off ({_said(error)})") from None
    if text is None:
        raise Unreadable("no_text", f"it has none of the columns {', '.join(TEXT_NAMES)}")
    row = out = 0
    for group in range(table.num_row_groups):
        first = row
        row += table.metadata.row_group(group).num_rows
        at = first
        try:
            if (reason := _too_large(table, group, text)) is not None:
                raise Unreadable("too_large", reason)
            for value, fields in _values(file, table, group, text, columns, rows, settings):
                at += 1
                record, size = _document(value, fields, at, settings)
                out += max(size, _ROW)
                if out > HARMLESS and out > _RATIO * packed:
                    raise _Endless(
                        "too_large",
                        f"its {packed / 1e6:,.2f} MB hold more than {out / 1e6:,.0f} MB of rows, over {_RATIO} "
                        "times its size: what came before was read",
                    )
                digest = hashlib.sha256(record.text.encode()).hexdigest() if isinstance(record, Parts) else ""
                yield record, size, digest
        except _Endless:
            raise
        except Unreadable as error:
            yield BadRecord(_rows(at, row), error.kind, f"row group {group}: {error.reason}"), 0, ""
        except (pa.ArrowException, OSError, ValueError) as error:
            yield BadRecord(_rows(at, row), "corrupt", f"row group {group} is damaged ({_said(error)})"), 0, ""


class _Endless(Unreadable):
    """The file as a whole grows without reason."""


def _rows(first: int, end: int) -> str:
    return str(first + 1) if end - first == 1 else f"{first + 1}-{end}"


def _said(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error))[:120] or type(error).__name__


def _is_text(table: Any, name: str) -> bool:
    import pyarrow as pa

    kind = table.schema_arrow.field(name).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _others(table: Any, text: str) -> list[str]:
    """Columns of scalars besides the text; nested ones, but a list of roles, are not read."""
    import pyarrow as pa

    found = []
    for field in table.schema_arrow:
        nested = pa.types.is_nested(field.type) and field.name.strip().lower() != "roles"
        binary = pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
        if field.name != text and not nested and not binary:
            found.append(field.name)
    return found


def _too_large(table: Any, group: int, text: str) -> str | None:
    """Why a row group is not read at all: what it says of its size allows no honest text."""
    chunks = table.metadata.row_group(group)
    for index in range(chunks.num_columns):
        chunk = chunks.column(index)
        if chunk.path_in_schema != text:
            continue
        size, packed = chunk.total_uncompressed_size, chunk.total_compressed_size
        if size > HARMLESS and size > _RATIO * max(packed, 1):
            return f"it unpacks to {size / 1e6:,.0f} MB, over {_RATIO} times its size"
    return None


def _values(
    file: BinaryIO, table: Any, group: int, text: str, columns: list[str], rows: int, settings: ReadSettings
) -> Iterator[tuple[bytes | TooLong | None, dict[str, Any]]]:
    """Each row's text and its other fields; a column of fields with a page that is too large is left out."""
    limit = settings.max_record_megabytes * 1_000_000
    chunks = table.metadata.row_group(group)
    large = set()
    for index in range(chunks.num_columns):
        chunk = chunks.column(index)
        path = chunk.path_in_schema
        name = path if path in columns else path.split(".")[0]
        if name in columns and any(page.size > LARGE for page in pages(file, chunk)):
            large.add(name)
            if name == text:
                column = table.schema.column(index)
                if column.max_repetition_level or column.max_definition_level > 1:
                    raise Unreadable("too_large", "a text that is no plain column has a page over the limit")
                streamed = values(file, chunk, column.max_definition_level, limit)
    others = [name for name in columns if name not in large]
    if text in large and not others:
        yield from ((value, {}) for value in streamed)
        return
    for batch in table.iter_batches(rows, row_groups=[group], columns=others, use_threads=False):
        for index in range(len(batch)):
            fields = {name: _plain(batch[name][index]) for name in batch.schema.names if name != text}
            # Values are taken one by one: a column of long texts is never all in Python at once.
            yield next(streamed, None) if text in large else _bytes(batch[text][index], limit), fields


def _bytes(value: Any, limit: int) -> bytes | TooLong | None:
    value = value.value if hasattr(value, "value") else value  # out of its dictionary
    if not value.is_valid:
        return None
    size = value.as_buffer().size
    return TooLong(size) if size > limit else value.as_buffer().to_pybytes()


def _document(
    value: bytes | TooLong | None, fields: dict[str, Any], row: int, settings: ReadSettings
) -> tuple[Parts | BadRecord, int]:
    """A row as a document, and the size of its text."""
    number = str(row)
    if isinstance(value, TooLong):
        reason = f"the row has {value.size / 1e6:,.0f} MB, over the limit of {settings.max_record_megabytes} MB"
        return BadRecord(number, "too_large", f"{reason}: raise `max_record_megabytes`"), 0
    content = normalise(value.decode("utf-8", "replace")).strip() if value else ""
    if not content:
        return BadRecord(number, "empty", f"row {number}: its text is empty"), 0
    parts = Parts(content)
    named = {name.strip().lower(): name for name in fields}
    key = next((named[name] for name in ID_NAMES if name in named and fields[named[name]] not in (None, "")), None)
    parts.record = str(fields.pop(key))[:200] if key is not None else number
    claim(parts, fields)
    return parts, len(value or b"")


def _plain(value: Any) -> Any:
    try:
        made = value.as_py()
    except (ValueError, OverflowError, UnicodeDecodeError):  # dates of no calendar, text that is no UTF-8
        return None
    return made.isoformat() if isinstance(made, (date, datetime)) else made
