"""The texts of evaluation items, out of the files in which they are handed around: JSON Lines, JSON, CSV, TSV, Parquet
and text, compressed or not."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lavra.corpus.examples.example import Problem
from lavra.corpus.examples.rows import read_text, rows
from lavra.corpus.packing import inner_name
from lavra.errors import LavraError

_SHORTEST = 20
"""Characters of a value that can be an item; labels and ids are shorter."""
_ROWS = (".jsonl", ".ndjson", ".parquet")


def read_items(path: Path) -> list[str]:
    """The texts of a set: for every record all its longer strings together, for plain text every line.

    Raises LavraError where the file is not there or is not what its name says, also in a single row: an item that was
    passed over would be trained on.
    """
    kind = Path(inner_name(path.name) or path.name).suffix.lower()
    try:
        path.stat()
        records = _rows(path) if kind in _ROWS else _records(read_text(path), kind)
        items = [value for record in records for value in _strings(record) if len(value) >= _SHORTEST]
    except (OSError, ValueError, csv.Error) as error:
        said = getattr(error, "strerror", None) or error
        raise LavraError(
            f"the evaluation set {path} cannot be read ({said}): give JSONL, JSON, CSV, Parquet or text."
        ) from None
    if not items:
        raise LavraError(
            f"the evaluation set {path} holds no item of {_SHORTEST} characters or more: is it the right file?"
        )
    return items


def _rows(path: Path) -> Iterator[Any]:
    for row in rows(path):
        if isinstance(row, Problem):
            raise LavraError(f"the evaluation set {path} cannot be read whole ({row}).")
        yield row[1]


def _records(text: str, kind: str) -> Any:
    if kind in (".csv", ".tsv"):  # with a header or without
        return csv.reader(io.StringIO(text, newline=""), delimiter="\t" if kind == ".tsv" else ",")
    if kind != ".json":
        return text.split("\n")
    try:
        records = json.loads(text)
    except json.JSONDecodeError:  # JSON Lines under another name
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    while isinstance(records, dict) and any(isinstance(value, list) for value in records.values()):
        records = next(value for value in records.values() if isinstance(value, list))
    return records if isinstance(records, list) else [records]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
