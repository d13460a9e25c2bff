"""``lavra align``: preferences or rewards in, an adapter out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from lavra.cli.given import DirectoryOption, open_workspace
from lavra.cli.leaving import leave
from lavra.cli.making import callbacks, check_name, check_place, check_trackers, export, require_base, say
from lavra.cli.processes import Spread, processes

if TYPE_CHECKING:
    from lavra.workspace.aligning.data import AlignData
    from lavra.workspace.runs import Tuned

MethodName = Literal["dpo", "ipo", "orpo", "kto", "simpo", "reward", "grpo"]
_SHOWN = 5


def align(
    data: Annotated[
        Path,
        typer.Argument(
            help="Rows of prompt, chosen and rejected (.jsonl, .json, .csv, .parquet); for kto also of prompt, "
            "completion and label; for grpo of prompts."
        ),
    ],
    model: Annotated[str | None, typer.Option(help="What is aligned; by default the workspace's generator.")] = None,
    method: Annotated[MethodName, typer.Option(help="What is learned from the data, and how.")] = "dpo",
    beta: Annotated[float | None, typer.Option(help="How dear it is to move away; by default the method's.")] = None,
    rank: Annotated[int, typer.Option(min=1, help="Of the adapter (LoRA).")] = 16,
    rate: Annotated[float, typer.Option("--rate", "--learning-rate", help="The learning rate.")] = 5e-5,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="How often each row is learned from; by default once.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps, instead of epochs.")] = None,
    batch_tokens: Annotated[int, typer.Option(min=16, help="Tokens a step learns from.")] = 8192,
    micro_tokens: Annotated[int | None, typer.Option(min=16, help="Tokens computed at once: memory.")] = None,
    context: Annotated[int, typer.Option(min=16, help="The longest prompt with its answer, in tokens.")] = 1024,
    limit: Annotated[int | None, typer.Option(help="Use so many rows, drawn by the seed.")] = None,
    validation: Annotated[float, typer.Option(help="The share of rows held out.")] = 0.1,
    reward: Annotated[
        str | None,
        typer.Option(
            help="For grpo: file.py:function that gives each answer a number, or a reward model by id or name."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of order, split and adapter.")] = 0,
    to: Annotated[
        Path | None, typer.Option("--to", "--out", "-o", help="Also write the whole model there: a folder, or .gguf.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What the result is called, beside its id.")] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(help="mlflow (if installed, by default), wandb, comet, tensorboard; none."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before training.")] = False,
    together: Annotated[int, typer.Option("--processes", min=1, help="Processes that train together.")] = 1,
    distributed: Annotated[
        Spread | None, typer.Option(help="A model for each process (ddp, as it is), or one spread over all (fsdp).")
    ] = None,
    workspace: DirectoryOption = None,
) -> None:
    """Teach a model what people prefer, or what a function rewards; the result is an adapter.

    The same command again continues a run that was stopped, or finds what it made.
    """

    here = open_workspace(workspace)
    check_name(name)
    check_place(to)
    check_trackers(track)
    with processes(together, distributed) as ranks:
        require_base(here, model, ranks)
        from lavra.workspace.aligning.run import align as run
        from lavra.workspace.aligning.run import plan_align
        from lavra.workspace.aligning.settings import AlignSettings
        from lavra.workspace.runs import Interrupted

        settings = AlignSettings(
            method=method, beta=beta, rank=rank, learning_rate=rate, epochs=epochs, steps=steps,
            batch_tokens=batch_tokens, micro_tokens=micro_tokens, context=context, limit=limit, validation=validation,
            seed=seed,
        )  # fmt: skip
        job = plan_align(here, data, settings, model=model, reward=reward)
        _show_data(job.data)
        try:
            told = callbacks(job.run, job.recipe, track, yes, ranks)
            done = run(job, name=name, callbacks=told, say=say, ranks=ranks)
        except Interrupted as stopped:
            leave(f"lavra: {stopped}", 130)
        _show_aligned(done)
        export(here, done, to, ranks)
    called = name or done.artifact.id
    use = f"lavra align prompts.jsonl --method grpo --reward {called}"
    if method != "reward":
        use = f'lavra ask "…" --adapter {called}, or lavra serve --adapter {called}'
    print(f"Next: {use}; lavra trace {called}")


def _show_data(data: AlignData) -> None:
    print(f"Read {len(data.learned):,} rows to learn from, {len(data.held):,} held out.")
    if data.problems:
        print(f"Left out: {len(data.problems):,}.")
        for problem in data.problems[:_SHOWN]:
            print(f"  {problem}")
        if len(data.problems) > _SHOWN:
            print(f"  … and {len(data.problems) - _SHOWN:,} more")


def _show_aligned(done: Tuned) -> None:
    metrics = done.metrics
    word = "There already: " if done.found else ""
    print(f"{word}{done.artifact.id} ({metrics['examples']:,} rows, {metrics['steps']:,} steps).")
    for name in _measured_twice(metrics):
        before, after = metrics[f"{name}_before"], metrics[f"{name}_after"]
        print(f"  {name:<16}{before:>10.4f}  →{after:>10.4f}")
    print(f"Report: {done.artifact.path / 'report.md'}")


def _measured_twice(metrics: Mapping[str, Any]) -> list[str]:
    """What was measured twice, accuracy first."""
    ends = [name.removesuffix("_before") for name in metrics if name.endswith("_before")]
    found = [name for name in ends if all(isinstance(metrics.get(f"{name}_{w}"), float) for w in ("before", "after"))]
    return sorted(found, key=lambda name: (name != "accuracy", name))


def register(app: typer.Typer) -> None:
    """Make it a command of ``app``."""
    app.command()(cast(Any, align))
