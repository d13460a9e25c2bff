"""``examples check``: what is doubtful in a set, into a file in which a person decides. The set stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lavra.errors import LavraError
from lavra.workspace.examples.ingesting import NAME
from lavra.workspace.examples.naming import find_set
from lavra.workspace.workspace import Workspace

if TYPE_CHECKING:
    from lavra.corpus.labels.checking import Checked
    from lavra.corpus.labels.confident import Method


def check_examples(
    workspace: Workspace,
    name: str = NAME,
    *,
    to: Path | None = None,
    method: Method = "both",
    folds: int = 5,
    seed: int = 0,
) -> Checked:
    """The suggestions on a set of the store, also into the CSV file ``to``.

    Raises LavraError where the labels are too few to be judged, or ``to`` is there already: somebody may have decided
    in it.
    """
    from lavra.corpus.labels.checking import check
    from lavra.corpus.labels.entry import read_entries
    from lavra.corpus.labels.suggestions import write_suggestions

    if folds < 2:
        raise LavraError(f"folds is {folds}: at least two are needed, so that each is judged by another.")
    artifact = find_set(workspace, name)
    if to is not None and to.exists():
        raise LavraError(f"{to} exists already, perhaps with your decisions: choose another place with --to.")
    checked = check(read_entries(artifact.path), method=method, folds=folds, seed=seed)
    if to is not None:
        write_suggestions(checked.suggestions, to)
    return checked
