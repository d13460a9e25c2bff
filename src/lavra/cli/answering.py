"""Questions and answers: ``lavra questions``, ``ask`` and ``serve``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from lavra.cli.given import (
    AdapterOption,
    DirectoryOption,
    JsonOption,
    RoleOption,
    choosing,
    open_workspace,
    require_models,
    writing_with,
)
from lavra.cli.leaving import leave
from lavra.errors import LavraError

if TYPE_CHECKING:
    from lavra.workspace.workspace import Workspace


def questions(
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("questions.jsonl"),
    count: Annotated[int, typer.Option(min=1, help="At most so many.")] = 200,
    by: Annotated[str, typer.Option(help="rules, model or both.")] = "rules",
    model: Annotated[str | None, typer.Option(help="A model on this machine that writes them.")] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="The address of an OpenAI-compatible server that writes them; it gets passages.")
    ] = None,
    endpoint_model: Annotated[str | None, typer.Option(help="The model to ask for there.")] = None,
    key_env: Annotated[str | None, typer.Option(help="The environment variable that holds the server's key.")] = None,
    language: Annotated[str, typer.Option(help="pt, en, es, or auto: each document's own.")] = "auto",
    unanswerable: Annotated[float, typer.Option(help="Share of questions that nothing answers.")] = 0.1,
    held_out: Annotated[
        Path | None, typer.Option(help="Documents outside the corpus, to ask what it does not answer.")
    ] = None,
    split: Annotated[str, typer.Option(help="TRAIN:TEST, by document; none for no split.")] = "80:20",
    raft: Annotated[Path | None, typer.Option(help="Write training conversations with sources here as well.")] = None,
    raft_without: Annotated[float, typer.Option(help="Share of these whose source is left out.")] = 0.2,
    edited: Annotated[
        Path | None, typer.Option("--from", help="Make nothing: check this edited file (and write --raft from it).")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file that is there.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed makes the same questions.")] = 0,
    role: RoleOption = None,
    as_json: JsonOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """Make questions with answers and sources from the documents: to test, to tune the search, to train on."""
    from lavra.cli.console import progress
    from lavra.store.files import write_atomically
    from lavra.workspace.questioning import QuestionSettings, asker, parse_split, read_edited, write_raft
    from lavra.workspace.questioning import questions as make_questions

    here = open_workspace(workspace)
    roles = role or ["public"]
    if edited:
        items = read_edited(here, edited, roles=roles)
        print(f"{len(items)} questions in {edited}, each as it has to be.")
    else:
        settings = QuestionSettings(count, by, language, unanswerable, parse_split(split), seed=seed)  # type: ignore[arg-type]
        writer = asker(here, by, model=model, endpoint=endpoint, endpoint_model=endpoint_model, key_env=key_env)
        with progress() as report:
            made = make_questions(here, settings, writer=writer, held_out_from=held_out, roles=roles, progress=report)
        data = (made.artifact.path / "questions.jsonl").read_bytes()
        if out.exists() and out.read_bytes() != data and not overwrite:
            raise LavraError(f"{out} is there and differs, edited perhaps: give another --out, or --overwrite.")
        write_atomically(out, data)
        items = list(made.items)
        if as_json:
            print(
                json.dumps({"artifact": made.artifact.id, "out": str(out), **made.report}, ensure_ascii=False, indent=2)
            )
        else:
            _show_questions(made.report, out, made.artifact.id)
    if raft:
        with progress() as report:
            counts = write_raft(here, items, raft, without=raft_without, seed=seed, roles=roles, progress=report)
        said = f"{counts['answered']} answered, {counts['refused']} refused"
        print(f"{counts['conversations']} conversations in {raft}: {said}.", file=sys.stderr if as_json else sys.stdout)
    if not as_json:
        print("Next: read and edit the file, then lavra questions --from FILE, or lavra index --questions FILE")


def _show_questions(report: Any, out: Path, id: str) -> None:
    def listed(counts: dict[str, int]) -> str:
        return ", ".join(f"{count} {name}" for name, count in counts.items())

    print(f"{report['questions']} questions of {report['documents']} documents in {out} ({id}).")
    print(f"  {listed(report['kinds'])}")
    print(f"  {listed(report['languages'])}; {report['unanswerable']} that nothing answers; {listed(report['splits'])}")
    if report["refused"]:
        print(f"Refused: {listed(report['refused'])}.")
    if report["model"]:
        print(f"The model: {listed(report['model'])}.")
    if not report["retrieval_checked"]:
        print("Whether the search finds their sources was not checked: there is no index that is up to date.")


def ask(
    question: Annotated[str, typer.Argument(help="The question; - reads it from standard input.")],
    role: RoleOption = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Sample among so many tokens; 0: all.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Sample among the tokens of this much probability.")] = None,
    min_p: Annotated[float | None, typer.Option(help="Leave out tokens below this share of the likeliest.")] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="1 is off.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End the answer at this text; repeat for several.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.")] = None,
    adapter: AdapterOption = None,
    prompt: Annotated[
        str | None, typer.Option(help="Another prompt, a name or a file; one like `direct` asks without documents.")
    ] = None,
    self_debias: Annotated[
        bool, typer.Option("--self-debias", help="Write less of what stereotypes: slower, see `lavra bias`.")
    ] = False,
    as_json: JsonOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """Ask the documents. The answer streams; its numbered sources follow, with place and quote."""
    from dataclasses import asdict, replace

    from lavra.assistants.events import Answer, Message
    from lavra.cli.console import show_answer
    from lavra.inference.sampler import validate

    here = writing_with(open_workspace(workspace), adapter)
    if prompt is None:
        here.ready()
    require_models(here)
    assistant: Any = here.assistant() if prompt is None else _prompted(here, prompt)
    text = sys.stdin.read() if question == "-" else question
    if self_debias:
        from lavra.workspace.biasing import debiased_engine

        if prompt is not None:
            raise LavraError("--self-debias writes with the workspace's own prompt: leave --prompt out.")
        assistant.engine = debiased_engine(here, assistant.engine, text)
    given: dict[str, Any] = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "max_tokens": max_tokens,
        "stop": tuple(stop) if stop else None,
        "seed": seed,
    }
    sampling = replace(assistant.sampling, **{key: value for key, value in given.items() if value is not None})
    validate(sampling)
    roles = frozenset({"public", *(role or ())})
    events = assistant.answer([Message("user", text)], roles=roles, sampling=sampling)
    if not as_json:
        show_answer(events)
        return
    answer = next(event for event in events if isinstance(event, Answer))
    citations = [{**asdict(citation), "place": citation.place} for citation in answer.citations]
    print(json.dumps({**asdict(answer), "citations": citations}, ensure_ascii=False, indent=2))


def _prompted(here: Workspace, prompt: str) -> Any:
    from lavra.workspace.prompts.asking import assistant_with

    return assistant_with(here, prompt)


def serve(
    host: Annotated[str | None, typer.Option(help="The address to listen on; 127.0.0.1 by default.")] = None,
    port: Annotated[
        int | None, typer.Option(help="The port; the next free one if it is taken. 8000 by default.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Serve the network without keys: everybody may ask.")
    ] = False,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter",
            help="What `lavra tune` made. NAME=IT, several times: others to choose from, as the API's model; IT may "
            "also be a directory of peft.",
        ),
    ] = None,
    workspace: DirectoryOption = None,
) -> None:
    """Serve the assistant: a page for people at /, an OpenAI-compatible API under /v1."""
    here = choosing(open_workspace(workspace), adapter or [])
    here.ready()
    require_models(here)
    _serve(here, host, port, insecure=insecure)


def _serve(here: Workspace, host: str | None, port: int | None, *, insecure: bool = False) -> None:
    from lavra.serving.serve import run
    from lavra.workspace.running import Running

    def ready(address: str) -> None:
        print(f"Serving {here.name} at {address} (stop with Ctrl-C).", flush=True)

    run(Running(here), host, port, settings=here.settings.serve, on_ready=ready, insecure=insecure)
    leave("Stopped. `lavra serve` starts it again.", 0)


def register(app: typer.Typer) -> None:
    """Make them commands of ``app``."""
    for function in (questions, ask, serve):
        app.command()(cast(Any, function))
