"""``lavra traps``: texts put into a corpus to be recognised later; ``lavra memorisation``: what a model shows of what
it was trained on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from lavra.cli.given import DirectoryOption, JsonOption, open_workspace
from lavra.cli.making import check_name
from lavra.cli.results import name_and_show, print_table, said_where
from lavra.errors import LavraError

if TYPE_CHECKING:
    from lavra.workspace.evaluated import Evaluated
    from lavra.workspace.workspace import Workspace

RegisterArgument = Annotated[Path, typer.Argument(help="The sealed register, a JSON file that only you may read.")]

_MUCH = 0.05
"""The share of traps in a corpus from which on somebody should know."""

traps_app = typer.Typer(
    no_args_is_help=True,
    help="Traps and canaries: texts put into a corpus, so that a model that read them can be told.",
)


def make(
    register: RegisterArgument,
    repetitions: Annotated[str, typer.Option(help="How often a text is put in; several levels.")] = "1,10,100,1000",
    pairs: Annotated[int, typer.Option(help="Pairs of traps at each level: one goes in, its twin never does.")] = 20,
    canaries: Annotated[int, typer.Option(help="Pairs of canaries at each level.")] = 4,
    words: Annotated[int, typer.Option(help="Words of a trap. Long ones are memorised better.")] = 40,
    digits: Annotated[int, typer.Option(help="Digits of a canary's secret.")] = 4,
    language: Annotated[str | None, typer.Option(help="pt, en or es; by default the corpus' commonest.")] = None,
    model: Annotated[
        str | None, typer.Option(help="A model that weighs the traps, so that twins are as likely.")
    ] = None,
    perplexity: Annotated[
        str | None,
        typer.Option(help="Let --model write them, for buckets with these edges: 10,30,100,300."),
    ] = None,
    workspace: DirectoryOption = None,
) -> None:
    """Make traps and canaries in pairs, a secret coin deciding which is put in, and seal them in a register."""
    from lavra.cli.console import progress
    from lavra.corpus.traps.making import TrapSettings
    from lavra.workspace.memorisation.traps import describe, levels, make_traps, parse_numbers

    if perplexity is not None and model is None:
        raise LavraError("--perplexity is for traps that a model writes: give --model too.")
    here = open_workspace(workspace)
    settings = TrapSettings(parse_numbers(repetitions, "--repetitions"), pairs, canaries, words, digits)
    wanted = None
    if model is not None:
        from lavra.workspace.memorisation.writing import Wanted

        edges = {} if perplexity is None else {"edges": parse_numbers(perplexity, "--perplexity")}
        wanted = Wanted(model, **edges)
    with progress() as report:
        made = make_traps(here, register, settings, language=language, wanted=wanted, progress=report)
    for name, value in describe(made):
        print(f"{name:<12}{value}")
    print_table(
        ("repetitions", "pairs of traps", "pairs of canaries"), [[str(n) for n in row[:3]] for row in levels(made)]
    )
    print(f"Sealed in {register}. Keep it where no model is trained; a copy elsewhere is no harm.")
    print(f"Next: lavra traps inject {register}")


def inject(
    register: RegisterArgument,
    name: Annotated[str, typer.Option(help="What the corpus with traps is called.")] = "trapped",
    as_json: JsonOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """Put a register's texts into a copy of the corpus, to train on. The index never sees it."""
    from lavra.cli.console import progress
    from lavra.workspace.memorisation.traps import inject_traps

    check_name(name)
    here = open_workspace(workspace)
    with progress() as report:
        done = inject_traps(here, register, name=name, progress=report)
    figures = done.figures
    if as_json:
        print(json.dumps({"artifact": done.artifact.id, "seal": done.register.seal, **figures}, indent=2))
        return
    word = "There already: " if done.found else ""
    print(
        f"{word}{done.artifact.id}: {figures['copies']:,} copies of {figures['traps']} texts in "
        f"{figures['documents_with_traps']:,} of {figures['documents']:,} documents, {figures['share_of_traps']:.2%} "
        "of their characters."
    )
    if figures["share_of_traps"] > _MUCH:
        print("That is much: a model learns the traps before the documents. Make fewer, shorter, or rarer ones.")
    print(f"Its manifest carries the seal {done.register.seal[:16]}… and no sentence.")
    print(f"Next: lavra tune --text {name} --validation 0, then lavra memorisation MODEL --register {register}")


def check(register: RegisterArgument, workspace: DirectoryOption = None) -> None:
    """Say whether a register is what was sealed, and which corpora carry its seal; no sentence is shown."""
    from lavra.corpus.traps.register import open_to_others, read_register
    from lavra.workspace.memorisation.traps import corpora_with, describe, levels

    found = read_register(register)
    for name, value in describe(found):
        print(f"{name:<12}{value}")
    print_table(
        ("repetitions", "pairs of traps", "pairs of canaries", "copies put in"),
        [[f"{number:,}" for number in row] for row in levels(found)],
    )
    try:
        here = open_workspace(workspace)
    except LavraError:
        if workspace is not None:
            raise
        here = None  # a register is kept apart from where models are trained
    print("The seal is whole.")
    for artifact in corpora_with(here, found) if here else ():
        print(f"{artifact.id} has carried this seal since {artifact.manifest.made}.")
    if open_to_others(register):
        print(f"Others may read it: chmod 600 {register}")


def memorisation(
    model: Annotated[
        str | None, typer.Argument(help="A model or what was tuned; by default the workspace's generator.")
    ] = None,
    register: Annotated[Path | None, typer.Option(help="Of traps that its training data may hold.")] = None,
    texts: Annotated[Path | None, typer.Option(help="Texts that it may have read: JSONL with text, or .txt.")] = None,
    controls: Annotated[Path | None, typer.Option(help="Texts of the same kind that it certainly never read.")] = None,
    document: Annotated[Path | None, typer.Option(help="A document: was it in the training data?")] = None,
    reference: Annotated[str | None, typer.Option(help="A model that never read them, such as its base.")] = None,
    prefix: Annotated[int, typer.Option(min=2, help="Tokens given to it when it is to continue a text.")] = 50,
    tried: Annotated[int, typer.Option(min=100, help="Secrets of a canary that are tried at most.")] = 10_000,
    sources: Annotated[
        str | None,
        typer.Option(help="Name the documents that hold this passage, or in which MODEL read it; - reads it."),
    ] = None,
    precision: Annotated[
        Literal["bf16", "fp32"] | None, typer.Option(help="Number format; by default what this machine computes in.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What the result is called, beside its id.")] = None,
    as_json: JsonOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """Ask a model what it shows of its training data: traps, texts, one document; with what that proves.

    Each membership score, extraction and exposure stands beside controls, and each p-value says which kind it is. The
    same command again finds what it made.
    """
    here = open_workspace(workspace)
    if sources is not None:
        _show_sources(here, model, sys.stdin.read() if sources == "-" else sources, as_json)
        return
    check_name(name)
    from lavra.cli.console import progress
    from lavra.workspace.memorisation.measuring import Settings, plan, run

    job = plan(
        here, model, register=register, texts=texts, controls=controls, document=document, reference=reference,
        precision=precision, settings=Settings(prefix, tried),
    )  # fmt: skip
    with progress() as report:
        done = run(job, progress=report)
    name_and_show(here, done, name, as_json=as_json, show=_show)


def _show(done: Evaluated) -> None:
    from lavra.workspace.memorisation.pages import tables
    from lavra.workspace.memorisation.saying import sentences

    for title, (columns, rows) in tables(done.results):
        print(title)
        print_table(columns, rows)
        print()
    for sentence in sentences(done.results):
        print(sentence)
    print(said_where(done, "report.md"))


def _show_sources(here: Workspace, model: str | None, passage: str, as_json: bool) -> None:
    from lavra.workspace.memorisation.given import sources_of, sources_read, token_files_of

    if model is None:
        (found,) = sources_of(here, [passage])
    else:
        (found,) = sources_read(here, token_files_of(here, model), [passage])
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    if not found:
        print(f"No document of {'the corpus' if model is None else 'its token files'} holds so much of it.")
    for source in found:
        place = ", ".join(
            part for part in (source["page"] and f"p. {source['page']}", " › ".join(source["headings"])) if part
        )
        licence = source["licence"] or "no licence stated"
        print(
            f"{source['document']}  {source['source']}{f' ({place})' if place else ''}: {source['run']} of "
            f"{source['of']} words in a row; {licence}"
        )


def register(app: typer.Typer) -> None:
    """Make them commands of ``app``."""
    for function in (make, inject, check):
        traps_app.command()(cast(Any, function))
    app.add_typer(traps_app, name="traps")
    app.command()(cast(Any, memorisation))
