"""CSV and TSV: a document a row where a column holds texts, one table otherwise."""

from __future__ import annotations

import csv
import io

from lavra.corpus.encoding import decode
from lavra.corpus.parts import BadRecord, Parts, TextBuilder, Unreadable, normalise
from lavra.corpus.readers.records import TEXT_NAMES, record_parts
from lavra.corpus.settings import ReadSettings

_DELIMITERS = ",;\t|"


def read(data: bytes, name: str, settings: ReadSettings) -> list[Parts | BadRecord]:
    """The first row is taken for the header. The delimiter is the one that parts most rows alike."""
    text = normalise(decode(data)[0])
    if not text.strip():
        return []
    csv.field_size_limit(settings.max_record_megabytes * 1_000_000)
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter(text), strict=False)
        header = next((row for row in rows if any(cell.strip() for cell in row)), [])
        names = [cell.strip().lower() for cell in header]
        if any(name in TEXT_NAMES for name in names):
            return _documents(names, rows)
        return [_table(header, rows, settings)]
    except csv.Error as error:
        raise Unreadable("corrupt", f"it is not valid CSV ({error})") from None


def _documents(names: list[str], rows: csv.Reader) -> list[Parts | BadRecord]:  # type: ignore[name-defined]
    documents: list[Parts | BadRecord] = []
    for number, row in enumerate(rows, 1):
        if not any(cell.strip() for cell in row):
            continue
        fields = {key: cell for key, cell in zip(names, row, strict=False) if key and cell.strip()}
        parts = record_parts(fields, str(number))
        if parts is None or not parts.text:
            documents.append(BadRecord(str(number), "empty", f"row {number}: its text is empty"))
        else:
            documents.append(parts)
    return documents


def _table(header: list[str], rows: csv.Reader, settings: ReadSettings) -> Parts:  # type: ignore[name-defined]
    kept, cells, left_out = [header], len(header), 0
    for row in rows:
        if cells > settings.max_cells:
            left_out += 1
        else:
            kept.append(row)
            cells += len(row)
    builder = TextBuilder()
    builder.table(kept)
    parts = builder.parts()
    if left_out:
        parts.metadata["note"] = f"{left_out:,} rows beyond {settings.max_cells:,} cells left out: raise `max_cells`"
    return parts


def delimiter(text: str) -> str:
    """The delimiter under which most of the first rows have the same number of cells, more than one."""
    sample = "\n".join(text[:65536].split("\n")[:51][:-1]) or text[:65536]

    def fit(mark: str) -> tuple[float, int]:
        widths = [len(row) for row in csv.reader(io.StringIO(sample, newline=""), delimiter=mark) if row]
        if not widths:
            return 0.0, 0
        usual = max(set(widths), key=widths.count)
        return (widths.count(usual) / len(widths) if usual > 1 else 0.0), usual

    return max(_DELIMITERS, key=fit)
