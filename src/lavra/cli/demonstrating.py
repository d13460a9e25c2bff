"""``lavra demo``: all of it at once, from a folder to the best of several assistants, served."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from lavra.cli.leaving import leave
from lavra.errors import LavraError

if TYPE_CHECKING:
    from lavra.assistants.events import Answering
    from lavra.workspace.workspace import Workspace


def demo(
    documents: Annotated[Path | None, typer.Argument(help="A folder of your own; by default Lavra's manual.")] = None,
    directory: Annotated[Path, typer.Option(help="Where the demo's workspace is made.")] = Path("lavra-demo"),
    question: Annotated[str | None, typer.Option(help="The question to ask; by default one of its own.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to serve on.")] = None,
    study: Annotated[
        bool, typer.Option("--study/--no-study", help="Find out the best of four ways first, or serve at once.")
    ] = True,
    stay: Annotated[
        bool, typer.Option("--serve/--no-serve", help="Serve until Ctrl-C, or stop after the answer.")
    ] = True,
) -> None:
    """See all of it at once: pull the models, ingest, index, answer a first question, study the ways, serve the best.

    The study takes about four minutes on two idle cores; Ctrl-C goes on without it, and --no-study leaves it out.
    """
    from lavra.cli.console import progress
    from lavra.workspace import demo as demonstration
    from lavra.workspace.running import Running

    if documents is not None and not documents.exists():
        raise LavraError(f"{documents} does not exist: give a folder of documents.")
    with progress() as report:
        here = demonstration.build(documents, directory, progress=report)
    ready = here.ready()
    metrics = here.store.get(ready.manifest.inputs["corpus"]).manifest.metrics
    print(f"Indexed {metrics['documents']} documents in {here.root}.")
    _first_answer(Running(here), question)  # which is gone before the study: it would hold a model beside the study's
    chosen = _best(here) if study else None
    if stay:
        _serve(Running(here, chosen=chosen), port)


def _first_answer(running: Any, question: str | None) -> None:
    """What everybody wants to see first."""
    from lavra.assistants.events import Message
    from lavra.cli.console import show_answer

    first = question or next(iter(running.example_questions()), None)
    if first is None:
        print("No example question fits these documents: ask one of your own on the page.")
        return
    print(f"\n> {first}\n")
    assistant = next(iter(running.assistants.values()))
    show_answer(assistant.answer([Message("user", first)], roles=frozenset({"public"})))
    print(flush=True)


def _best(here: Workspace) -> Answering | None:
    """What a quick study recommends; None where it was stopped, or says nothing."""
    from lavra.cli.console import err, progress
    from lavra.cli.making import say
    from lavra.cli.run import Stopped
    from lavra.cli.studying import show_study
    from lavra.workspace.demo import ASKED, compare
    from lavra.workspace.runs import Interrupted

    err.print(
        f"[dim]Is that the best way? A quick study asks four ways up to {ASKED} questions: about four minutes on "
        "two idle cores. Ctrl-C goes on without it; the same command continues it.[/dim]"
    )
    try:
        with progress() as report:
            done = compare(here, progress=report, say=say)
    except (Stopped, Interrupted) as stopped:
        if isinstance(stopped, Stopped) and stopped.number != signal.SIGINT:
            raise
        err.print("\n[dim]The study was stopped; what it found so far is kept.[/dim]")
        return None
    except LavraError as error:
        err.print(f"There is no study: {error}", markup=False)
        return None
    show_study(done)
    return done.assistant()


def _serve(running: Any, port: int | None) -> None:
    from lavra.cli.console import err
    from lavra.serving.serve import run

    def on_ready(address: str) -> None:
        print(f"Serving at {address}", flush=True)
        err.print(f"[dim]More at {address} — Ctrl-C stops; `lavra -h` shows every step by itself.[/dim]")

    run(running, None, port, settings=running.workspace.settings.serve, on_ready=on_ready)
    leave("Stopped. `lavra demo` starts it again; what was built is kept.", 0)


def register(app: typer.Typer) -> None:
    """Make it a command of ``app``."""
    app.command()(cast(Any, demo))
