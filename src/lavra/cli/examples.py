"""``lavra examples``: sets of instructions, preferences and labelled texts, taken in, checked and corrected."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lavra.cli.given import DirectoryOption, JsonOption, open_workspace, require_models
from lavra.cli.making import check_name

if TYPE_CHECKING:
    from lavra.corpus.labels.account import Account

examples_app = typer.Typer(
    no_args_is_help=True,
    help="Sets to tune on: instructions, preferences, texts with labels, pairs; taken in and checked.",
)
_SHOWN = 4
_NEXT = {
    "instructions": "lavra tune {name}",
    "preferences": "lavra align {name}",
    "classes": "lavra tune --task classify {name}",
    "pairs": "lavra tune --task embed {name}",
}
NameOption = Annotated[str, typer.Option(help="What the result is called.")]


@examples_app.command()
def ingest(
    files: Annotated[list[Path], typer.Argument(help="Files (.jsonl, .json, .csv, .tsv, also compressed; .parquet).")],
    name: NameOption = "examples",
    kind: Annotated[
        Literal["instructions", "preferences", "classes", "pairs"] | None,
        typer.Option(help="What the rows are; by default they say so themselves."),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option("--against", help="A test: a file, or a set by name. Rows that it holds are left out. Repeat."),
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Of rows that state none (SPDX).")] = None,
    unlicensed: Annotated[
        Literal["keep", "drop"] | None, typer.Option(help="Rows that state no licence; by default as for a corpus.")
    ] = None,
    personal: Annotated[
        Literal["leave", "report", "replace", "drop"], typer.Option(help="What becomes of personal data.")
    ] = "leave",
    similarity: Annotated[
        float | None, typer.Option(min=0, max=1, help="From which rows are nearly the same; 0 leaves them.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="The column of texts to classify.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of their labels.")] = None,
    many: Annotated[bool, typer.Option("--many", help="A text may have several labels, or none.")] = False,
    as_json: JsonOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """Take files of examples in as one set: checked row by row, each once, apart from tests; nothing lost silently."""
    from lavra.workspace.examples.ingesting import ingest_examples, taking_settings

    check_name(name)
    here = open_workspace(workspace)
    settings = taking_settings(
        here, kind=kind, licence=licence, unlicensed=unlicensed, personal=personal, similarity=similarity, text=text,
        label=label, many=many,
    )  # fmt: skip
    done = ingest_examples(here, files, settings, against=against or (), name=name)
    if as_json:
        print((done.artifact.path / "report.json").read_text(encoding="utf-8"), end="")
        return
    show_account(done.account)
    print(f"In {done.artifact.id}" + (": made before." if done.found else "."))
    print(f"Report: {done.artifact.path / 'report.md'}; every row that is left out: left_out.jsonl")
    first = "" if done.account.kind == "pairs" else f"lavra examples check {name}, then "
    print(f"Next: {first}{_NEXT[done.account.kind].format(name=name)}")


@examples_app.command()
def check(
    name: Annotated[str, typer.Argument(help="A set: its name or id.")] = "examples",
    to: Annotated[
        Path | None, typer.Option(help="Where the suggestions go (CSV); by default NAME-suggestions.csv.")
    ] = None,
    method: Annotated[
        Literal["both", "class", "rate"], typer.Option(help="Prune by class, by noise rate, or by both (surer).")
    ] = "both",
    folds: Annotated[int, typer.Option(min=2, help="Parts, each judged by a model of the others.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the parts.")] = 0,
    embed: Annotated[
        bool, typer.Option("--embed", help="Judge labels by meaning too, with the workspace's embedder: surer, slower.")
    ] = False,
    as_json: JsonOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """Say what is doubtful in a set: labels that are likely wrong, answers with odd signs. Nothing is changed."""
    import json
    from dataclasses import asdict

    from lavra.cli.console import progress
    from lavra.workspace.examples.checking import check_examples

    here, place = open_workspace(workspace), to or Path(f"{name}-suggestions.csv")
    if embed:
        require_models(here, embedder_only=True)
    with progress() as report:
        found = check_examples(
            here, name, to=place, method=method, folds=folds, seed=seed, embed=embed, progress=report
        )
    if as_json:
        print(json.dumps(asdict(found), ensure_ascii=False, indent=2))
        return
    print(f"Suggestions: {len(found.suggestions):,}, on {found.rows:,} rows.")
    if found.accuracy is not None:
        print(
            f"  Models that have not seen a row agree with {found.accuracy:.1%} of the labels: the fewer, the less "
            "their doubts mean."
        )
    for signal, count in found.counts.items():
        one = next(suggestion for suggestion in found.suggestions if suggestion.signal == signal)
        change = f"{one.given} → {one.suggested}" if one.suggested else one.why
        print(f"  {signal}: {count:,}; row {one.row}: {change}: {one.text[:80]}")
    for note in found.notes:
        print(f"  {note}")
    order = "by signal" if found.accuracy is None else "the surest first"
    print(f"In {place}, {order}. Write take, drop or keep in its column do; what is empty stays as it is.")
    print(f"Next: lavra examples correct {name} {place}")


@examples_app.command()
def correct(
    set_: Annotated[str, typer.Argument(metavar="SET", help="The set that was checked: its name or id.")],
    decisions: Annotated[Path, typer.Argument(help="The file of `check`, with decisions in its column do.")],
    name: Annotated[
        str | None, typer.Option(help="What the corrected set is called; by default as the one before.")
    ] = None,
    workspace: DirectoryOption = None,
) -> None:
    """Make a set of another and of what a person decided; the one before stays in the store."""
    from lavra.workspace.examples.correcting import correct_examples

    check_name(name)
    done = correct_examples(open_workspace(workspace), set_, decisions, to=name)
    print(
        f"{done.changed:,} labels changed, {done.dropped:,} rows dropped: {done.examples:,} rows, in {done.artifact.id}"
        + (": made before." if done.found else ".")
    )
    called = name or set_
    print(f"Next: {_NEXT[done.artifact.manifest.metrics['kind']].format(name=called)}")


def show_account(account: Account) -> None:
    """What was taken in, and what was not."""
    from lavra.corpus.labels.account import STAGES

    print(f"{account.kept:,} of {account.rows:,} rows stay, of {account.kind}.")
    for stage, reasons in account.left.items():
        print(f"  {STAGES[stage]}: {sum(reasons.values()):,}")
        for reason, count in list(reasons.items())[:_SHOWN]:
            print(f"    {count:,} {reason}")
    if account.personal:
        found = ", ".join(f"{count:,} {kind}" for kind, count in account.personal.items())
        done = {"replace": "replaced", "drop": "their rows left out", "report": "reported"}[account.personal_done]
        print(f"  Personal data: {found}: {done}")
    if account.labels:
        counts = list(account.labels.items())
        more = f", … {len(counts) - 8} more" if len(counts) > 8 else ""
        print("  Labels: " + ", ".join(f"{label} {count:,}" for label, count in counts[:8]) + more)
