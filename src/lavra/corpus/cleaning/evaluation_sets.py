"""The texts of evaluation items, out of the files in which they are handed around: JSONL, JSON, CSV, TSV, text."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lavra.errors import LavraError

_SHORTEST = 20
"""Characters of a value that can be an item; labels and ids are shorter."""


def read_items(path: Path) -> list[str]:
    """The texts of a set: for every record all its longer strings together, for plain text every line.

    Raises LavraError where the file is not there or is not what its name says.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = raw.decode("utf-8-sig")
        kind = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
        items = list(_items(text, kind.lower()))
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
        said = getattr(error, "strerror", None) or error
        raise LavraError(f"the evaluation set {path} cannot be read ({said}): give JSONL, JSON, CSV or text.") from None
    if not items:
        raise LavraError(
            f"the evaluation set {path} holds no item of {_SHORTEST} characters or more: is it the right file?"
        )
    return items


def _items(text: str, kind: str) -> Iterator[str]:
    if kind in (".jsonl", ".ndjson"):
        records: Any = [json.loads(line) for line in text.splitlines() if line.strip()]
    elif kind == ".json":
        try:
            records = json.loads(text)
        except json.JSONDecodeError:  # JSON Lines under another name
            records = [json.loads(line) for line in text.splitlines() if line.strip()]
        while isinstance(records, dict) and len(records) and any(isinstance(v, list) for v in records.values()):
            records = next(value for value in records.values() if isinstance(value, list))
        records = records if isinstance(records, list) else [records]
    elif kind in (".csv", ".tsv"):
        records = list(csv.reader(text.splitlines(), delimiter="\t" if kind == ".tsv" else ","))
    else:
        records = text.splitlines()
    for record in records:
        yield from (value for value in _strings(record) if len(value) >= _SHORTEST)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
