"""Counterfactual augmentation of a file of training data: each row, and the same with the gender of its people
exchanged (:mod:`lavra.evaluation.bias.swapping`)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavra.errors import LavraError
from lavra.evaluation.bias.swapping import swapped, swapped_any

KEPT = frozenset(
    (
        "id",
        "document",
        "source",
        "split",
        "language",
        "kind",
        "by",
        "label",
        "labels",
        "role",
        "chunk",
        "url",
        "licence",
    )
)
"""Fields whose text is no language."""
Swap = Callable[[str], str | None]


@dataclass(frozen=True)
class Augmented:
    """``text``: the new file; of its ``rows`` those ``added``."""

    text: str
    rows: int
    added: int


def augment(path: Path, language: str = "auto") -> Augmented:
    """A JSON Lines, CSV, TSV or plain text file (a text a line) with the other form behind each row that has one.

    A row's texts are exchanged together, so that question and answer still fit. Raises LavraError for another kind of
    file, and for one that cannot be read.
    """

    def swap(text: str) -> str | None:
        return swapped_any(text) if language == "auto" else swapped(text, language)

    kinds: dict[str, Callable[[str, Swap], tuple[str, int, int]]] = {
        ".jsonl": _json_lines, ".csv": _table(","), ".tsv": _table("\t"), ".txt": _lines,
    }  # fmt: skip
    if path.suffix.lower() not in kinds:
        raise LavraError(f"{path.name} cannot be augmented: give a file of {', '.join(kinds)}.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LavraError(f"{path} cannot be read ({error}): give a file in UTF-8.") from error
    return Augmented(*kinds[path.suffix.lower()](text, swap))


def swap_row(value: Any, swap: Swap) -> Any | None:
    """The row with all of its texts exchanged; None where none of them changes."""
    changed = False

    def walk(one: Any, name: str) -> Any:
        nonlocal changed
        if isinstance(one, str) and name not in KEPT:
            new = swap(one)
            changed = changed or new is not None
            return one if new is None else new
        if isinstance(one, list):
            return [walk(each, name) for each in one]
        if isinstance(one, dict):
            return {key: walk(each, str(key).lower()) for key, each in one.items()}
        return one

    found = walk(value, "")
    return found if changed else None


def _json_lines(text: str, swap: Swap) -> tuple[str, int, int]:
    out: list[str] = []
    rows = added = 0
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise LavraError(f"line {number} is not JSON ({error}): mend or remove it.") from error
        out.append(line)
        rows += 1
        if (other := swap_row(row, swap)) is not None:
            out.append(json.dumps(_renamed(other), ensure_ascii=False))
            added += 1
    return "".join(line + "\n" for line in out), rows + added, added


def _renamed(row: Any) -> Any:
    """Another row has another id."""
    if isinstance(row, dict) and isinstance(row.get("id"), str):
        return {**row, "id": f"{row['id']}-swapped"}
    return row


def _table(separator: str) -> Callable[[str, Swap], tuple[str, int, int]]:
    def read(text: str, swap: Swap) -> tuple[str, int, int]:
        rows = csv.DictReader(io.StringIO(text), delimiter=separator)
        out = io.StringIO()
        writer = csv.DictWriter(out, rows.fieldnames or (), delimiter=separator, lineterminator="\n")
        writer.writeheader()
        count = added = 0
        for row in _whole(rows):
            writer.writerow(row)
            count += 1
            if (other := swap_row(row, swap)) is not None:
                writer.writerow(_renamed(other))
                added += 1
        return out.getvalue(), count + added, added

    return read


def _whole(rows: csv.DictReader[str]) -> Iterator[dict[str, str]]:
    for row in rows:
        if None in row or None in row.values():
            raise LavraError(f"line {rows.line_num} has not as many cells as the first line: mend or remove it.")
        yield row


def _lines(text: str, swap: Swap) -> tuple[str, int, int]:
    out: list[str] = []
    rows = added = 0
    for line in text.splitlines():
        out.append(line)
        if not line.strip():
            continue
        rows += 1
        if (other := swap(line)) is not None:
            out.append(other)
            added += 1
    return "".join(line + "\n" for line in out), rows + added, added
