"""``lavra prompts``: read prompts for faults, and search for better ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lavra.cli.given import DirectoryOption, open_workspace
from lavra.errors import LavraError

if TYPE_CHECKING:
    from lavra.workspace.prompts.linting import Linted
    from lavra.workspace.workspace import Workspace

prompts_app = typer.Typer(help="Read prompts for faults, and search for better ones.", no_args_is_help=True)


@prompts_app.command("lint")
def prompts_lint(
    prompts: Annotated[
        list[str] | None, typer.Argument(help="Names or files; by default those that the workspace uses.")
    ] = None,
    form: Annotated[Literal["text", "json"], typer.Option("--format", help="Of what is printed.")] = "text",
    strict: Annotated[bool, typer.Option("--strict", help="End with 1 where an error or a warning is found.")] = False,
    variables: Annotated[
        str | None, typer.Option(help="What fills a text of your own, with commas: question,passage.")
    ] = None,
    notes: Annotated[bool, typer.Option("--notes/--no-notes", help="Show what is only worth a look.")] = True,
    workspace: DirectoryOption = None,
) -> None:
    """Find what is unclear, contradictory, unsafe or missing in a prompt, by reading it; no model is asked.

    Each finding says where, why, who published that, and what to do.
    """
    from lavra.workspace.prompts.linting import lint_prompts

    names = None if variables is None else [name.strip() for name in variables.split(",") if name.strip()]
    linted = lint_prompts(_around(workspace), prompts or (), variables=names)
    if form == "json":
        print(json.dumps([_as_json(one) for one in linted], indent=2, ensure_ascii=False))
    else:
        _show(linted, notes)
    if strict and any(one.warned for one in linted):
        raise typer.Exit(1)


def _around(directory: Path | None) -> Workspace | None:
    """The workspace, if there is one: a prompt can be read without."""
    if directory is not None:
        return open_workspace(directory)
    try:
        return open_workspace(None)
    except LavraError as error:
        if "no workspace" not in str(error):
            raise
        return None


def _as_json(one: Linted) -> dict[str, object]:
    return {"prompt": one.name, "findings": [found.to_json() for found in one.findings]}


def _show(linted: list[Linted], notes: bool) -> None:
    counts: dict[str, int] = {}
    for one in linted:
        for found in one.findings:
            counts[found.severity] = counts.get(found.severity, 0) + 1
            if found.severity == "note" and not notes:
                continue
            print(f"{one.name}:{found.line}:{found.column}: {found.severity} {found.rule} {found.part}")
            print(f"  {found.what}: {found.excerpt}")
            print(f"  {found.why}" + (f" ({found.reference})" if found.reference else ""))
            print(f"  → {found.do}\n")
    said = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for word, count in counts.items())
    print(f"{len(linted)} prompt{'' if len(linted) == 1 else 's'}: {said or 'nothing found'}.")
