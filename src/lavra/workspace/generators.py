"""What writes the answers: a model by its reference, or something that was tuned here, by its artifact's id or name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lavra.errors import LavraError
from lavra.store import Artifact
from lavra.store.manifest import ID

if TYPE_CHECKING:
    from lavra.model.hub import ResolvedModel
    from lavra.workspace.workspace import Workspace

ADAPTER, MODEL = "adapter", "model"
"""Where an artifact of either kind has its files."""


@dataclass(frozen=True)
class Generator:
    """``model``: the weights; ``adapters``: directories to merge into them; ``artifact``: what was tuned, if it was."""

    model: ResolvedModel
    adapters: tuple[Path, ...] = ()
    artifact: Artifact | None = None

    @property
    def name(self) -> str:
        return self.artifact.id if self.artifact is not None else self.model.name


def find_generator(workspace: Workspace, reference: str) -> Generator:
    """What ``reference`` names: an artifact's id, the beginning of one or its name, or a model's reference.

    Raises LavraError where it is neither, is not on this machine, or was tuned from a model that has changed since.
    """
    artifact = tuned(workspace, reference)
    if artifact is None:
        return Generator(workspace._resolved(reference))
    recipe = artifact.manifest.recipe
    if artifact.manifest.erased is not None:
        raise LavraError(f"{artifact.id} was erased: choose another model.")
    if artifact.manifest.kind == "adapter":
        base = find_generator(workspace, str(recipe["base"]))
        if base.model.sha256 != recipe["base_sha256"]:
            raise LavraError(
                f"{artifact.id} was tuned over {recipe['base']} when its files were others "
                f"({str(recipe['base_sha256'])[:12]}, now {base.model.sha256[:12]}): restore them, or tune again."
            )
        return Generator(base.model, (*base.adapters, artifact.path / ADAPTER), artifact)
    if (artifact.path / MODEL).is_dir():
        return Generator(workspace._resolved(str(artifact.path / MODEL)), (), artifact)
    card = json.loads((artifact.path / "model.json").read_text("utf-8"))
    return Generator(workspace._resolved(card["reference"]))


def find_adapters(workspace: Workspace, named: Mapping[str, str]) -> dict[str, Path]:
    """The directories of adapters over the workspace's generator, by the names they are asked for: each an artifact's
    id or name, or a directory in peft's format.

    Raises LavraError where one is neither, or lies over another model.
    """
    under = workspace.generator
    found: dict[str, Path] = {}
    for name, reference in named.items():
        directory = Path(workspace._beside(reference))
        if tuned(workspace, reference) is None:
            if not (directory / "adapter_config.json").is_file():
                raise LavraError(
                    f"the adapter {name} is neither something that was tuned here nor a directory with "
                    f"adapter_config.json: {reference}."
                )
            found[name] = directory
            continue
        own = find_generator(workspace, reference)
        if own.model.sha256 != under.model.sha256 or own.adapters[:-1] != under.adapters or not own.adapters:
            raise LavraError(f"{own.name} is no adapter over {under.name}: serve it by itself, with --adapter {name}.")
        found[name] = own.adapters[-1]
    return found


def tuned(workspace: Workspace, reference: str) -> Artifact | None:
    """The adapter or model of the store that is called so, if there is one."""
    store = workspace.store
    if not (ID.fullmatch(reference) or reference.startswith(("adapter-", "model-")) or store.ref(reference)):
        return None
    try:
        artifact = store.get(reference)
    except LavraError:
        if ID.fullmatch(reference):
            raise
        return None
    if artifact.manifest.kind not in ("adapter", "model"):
        raise LavraError(f"{artifact.id} is no model: give an adapter or a model.")
    return artifact
