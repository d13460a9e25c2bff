"""``lavra tokenize``: documents as the ids that a model reads."""

from __future__ import annotations

import json
from typing import Annotated, Any, cast

import typer

from lavra.cli.given import DirectoryOption, JsonOption, open_workspace
from lavra.cli.making import check_name
from lavra.cli.results import print_table


def tokenize(
    texts: Annotated[
        str | None,
        typer.Argument(help="A corpus of the store by its name, or a file or folder; by default the documents here."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Whose tokenizer; by default that of the workspace's generator.")
    ] = None,
    name: Annotated[str, typer.Option(help="What the result is called.")] = "tokens",
    as_json: JsonOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """Write documents as token files: what a tuning reads by itself, made once, and how well a tokenizer suits them.

    The same command again finds what it made; one that was stopped goes on.
    """
    from lavra.cli.console import progress
    from lavra.workspace.tokenizing import tokenize as make

    if name != "tokens":
        check_name(name)
    here = open_workspace(workspace)
    with progress() as report:
        done = make(here, texts, model=model, name=name, progress=report)
    figures = done.artifact.manifest.metrics
    if as_json:
        print(json.dumps({"artifact": done.artifact.id, "found": done.found, **figures}, indent=2))
        return
    print(
        f"{'There already: ' if done.found else ''}{done.artifact.id}: {figures['tokens']:,} tokens of "
        f"{figures['documents']:,} documents, {figures['bytes_a_token']} bytes each."
    )
    rows = sorted(figures["languages"].items(), key=lambda row: -row[1]["tokens"])
    rows += [("all", figures)] if len(rows) > 1 else []
    print_table(
        ("language", "documents", "tokens", "tokens a word", "characters a token"),
        [
            (
                language, f"{of['documents']:,}", f"{of['tokens']:,}", f"{of['tokens'] / max(1, of['words']):.2f}",
                f"{of['characters'] / max(1, of['tokens']):.2f}",
            )
            for language, of in rows
        ],
    )  # fmt: skip
    print(f"Next: lavra tune --text {name}" + (f" --model {model}" if model else ""))


def register(app: typer.Typer) -> None:
    """Make it a command of ``app``."""
    app.command()(cast(Any, tokenize))
