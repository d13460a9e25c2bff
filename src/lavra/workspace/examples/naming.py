"""A set of examples by its name: what `lavra tune` and `lavra align` are given may be a file, or a set of the store."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lavra.corpus.labels.entry import FILE, Kind
from lavra.errors import LavraError
from lavra.store import Artifact
from lavra.workspace.workspace import Workspace

if TYPE_CHECKING:
    from lavra.workspace.tuning.settings import Sources

KIND = "examples"
_ID = re.compile(rf"{KIND}-[0-9a-f]{{1,16}}")
_USE = {
    "instructions": "lavra tune",
    "preferences": "lavra align",
    "classes": "lavra tune --task classify",
    "pairs": "lavra tune --task embed",
}


def find_set(workspace: Workspace, name: str) -> Artifact:
    """The set of this id or name. Raises LavraError where there is none, or it was erased."""
    artifact = workspace.store.get(name)
    if artifact.manifest.kind == "corpus":
        raise LavraError(f"{artifact.id} is a corpus, of documents and not of examples: give it with --text {name}.")
    if artifact.manifest.kind != KIND:
        raise LavraError(f"{artifact.id} is no set of examples: make one with `lavra examples ingest FILE`.")
    if artifact.manifest.erased is not None:
        raise LavraError(f"{artifact.id} was erased with a document that was in it: take its files in again.")
    return artifact


def kind_of_set(artifact: Artifact) -> Kind:
    kind: Kind = artifact.manifest.metrics["kind"]
    return kind


def settle(workspace: Workspace, path: Path, *kinds: Kind) -> Path:
    """The file of examples that ``path`` stands for: itself, or that of a set of the store, of one of ``kinds``."""
    name = str(path)
    if path.exists() or not (workspace.store.ref(name) or _ID.fullmatch(name)):
        return path
    artifact = find_set(workspace, name)
    kind = kind_of_set(artifact)
    if kind not in kinds:
        raise LavraError(f"{name} is a set of {kind}: it is for `{_USE[kind]} {name}`.")
    return artifact.path / FILE


def settle_sources(workspace: Workspace, sources: Sources) -> Sources:
    """What `lavra tune` learns from, with the files of sets in place of their names."""
    validation = sources.validation
    return replace(
        sources,
        data=tuple(settle(workspace, path, "instructions") for path in sources.data),
        replay=tuple((settle(workspace, path, "instructions"), weight) for path, weight in sources.replay),
        old=tuple(settle(workspace, path, "instructions") for path in sources.old),
        validation=validation and settle(workspace, validation, "instructions"),
    )


def sets_of(workspace: Workspace, paths: Iterable[Path | None]) -> list[Artifact]:
    """The sets of the store that these files belong to, for the pedigree."""
    found = {path.parent.name for path in paths if path is not None and path.parent.parent == workspace.store.artifacts}
    return [workspace.store.get(id) for id in sorted(found) if id.startswith(f"{KIND}-")]


def inputs_of(sets: Iterable[Artifact]) -> dict[str, str]:
    """As inputs of what is trained on them."""
    return {f"examples-{number}": artifact.id for number, artifact in enumerate(sets, 1)}
