"""Rows out of files: JSON Lines, JSON, CSV and Parquet, the texts compressed or not. Each comes with its line.

A row that cannot be read is a problem of its own; the file goes on after it. JSON Lines and Parquet are read as
streams: what is in memory is a line, or some rows.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lavra.corpus.examples.example import Problem
from lavra.corpus.packing import Damaged, inner_name, open_stream, packing, unpacked
from lavra.corpus.parts import Unreadable
from lavra.errors import LavraError

Row = tuple[str, dict[str, Any]]
_SPACE = re.compile(r"[\s,]*")
_LISTS = ("data", "examples", "rows", "train", "instances")
"""Fields that a JSON file's list may lie in."""
_LONGEST_CELL = 1 << 27
_LONGEST_LINE = 1 << 26
_MOST_UNPACKED = 1 << 30
"""Bytes that a compressed JSON or CSV file may hold: it is in memory as a whole."""


def rows(path: Path) -> Iterator[Row | Problem]:
    """Every row of ``path`` with where it stands. Raises LavraError for a file that cannot be read at all."""
    name = inner_name(path.name) or path.name
    reader = _READERS.get(Path(name).suffix.lower())
    if reader is None or (reader is _parquet and name != path.name):
        raise LavraError(
            f"{path} is no file of examples: give .jsonl, .json, .csv, .tsv (also .gz, .bz2, .xz, .zst) or .parquet "
            "(documents to read on: --text)."
        )
    if not path.is_file():
        raise LavraError(f"{path} does not exist: give a file of examples.")
    try:
        yield from reader(path)
    except OSError as error:
        raise LavraError(f"{path} cannot be read ({error.strerror or error}): check it and its permissions.") from error


def read_text(path: Path) -> str:
    """A file's text, unpacked where it is compressed. Raises LavraError where it is damaged or not UTF-8."""
    data = path.read_bytes()
    try:
        if packing(data[:16]):
            data = unpacked(data, _MOST_UNPACKED, "example")
        return data.decode("utf-8-sig")
    except Unreadable as error:
        raise LavraError(f"{path} cannot be unpacked ({error}): compress it again.") from error
    except UnicodeDecodeError as error:
        raise LavraError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8.") from error


def _object(value: Any, where: str) -> Row | Problem:
    if isinstance(value, dict):
        return where, value
    if isinstance(value, list) and value and all(isinstance(message, dict) for message in value):
        return where, {"messages": value}  # a conversation without a name around it
    return Problem(where, f"this is {type(value).__name__}, not an object; write one object a row")


def _jsonl(path: Path) -> Iterator[Row | Problem]:
    for where, line in _lines(path):
        if isinstance(line, Problem):
            yield line
            continue
        try:
            text = line.decode("utf-8-sig")
            value = json.loads(text) if text.strip() else None
        except UnicodeDecodeError as error:
            yield Problem(where, f"this line is not UTF-8 text (byte {error.start}); save it as UTF-8, or delete it")
            continue
        except (ValueError, RecursionError) as error:
            yield Problem(where, f"this line is not JSON ({error}); repair or delete it")
            continue
        if text.strip():
            yield _object(value, where)


def _lines(path: Path) -> Iterator[tuple[str, bytes | Problem]]:
    """Every line with where it stands. After damage in a compressed file the lines are counted on."""
    number = 0
    with path.open("rb") as file:
        stream = open_stream(file)
        while True:
            number += 1
            where = f"{path}:{number}"
            try:
                line = stream.readline(_LONGEST_LINE)
                whole = len(line) < _LONGEST_LINE or line.endswith(b"\n")
                while line and not whole and (more := stream.readline(_LONGEST_LINE)):
                    if more.endswith(b"\n"):
                        break
            except Unreadable as error:
                yield where, Problem(where, f"{error}; compress the file again")
                if isinstance(error, Damaged):
                    continue
                return
            if not line:
                return
            yield where, line if whole else Problem(where, f"this line has more than {_LONGEST_LINE >> 20} MiB; cut it")


def _json(path: Path) -> Iterator[Row | Problem]:
    """A list of objects, or an object that holds one; some call JSON Lines ``.json`` too."""
    text = read_text(path)
    start = _list_start(text)
    if start is None:
        yield from _jsonl(path)
        return
    decoder, at, line, seen = json.JSONDecoder(), start, 1, 0
    while True:
        match = _SPACE.match(text, at)
        at = match.end() if match else at
        if at >= len(text) or text[at] == "]":
            return
        line, seen = line + text.count("\n", seen, at), at
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            yield Problem(f"{path}:{line}", f"from here on this is not JSON ({error}); repair it")
            return
        yield _object(value, f"{path}:{line}")


def _list_start(text: str) -> int | None:
    """Where the first element of the file's list stands; None where there is no list."""
    bare = text.lstrip()
    if bare.startswith("["):
        return text.index("[") + 1
    found = re.match(r'\s*\{[^\[\]{}]*?"(' + "|".join(_LISTS) + r')"\s*:\s*\[', text)
    return found.end() if found else None


def _csv(path: Path) -> Iterator[Row | Problem]:
    text = read_text(path)
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        names = [name.strip() for name in next(reader, [])]
        line = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                if len(cells) == len(names):
                    yield f"{path}:{line}", dict(zip(names, cells, strict=True))
                else:
                    yield Problem(
                        f"{path}:{line}", f"{len(cells)} cells where the header has {len(names)}; quote cells with "
                        f"{delimiter!r} in them"
                    )  # fmt: skip
            line = reader.line_num + 1
    except csv.Error as error:
        yield Problem(f"{path}:{line}", f"from here on this is not CSV ({error}); repair it")
    finally:
        csv.field_size_limit(before)


def _parquet(path: Path) -> Iterator[Row | Problem]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}:{number}", {name: value for name, value in row.items() if value is not None}
    except (pyarrow.ArrowException, OSError) as error:
        raise LavraError(f"{path} is not a whole Parquet file ({error}): write it again.") from error


_READERS: dict[str, Callable[[Path], Iterator[Row | Problem]]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
}
