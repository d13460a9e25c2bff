"""Two evaluations side by side, as an artifact of their own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lavra.errors import LavraError
from lavra.evaluation.harness.comparing import Compared, Evaluation, compare
from lavra.evaluation.harness.pages import comparison
from lavra.store import Artifact, Draft
from lavra.workspace.evaluating.run import KIND, VERSION, write
from lavra.workspace.workspace import Workspace


@dataclass(frozen=True)
class Comparison:
    """``artifact``: only of two evaluations that are in the store."""

    names: tuple[str, str]
    tasks: tuple[Compared, ...]
    notes: tuple[str, ...]
    artifact: Artifact | None


def compare_evaluations(workspace: Workspace, first: str, second: str) -> Comparison:
    """Of artifacts by id or name, or of directories with results of the harness.

    Raises LavraError where one is neither, or nothing can be compared.
    """
    places = [_place(workspace, reference) for reference in (first, second)]
    a, b = (Evaluation.read(path) for path, _ in places)
    found, notes = compare(a, b)
    names = (a.name, b.name) if a.name != b.name else (f"{a.name} ({first})", f"{b.name} ({second})")
    artifacts = [artifact for _, artifact in places if artifact is not None]

    def build(draft: Draft) -> None:
        markdown, html, picture = comparison(names, found, notes, (a.results, b.results))
        values = {"names": names, "tasks": [one.to_json() for one in found], "notes": notes}
        write(draft, "compare.json", json.dumps(values, indent=2, ensure_ascii=False) + "\n")
        write(draft, "report.md", markdown)
        write(draft, "report.html", html)
        write(draft, "radar.svg", picture)
        draft.metrics.update({one.task: one.difference.mean for one in found})

    kept = None
    if len(artifacts) == 2:
        inputs = {"a": artifacts[0].id, "b": artifacts[1].id}
        kept = workspace.store.make(KIND, inputs, {"made by": "compare", "version": VERSION}, build)
    return Comparison(names, tuple(found), tuple(notes), kept)


def _place(workspace: Workspace, reference: str) -> tuple[Path, Artifact | None]:
    if Path(reference).is_dir():
        return Path(reference), None
    artifact = workspace.store.get(reference)
    if artifact.manifest.kind != KIND:
        raise LavraError(f"{artifact.id} is no evaluation: give what `lavra evaluate` made.")
    return artifact.path, artifact
