"""Parquet: a row with a text is a document, its other short columns are claims and metadata. Streamed.

Read row by row out of one row group at a time: a value that is written once and repeated a million times is then in
memory once. A row of 500 MB, which is named, takes 2.0 GB for a moment, because Arrow unpacks a whole page (in batches
of 32 rows it took 2.7 GB). A row group that cannot be read is named and the next one is read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, BinaryIO

from lavra.corpus.parts import BadRecord, Parts, Record, Unreadable, normalise
from lavra.corpus.readers.claims import claim
from lavra.corpus.readers.records import ID_NAMES, TEXT_NAMES
from lavra.corpus.settings import ReadSettings

_ROWS = 32
"""Rows at a time where the file asks for columns that stay dictionaries: each batch copies them."""
_RATIO = 250
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
        if (reason := _too_large(table, group, text, settings)) is not None:
            yield BadRecord(_rows(first, row), "too_large", reason), 0, ""
            continue
        at = first
        try:
            for batch in table.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False):
                for record, size in _documents(batch, text, at, settings):
                    out += size
                    if out > 100_000_000 and out > _RATIO * packed:
                        raise Unreadable(
                            "too_large",
                            f"its {packed / 1e6:,.2f} MB hold more than {out / 1e6:,.0f} MB of text, over {_RATIO} "
                            "times its size: what came before was read",
                        )
                    digest = hashlib.sha256(record.text.encode()).hexdigest() if isinstance(record, Parts) else ""
                    yield record, size, digest
                at += len(batch)
        except (pa.ArrowException, OSError, ValueError) as error:
            yield BadRecord(_rows(at, row), "corrupt", f"row group {group} is damaged ({_said(error)})"), 0, ""


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


def _too_large(table: Any, group: int, text: str, settings: ReadSettings) -> str | None:
    """Why a row group is not read at all: what it says of its size allows no honest text."""
    chunks = table.metadata.row_group(group)
    for index in range(chunks.num_columns):
        chunk = chunks.column(index)
        if chunk.path_in_schema != text:
            continue
        size, packed, values = chunk.total_uncompressed_size, chunk.total_compressed_size, max(chunk.num_values, 1)
        if size > 100_000_000 and size > _RATIO * max(packed, 1):
            return f"row group {group} unpacks to {size / 1e6:,.0f} MB, over {_RATIO} times its size"
        if size / values > settings.max_record_megabytes * 1_000_000:
            return (
                f"the {values:,} rows have {size / 1e6:,.0f} MB, over the limit of {settings.max_record_megabytes} MB "
                "a row: raise `max_record_megabytes`"
            )
    return None


def _documents(batch: Any, text: str, at: int, settings: ReadSettings) -> Iterator[tuple[Parts | BadRecord, int]]:
    """The rows of a batch. Values are taken one by one: a column of long texts is never all in Python at once."""
    limit = settings.max_record_megabytes * 1_000_000
    for index in range(len(batch)):
        number = str(at + index + 1)
        value = batch[text][index]
        value = value.value if hasattr(value, "value") else value  # out of its dictionary
        size = value.as_buffer().size if value.is_valid else 0
        if size > limit:
            reason = f"the row has {size / 1e6:,.0f} MB, over the limit of {settings.max_record_megabytes} MB"
            yield BadRecord(number, "too_large", f"{reason}: raise `max_record_megabytes`"), 0
            continue
        content = normalise(value.as_buffer().to_pybytes().decode("utf-8", "replace")).strip() if size else ""
        if not content:
            yield BadRecord(number, "empty", f"row {number}: its text is empty"), 0
            continue
        fields = {name: _plain(batch[name][index]) for name in batch.schema.names if name != text}
        parts = Parts(content)
        named = {name.strip().lower(): name for name in fields}
        key = next((named[name] for name in ID_NAMES if name in named and fields[named[name]] not in (None, "")), None)
        parts.record = str(fields.pop(key))[:200] if key is not None else number
        claim(parts, fields)
        yield parts, size


def _plain(value: Any) -> Any:
    try:
        made = value.as_py()
    except (ValueError, OverflowError, UnicodeDecodeError):  # dates of no calendar, text that is no UTF-8
        return None
    return made.isoformat() if isinstance(made, (date, datetime)) else made
