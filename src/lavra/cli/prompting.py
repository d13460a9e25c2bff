"""``lavra prompts``: read prompts for faults, and search for better ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lavra.cli.given import DirectoryOption, open_workspace, require_models
from lavra.errors import LavraError

if TYPE_CHECKING:
    from lavra.workspace.prompts.improving import Improved
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


@prompts_app.command("improve")
def prompts_improve(
    questions: Annotated[Path, typer.Option(help="Questions with right answers (JSONL, CSV, SQuAD, BEIR).")],
    prompt: Annotated[
        str | None,
        typer.Option(help="The prompt to begin with, a name or a file; by default the one that `lavra ask` uses."),
    ] = None,
    instructions: Annotated[Path | None, typer.Option(help="Instructions of your own to try, one a line.")] = None,
    write: Annotated[int, typer.Option(min=0, help="Let a model write so many instructions to try.")] = 0,
    endpoint: Annotated[
        str | None, typer.Option(help="The address of an OpenAI-compatible server that writes them; it gets examples.")
    ] = None,
    endpoint_model: Annotated[str | None, typer.Option(help="The model to ask for there.")] = None,
    key_env: Annotated[str | None, typer.Option(help="The environment variable that holds the server's key.")] = None,
    examples: Annotated[str, typer.Option(help="How many examples to try, with commas; 0 for none.")] = "2,4,8",
    measure: Annotated[
        str | None,
        typer.Option(help="exact_match, token_f1, token_recall, rouge_l or chrf; by default what the answers ask for."),
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer.")] = None,
    limit: Annotated[int | None, typer.Option(min=30, help="Use so many questions at most.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the division of the questions.")] = 0,
    keep: Annotated[
        bool, typer.Option("--keep", help="Write the better prompt into the workspace, and use it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    workspace: DirectoryOption = None,
) -> None:
    """Search for better instructions, examples and order; test the best on questions that the search never saw.

    The same command again continues a search that was stopped.
    """
    from lavra.cli.console import progress
    from lavra.workspace.prompts.improving import ImproveSettings, improve
    from lavra.workspace.prompts.keeping import keep as keep_prompt
    from lavra.workspace.questioning import asker

    here = open_workspace(workspace)
    require_models(here)
    if endpoint is not None and not write:
        raise LavraError("--endpoint writes instructions: say how many with --write.")
    writer = None
    if write:
        writer = asker(
            here, "model", endpoint=endpoint, endpoint_model=endpoint_model, key_env=key_env, as_json=False
        )  # fmt: skip
    counts = _counts(examples)
    settings = ImproveSettings(questions, prompt, instructions, counts, measure, max_tokens, limit, write, seed)
    with progress() as report:
        found = improve(here, settings, writer=writer, progress=report)
    if as_json:
        print(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
    else:
        _show_improved(found)
    if keep:
        path = keep_prompt(here, found)
        if not as_json:
            used = "`lavra ask` uses it now" if found.trial.kind == "grounded" else "give it as --prompt"
            print(f"Kept as {path.relative_to(here.root)}: {used}.")


def _counts(given: str) -> tuple[int, ...]:
    try:
        counts = tuple(int(part) for part in given.split(",") if part.strip())
    except ValueError as error:
        raise LavraError(f"--examples {given} is no list of numbers: write 2,4,8.") from error
    if any(not 0 <= count <= 64 for count in counts):
        raise LavraError(f"--examples {given}: write numbers from 0 to 64.")
    return tuple(count for count in counts if count)


def _show_improved(found: Improved) -> None:
    counts = found.counts
    prompt = found.trial.present
    print(
        f"{prompt.name} (version {prompt.version}, {found.trial.language}), by {found.measure}: "
        f"{counts['shown']} questions to show, {counts['searched']} to search on, {counts['tested']} to test.\n"
    )
    if found.wrote is not None:
        wrote = found.wrote
        print(f"{wrote.by} wrote {wrote.lines} lines, of which {len(wrote.usable)} can be tried.\n")
    width = max((len(one.variant.origin) for one in found.found.tried), default=0)
    for one in found.found.tried:
        words = " ".join(one.variant.instruction.split()) or "(none)"
        said = f"{one.variant.said}: " if one.stage != "instructions" else ""
        print(f"{one.stage:12} {one.mean:.3f} of {one.questions:3}  {one.variant.origin:{width}} {said}{words[:70]}")
    difference = found.difference
    print(f"\nnow   {found.present}\nbest  {found.best}  {found.found.best.said}: {found.found.best.instruction}")
    print(
        f"Difference on the test: {difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}], "
        f"p = {difference.p:.3f}, {difference.count} questions."
    )
    if found.gained:
        print("It gains. --keep writes it into the workspace.")
    elif not found.changed:
        print("It does not gain: nothing that was tried is better than the present prompt.")
    else:
        needed = (
            f" About {difference.needed:,} questions would show so small a difference." if difference.needed else ""
        )
        print(f"It does not gain: chance allows as much.{needed}")
