"""A corpus to train on: ``lavra corpus clean``, ``diff`` and ``explain``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lavra.cli.given import DirectoryOption, JsonOption, open_workspace
from lavra.cli.making import check_name
from lavra.errors import LavraError

if TYPE_CHECKING:
    from lavra.corpus.cleaning.settings import Cleaning
    from lavra.workspace.workspace import Workspace

corpus_app = typer.Typer(
    no_args_is_help=True, help="A corpus to train on: cleaned, judged, deduplicated; what changed; why a file is out."
)
_SHOWN = 20

WithoutOption = Annotated[list[str] | None, typer.Option("--without", help="A stage to leave out; repeat for several.")]
WithOption = Annotated[
    list[str] | None, typer.Option("--with", help="A stage that is off by default, such as paragraphs; repeat.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--evaluation-set", help="NAME=FILE: documents that hold one of its items are dropped; repeat."),
]
UnlicensedOption = Annotated[
    str | None, typer.Option("--unlicensed", help="Documents that state no licence: keep or drop.")
]
PersonalOption = Annotated[
    str | None, typer.Option("--personal", help="What becomes of personal data: replace, drop (the document), report.")
]


@corpus_app.command()
def clean(
    corpus: Annotated[str | None, typer.Argument(help="A corpus of the store; by default the workspace's.")] = None,
    name: Annotated[str, typer.Option(help="What the result is called.")] = "clean",
    against: Annotated[
        list[str] | None, typer.Option("--against", help="A corpus whose near-duplicates are dropped here; repeat.")
    ] = None,
    without: WithoutOption = None,
    with_: WithOption = None,
    evaluation_set: SetOption = None,
    unlicensed: UnlicensedOption = None,
    personal: PersonalOption = None,
    as_json: JsonOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """Make a corpus to train on; each stage says what it dropped and why. Settings: [corpus] in lavra.toml."""
    from lavra.cli.console import progress
    from lavra.workspace import cleaning

    here = open_workspace(workspace)
    check_name(name)
    settings = _settings(here, without, with_, evaluation_set, unlicensed, personal)
    with progress() as report:
        done = cleaning.clean(here, settings, corpus=corpus, against=against or (), name=name, progress=report)
    if as_json:
        print((done.artifact.path / "report.json").read_text(encoding="utf-8"), end="")
        return
    said = done.report
    print(
        f"{said.documents_kept:,} of {said.documents_in:,} documents stay ({said.bytes_kept / 1e6:,.1f} of "
        f"{said.bytes_in / 1e6:,.1f} MB), in {done.artifact.id}" + (": made before." if done.found else ".")
    )
    for stage in said.stages:
        if stage.documents_dropped:
            common = ", ".join(f"{reason} {count:,}" for reason, count in list(stage.reasons.items())[:4])
            print(f"  {stage.name:14} dropped {stage.documents_dropped:,} ({common})")
    if said.paragraphs:
        print(f"  paragraphs     {said.said_of_paragraphs()}")
    if said.personal:
        found = ", ".join(f"{count:,} {kind}" for kind, count in said.personal.items())
        done_to = {"replace": "replaced", "drop": "their documents dropped", "report": "reported"}[settings.personal]
        print(f"  personal data  {found}: {done_to}")
    print(f"Report: {done.artifact.path / 'report.md'}; every dropped document with its reason: dropped.parquet")
    print(f"Next: lavra tune --text {name}")


@corpus_app.command()
def classifier(
    good: Annotated[Path, typer.Argument(help="Texts as they should be: a file or folder that could be ingested.")],
    bad: Annotated[Path, typer.Argument(help="Texts that should be dropped.")],
    name: Annotated[str, typer.Option(help="What it is called.")] = "quality",
    workspace: DirectoryOption = None,
) -> None:
    """Train a quality classifier of your own from good and bad texts, for the quality stage of `clean`."""
    from lavra.workspace.cleaning import train_classifier

    check_name(name)
    made = train_classifier(open_workspace(workspace), good, bad, name=name)
    said = made.manifest.metrics
    print(
        f"{made.id}: {said['good']} good and {said['bad']} bad texts, told apart with AUC {said['auc']:.3f} (held out)."
    )
    if said["auc"] < 0.8:
        print("That is little: it would drop much that is good. Give more examples, or ones that differ more.")
    print(f'Next: classifier = "{name}" under [corpus] in lavra.toml, then lavra corpus clean')


@corpus_app.command()
def diff(
    before: Annotated[str, typer.Argument(help="A corpus: its id or name.")],
    after: Annotated[str, typer.Argument(help="Another one.")],
    as_json: JsonOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """Say what changed between two corpora: documents, languages, licences."""
    from lavra.workspace.cleaning import difference

    found = difference(open_workspace(workspace), before, after)
    if as_json:
        print(json.dumps(asdict(found), ensure_ascii=False, indent=2))
        return
    print(
        f"{len(found.added):,} added, {len(found.removed):,} removed, {len(found.changed):,} changed, "
        f"{found.same:,} the same; {found.characters[0]:,} → {found.characters[1]:,} characters."
    )
    for title, counts in (("languages", found.languages), ("licences", found.licences)):
        for value, (left, right) in list(counts.items())[:_SHOWN]:
            print(f"  {title[:-1]} {value}: {left:,} → {right:,}")
    for title, sources in (("+", found.added), ("-", found.removed), ("~", found.changed)):
        for source in sources[:_SHOWN]:
            print(f"  {title} {source}")
        if len(sources) > _SHOWN:
            print(f"  {title} … {len(sources) - _SHOWN:,} more (--json has all)")


@corpus_app.command()
def explain(
    sources: Annotated[
        list[Path],
        typer.Argument(help="Files or folders that `lavra ingest` could read, FILE#RECORD, or names of documents."),
    ],
    without: WithoutOption = None,
    with_: WithOption = None,
    evaluation_set: SetOption = None,
    unlicensed: UnlicensedOption = None,
    personal: PersonalOption = None,
    workspace: DirectoryOption = None,
) -> None:
    """Say what every stage of a cleaning makes of a document."""
    here = open_workspace(workspace)
    settings = _settings(here, without, with_, evaluation_set, unlicensed, personal)
    for source in sources:
        show_explained(here, source, settings)


def show_explained(here: Workspace, source: Path, settings: Cleaning | None = None, **flags: object) -> None:
    """Print what every stage makes of each document that ``source`` names."""
    from lavra.workspace.cleaning import cleaning_settings
    from lavra.workspace.explaining import explain

    found = explain(here, source, settings or cleaning_settings(here), **flags)
    for document, said in found.documents:
        print(f"{document.source} ({document.format}, {len(document.text):,} characters)")
        for stage, sentence in said:
            print(f"  {stage:14} {sentence}")
    for skipped in found.not_read:
        print(f"{skipped.source}\n  {'not read':14} {skipped.reason}")


def _settings(
    here: Workspace,
    without: list[str] | None,
    with_: list[str] | None,
    sets: list[str] | None,
    unlicensed: str | None,
    personal: str | None,
) -> Cleaning:
    """``[corpus]`` of lavra.toml with the flags on top."""
    from lavra.corpus.cleaning.settings import STAGES
    from lavra.workspace.cleaning import cleaning_settings

    flags: dict[str, object] = {}
    for name, value, known in (
        ("unlicensed", unlicensed, ("keep", "drop")),
        ("personal", personal, ("replace", "drop", "report")),
    ):
        if value is not None:
            if value not in known:
                raise LavraError(f"--{name} is one of {', '.join(known)}, not {value!r}.")
            flags[name] = value
    if without or with_:
        if unknown := [stage for stage in (*(without or ()), *(with_ or ())) if stage not in STAGES]:
            raise LavraError(f"there is no stage {unknown[0]!r}: choose from {', '.join(STAGES)}.")
        on = {*here.settings.corpus.stages, *(with_ or ())} - {*(without or ())}
        flags["stages"] = tuple(stage for stage in STAGES if stage in on)
    if sets:
        named = dict(here.settings.corpus.evaluation_sets)
        for given in sets:
            name, equals, path = given.partition("=")
            if not (name and equals and path):
                raise LavraError(f"--evaluation-set takes NAME=FILE, not {given!r}.")
            named[name] = str(Path(path).resolve())
        flags["evaluation_sets"] = named
    return cleaning_settings(here, **flags)
