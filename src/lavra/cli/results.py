"""How a command ends that asked a model something: the result gets its name, and is shown as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lavra.workspace.evaluated import Evaluated
    from lavra.workspace.workspace import Workspace


def name_and_show(
    here: Workspace, done: Evaluated, name: str | None, *, as_json: bool, show: Callable[[Evaluated], None]
) -> None:
    """Call it ``name`` where one is given; print its results as JSON, or as ``show`` does."""
    if name:
        here.store.set_ref(name, done.artifact.id)
    if as_json:
        print(json.dumps(done.results, indent=2, ensure_ascii=False))
    else:
        show(done)


def said_where(done: Evaluated, page: str) -> str:
    """Where the report is, and whether it was there before."""
    word = "There already: " if done.found else ""
    return f"{word}{done.artifact.id}: {done.artifact.path / page}"


def print_table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Plain text, in columns as wide as their widest cell."""
    widths = [max(len(line[place]) for line in [columns, *lines]) for place in range(len(columns))]
    for line in [columns, *lines]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
