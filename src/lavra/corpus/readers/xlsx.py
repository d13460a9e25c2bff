"""Excel: every sheet a heading and a table, values as last computed, bounded in cells."""

from __future__ import annotations

import datetime
import io
from typing import Any

from lavra.corpus.parts import Parts, TextBuilder, one_line
from lavra.corpus.settings import ReadSettings


def read(data: bytes, name: str, settings: ReadSettings) -> list[Parts]:
    """One document with a span a sheet, labelled by its name. Rows over ``max_cells`` are left out and noted."""
    import openpyxl

    book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
    builder = TextBuilder()
    left, cut = settings.max_cells, []
    try:
        for sheet in book.worksheets:
            rows, left = _rows(sheet, left)
            with builder.within("sheet", sheet.title):
                if rows:
                    builder.heading(sheet.title, 1)
                    builder.table(rows, one_line(sheet.title))
            if left <= 0:
                cut.append(sheet.title)
                break
        metadata = {"sheets": str(len(book.worksheets))}
        if cut:
            metadata["note"] = f"left out after {settings.max_cells:,} cells, in sheet {cut[0]}: raise `max_cells`"
        title = one_line(book.properties.title or "") if book.properties else ""
    finally:
        book.close()
    return [builder.parts(title=title, metadata=metadata)]


def _rows(sheet: Any, left: int) -> tuple[list[list[str]], int]:
    """The rows of a sheet that have something, as far as ``left`` cells go, and how many are left then."""
    sheet.reset_dimensions()  # the size that a file states may be wrong, or a million empty rows
    rows: list[list[str]] = []
    for values in sheet.iter_rows(values_only=True):
        cells = [_shown(value) for value in values]
        while cells and not cells[-1]:
            cells.pop()
        if not cells:
            continue
        rows.append(cells)
        left -= len(cells)
        if left <= 0:
            break
    margin = min((next(i for i, cell in enumerate(row) if cell) for row in rows), default=0)
    return [row[margin:] for row in rows], left


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(round(value, 10))
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time(0)
        return value.date().isoformat() if midnight else value.isoformat(sep=" ", timespec="minutes")
    return one_line(str(value))
