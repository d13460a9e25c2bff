"""``examples check``: what is doubtful in a set, into a file in which a person decides. The set stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lavra.errors import LavraError
from lavra.workspace.examples.ingesting import NAME
from lavra.workspace.examples.naming import find_set, kind_of_set
from lavra.workspace.workspace import Progress, Workspace, silent

if TYPE_CHECKING:
    import numpy as np

    from lavra.corpus.labels.checking import Checked
    from lavra.corpus.labels.confident import Method

_AT_ONCE = 256


def check_examples(
    workspace: Workspace,
    name: str = NAME,
    *,
    to: Path | None = None,
    method: Method = "both",
    folds: int = 5,
    seed: int = 0,
    embed: bool = False,
    progress: Progress = silent,
) -> Checked:
    """The suggestions on a set of the store, also into the CSV file ``to``. ``embed``: labels are judged by what the
    workspace's embedder makes of the texts, too.

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
    entries = read_entries(artifact.path)
    vectors = None
    if embed:
        if kind_of_set(artifact) != "classes":
            raise LavraError(
                f"{name} is a set of {kind_of_set(artifact)}, which no embedder judges: leave --embed out."
            )
        vectors = _vectors(workspace, [entry.asked for entry in entries], progress)
    checked = check(entries, method=method, folds=folds, seed=seed, vectors=vectors)
    if to is not None:
        write_suggestions(checked.suggestions, to)
    return checked


def _vectors(workspace: Workspace, texts: Sequence[str], progress: Progress) -> np.ndarray:
    """(N, D), some hundred texts at a time."""
    import numpy as np

    found = []
    for start in range(0, len(texts), _AT_ONCE):
        progress("Reading", start, len(texts))
        found.append(workspace.embedder.documents(texts[start : start + _AT_ONCE]))
    progress("Reading", len(texts), len(texts))
    return np.concatenate(found)
