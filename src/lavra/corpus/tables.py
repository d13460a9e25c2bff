"""Rows of a file that a person made: JSON Lines, CSV or TSV, whatever its columns are called, each row with its line.

For training data, where a row that cannot be used is refused by its line and reason and the others stay.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavra.corpus.encoding import decode
from lavra.corpus.parts import Unreadable
from lavra.errors import LavraError

SHOWN = 5


@dataclass(frozen=True)
class Refusal:
    """A row that was left out: ``line`` of the file, from 1, and why."""

    line: int
    reason: str


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """(line, row) of each row; a string instead of a row says what is wrong with it.

    ``.jsonl``: an object a line. ``.csv``, ``.tsv``: with a header, separated by comma, semicolon or tabulator.
    Raises LavraError for a file that cannot be read at all.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise LavraError(f"{path} cannot be read ({error.strerror}); check the path") from error
    try:
        text, _ = decode(data)
    except Unreadable as error:
        raise LavraError(f"{path.name} is not text ({error}); write it as .jsonl, .csv or .tsv") from error
    if path.suffix.lower() in (".csv", ".tsv"):
        yield from _delimited(text, path)
    elif path.suffix.lower() in (".jsonl", ".ndjson"):
        yield from _json_lines(text)
    else:
        raise LavraError(f"{path.name} is neither .jsonl, .csv nor .tsv; write the data as one of these")


def _json_lines(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"it is not JSON ({error})"
            continue
        yield number, value if isinstance(value, dict) else "it is not a JSON object"


def _delimited(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    first = text.split("\n", 1)[0]
    comma = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    csv.field_size_limit(1 << 26)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=comma)
    try:
        header = [name.strip().lstrip("\ufeff") for name in next(reader)]
    except (StopIteration, csv.Error) as error:
        raise LavraError(f"{path.name} is empty or has no header; name its columns in the first line") from error
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, f"it is not a row of a table ({error})"
            continue
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            yield line, f"it has {len(row)} cells where the header has {len(header)}"
            continue
        yield line, dict(zip(header, row, strict=True))


def pick(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The value of the first of ``names`` that the row has, spelled in any case; None if it has none."""
    by_name = {key.strip().casefold(): value for key, value in row.items()}
    return next((by_name[name] for name in names if by_name.get(name) is not None), None)


def describe(refused: Sequence[Refusal]) -> str:
    """The first few refusals, as a sentence."""
    said = "; ".join(f"line {one.line}: {one.reason}" for one in refused[:SHOWN])
    return said + (f"; and {len(refused) - SHOWN} more" if len(refused) > SHOWN else "")
