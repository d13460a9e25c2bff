"""``examples correct``: a set as a person wants it, out of another and the file of suggestions with their decisions."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from lavra.errors import LavraError
from lavra.store import Artifact, Draft
from lavra.store.files import hash_file
from lavra.workspace.examples.ingesting import NAME
from lavra.workspace.examples.naming import KIND, find_set
from lavra.workspace.workspace import Workspace

DECISIONS = "decisions.csv"
CORRECTOR = 1
"""Raised when the same decisions would make another set."""


@dataclass(frozen=True)
class Corrected:
    """``changed``: rows with another label; ``dropped``: rows that are gone."""

    artifact: Artifact
    examples: int
    changed: int
    dropped: int
    found: bool


def correct_examples(workspace: Workspace, name: str, decisions: Path, *, to: str | None = None) -> Corrected:
    """The set with the decisions of a file of suggestions applied, called ``to`` (else by the same name).

    Raises LavraError where nothing is decided, a decision is of another set, or nothing would stay.
    """
    from lavra.corpus.labels.account import load_account
    from lavra.corpus.labels.correcting import correct
    from lavra.corpus.labels.entry import read_entries
    from lavra.corpus.labels.suggestions import apply_decisions, read_decisions

    before = find_set(workspace, name)
    decided = read_decisions(decisions)
    if not decided:
        raise LavraError(f"nothing is decided in {decisions}: write take or drop in the column do, then try again.")
    entries = read_entries(before.path)
    applied = apply_decisions(entries, decided, str(decisions))
    if not applied.entries:
        raise LavraError(f"nothing would stay: {decisions} drops every row.")
    made: list[bool] = []

    def build(draft: Draft) -> None:
        account = correct(applied, entries, load_account(before.path), draft.path)
        shutil.copyfile(decisions, draft.path / DECISIONS)
        draft.metrics.update(kind=account.kind, examples=account.kept, rows=account.rows, left_out=account.left_out)
        draft.metrics["changed"] = account.changed
        draft.licences.extend(licence for licence in account.licences if licence != "none stated")
        made.append(True)

    recipe = {"made by": "examples correct", "corrector": CORRECTOR, "decisions": hash_file(decisions)}
    artifact = workspace.store.make(KIND, {"examples": before.id}, recipe, build)
    workspace.store.set_ref(to or (name if workspace.store.ref(name) else NAME), artifact.id)
    return Corrected(artifact, len(applied.entries), len(applied.changed), len(applied.dropped), not made)
