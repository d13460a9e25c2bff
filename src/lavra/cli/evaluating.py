"""``lavra evaluate``: standard tasks asked of a model; two of them compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from lavra.cli.given import DirectoryOption, JsonOption, open_workspace
from lavra.cli.making import check_name
from lavra.cli.results import name_and_show, print_table, said_where
from lavra.errors import LavraError

if TYPE_CHECKING:
    from lavra.workspace.evaluated import Evaluated
    from lavra.workspace.evaluating.compare import Comparison


def evaluate(
    model: Annotated[
        str | None, typer.Argument(help="A model or what was tuned; by default the workspace's generator.")
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="Names of tasks, groups or averages, patterns, or paths, with commas: arc,piqa,gauntlet."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The directory that the tasks' data lies in.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many items of a task, drawn by the seed.")
    ] = None,
    shots: Annotated[int | None, typer.Option(min=0, help="Examples before a question; by default the task's.")] = None,
    include: Annotated[
        list[Path] | None, typer.Option(help="Task files of your own: YAML of lm-eval, or a directory of them.")
    ] = None,
    run_code: Annotated[
        bool,
        typer.Option("--run-code", help="Run what the model writes, in a sandbox: HumanEval and its like want it."),
    ] = False,
    chat: Annotated[bool, typer.Option("--chat", help="Lay prompts out by the model's chat template.")] = False,
    precision: Annotated[
        Literal["bf16", "fp32"] | None, typer.Option(help="Number format; by default what this machine computes in.")
    ] = None,
    self_debias: Annotated[
        bool, typer.Option("--self-debias", help="Likelihoods of the model told what not to write; see lavra bias.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of items and examples.")] = 1234,
    name: Annotated[str | None, typer.Option(help="What the results are called, beside their id.")] = None,
    compare: Annotated[
        tuple[str, str] | None, typer.Option(help="Two evaluations, by id or name, instead of making one.")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="List the tasks that there are.")] = False,
    as_json: JsonOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """Ask a model standard tasks (ARC, MMLU, GSM8K, ENEM …), and say what it gets beside what guessing gets.

    The engine is EleutherAI's lm-evaluation-harness, offline, on data in a directory. The same command again finds
    what it made.
    """
    from lavra.evaluation.harness.extra import offline

    offline()
    if show:
        _list(data, include or ())
        return
    check_name(name)
    if compare is not None:
        from lavra.workspace.evaluating.compare import compare_evaluations

        _show_compared(compare_evaluations(open_workspace(workspace), *compare), as_json)
        return
    if not tasks:
        raise LavraError("say which tasks, such as --tasks arc,piqa: `lavra evaluate --list` shows them all.")
    here = open_workspace(workspace)
    from lavra.cli.console import progress
    from lavra.evaluation.harness.running import Settings
    from lavra.workspace.evaluating.run import plan, run

    settings = Settings(limit, shots, chat, seed, run_code)
    names = [part.strip() for part in tasks.split(",") if part.strip()]
    how = None
    if self_debias:
        from lavra.inference.self_debias import Debiasing

        how = Debiasing()
    job = plan(
        here, model, names, data, include=include or (), settings=settings, precision=precision, debiasing=how
    )  # fmt: skip
    with progress() as report:
        done = run(job, progress=report)
    name_and_show(here, done, name, as_json=as_json, show=lambda done: _show(done, name))


def _show(done: Evaluated, name: str | None) -> None:
    from lavra.evaluation.harness.pages import COLUMNS, average_rows, facts, guessed, leans, rows

    lines = rows(done.results)
    scores = done.results["lavra"]
    if len(lines) > 30 and scores["groups"]:  # 57 subjects are for the report
        grouped = {task for members in done.results["group_subtasks"].values() for task in members}
        lines = [line for line in lines if line[0] not in grouped]
    print_table(COLUMNS, lines)
    for average in scores["averages"].values():
        print(f"\n{average['title']}")
        print_table(("category", "mean", "95%", "coverage", "missing"), average_rows(average))
    if any(guessed(score) for score in [*scores["scores"].values(), *scores["groups"].values()]):
        print("≈ may be no more than guessing: the interval reaches down to it.")
    if any(leans(score) for score in [*scores["scores"].values(), *scores["groups"].values()]):
        print("≠ leans: the interval leaves out the value that means no bias.")
    for what, said in facts(done.results):
        if what in ("items", "cut", "code", "no data"):
            print(f"{what}: {said}")
    print(said_where(done, "report.html"))
    print(f"Next: lavra evaluate --compare {name or done.artifact.id} OTHER")


def _show_compared(found: Comparison, as_json: bool) -> None:
    from lavra.evaluation.harness.pages import compared_rows

    if as_json:
        print(json.dumps([one.to_json() for one in found.tasks], indent=2, ensure_ascii=False))
        return
    print(f"a: {found.names[0]}\nb: {found.names[1]}\n")
    print_table(("task", "metric", "a", "b", "a - b", "95% interval", "p", "items"), compared_rows(found.tasks))
    for note in found.notes:
        print(note)
    better = {side: [one.task for one in found.tasks if one.better == side] for side in ("a", "b")}
    for side, tasks in better.items():
        if tasks:
            print(f"{side} is better on {', '.join(tasks)}.")
    if not any(better.values()):
        print("No difference that chance could not have made.")
    if found.artifact is not None:
        print(f"{found.artifact.id}: {found.artifact.path / 'report.html'}")


def _list(data: Path | None, include: Sequence[Path]) -> None:
    from lavra.evaluation.harness.averaging import averages
    from lavra.evaluation.harness.task_files import task_files

    lines: list[list[str]] = []
    groups: dict[str, list[Any]] = {}
    for file in task_files(data, include).values():
        groups.setdefault(file.group or file.name, []).append(file)
    for group, files in groups.items():
        there = "" if data is None else str(sum(not file.missing(data) for file in files))
        members = ", ".join(file.name for file in files[:4]) + (" …" if len(files) > 4 else "")
        first = files[0]
        lines.append([group, first.category, first.language, there, members if members != group else ""])
    print_table(("task or group", "category", "language", "" if data is None else "here", "tasks"), lines)
    print("\nAverages: " + ", ".join(f"{name} ({of.title})" for name, of in averages().items()))
    print("Also: the path of a BIG-bench task (.json), or of a text whose perplexity is wanted (.txt, .jsonl).")
    if data is None:
        print("With --data DIR: which of them have their data there.")


def register(app: typer.Typer) -> None:
    """Make it a command of ``app``."""
    app.command()(cast(Any, evaluate))
