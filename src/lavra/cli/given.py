"""What many commands are given: the workspace, the reader's roles, adapters; and what they need before they begin."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lavra.errors import LavraError

if TYPE_CHECKING:
    from lavra.workspace.workspace import Workspace

DirectoryOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace", "-w", help="The workspace's directory; by default the one around the current directory."
    ),
]
RoleOption = Annotated[
    list[str] | None,
    typer.Option("--role", "-r", help="A role of the reader; repeat for several. Everybody is 'public'."),
]
AdapterOption = Annotated[
    str | None, typer.Option("--adapter", help="What `lavra tune` made: its id, the beginning of one, or its name.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def open_workspace(directory: Path | None) -> Workspace:
    from lavra.workspace.workspace import Workspace

    return Workspace.open(directory) if directory else Workspace.find()


def require_models(here: Workspace, *, embedder_only: bool = False) -> None:
    """Pull the workspace's models the first time they are needed, saying so."""
    from lavra.cli.console import progress
    from lavra.model.hub import resolve
    from lavra.workspace.generators import tuned
    from lavra.workspace.workspace import pulling

    models, reranker = here.settings.models, here.settings.search.reranker
    for reference in (models.embedder,) if embedder_only else (models.embedder, models.generator, reranker):
        if reference is None or tuned(here, reference) is not None:
            continue
        try:
            resolve(here._beside(reference))
        except LavraError:
            with progress() as report:
                resolve(here._beside(reference), pull=True, progress=pulling(reference, report))


def writing_with(here: Workspace, adapter: str | None) -> Workspace:
    """The workspace with what was tuned instead of its generator."""
    from lavra.workspace.generators import tuned

    if adapter is None:
        return here
    if tuned(here, adapter) is None:
        raise LavraError(f"nothing that was tuned is called {adapter!r}: `lavra trace` lists what there is.")
    return here.writing_with(adapter)


def choosing(here: Workspace, adapters: list[str]) -> Workspace:
    """One adapter without a name writes instead of the generator; named ones stand beside it."""
    plain = [entry for entry in adapters if "=" not in entry]
    if len(plain) > 1:
        raise LavraError(
            f"--adapter {plain[0]} and {plain[1]} cannot both write: give them names, A=ID, to choose from."
        )
    here = writing_with(here, plain[0] if plain else None)
    named = dict(entry.split("=", 1) for entry in adapters if "=" in entry)
    if len(named) + len(plain) < len(adapters) or not all(name and reference for name, reference in named.items()):
        raise LavraError("--adapter NAME=ID wants a name and what it stands for, each name once.")
    return here.with_adapters(named) if named else here
