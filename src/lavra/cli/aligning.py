"""``lavra align``: preferences or rewards in, an adapter out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

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
    out: Annotated[Path, typer.Option("--out", "-o", help="The run's directory; the same one continues it.")],
    model: Annotated[str, typer.Option(help="The model to align.")] = "smollm2-135m",
    method: Annotated[MethodName, typer.Option(help="What is learned from the data, and how.")] = "dpo",
    beta: Annotated[float | None, typer.Option(help="How dear it is to move away; by default the method's.")] = None,
    rank: Annotated[int, typer.Option(help="Of the adapter (LoRA).")] = 16,
    rate: Annotated[float, typer.Option(help="The learning rate.")] = 5e-5,
    epochs: Annotated[int | None, typer.Option(help="How often each row is learned from; by default once.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps, instead of epochs.")] = None,
    batch_tokens: Annotated[int, typer.Option(help="Tokens a step learns from.")] = 8192,
    context: Annotated[int, typer.Option(help="The longest prompt with its answer, in tokens.")] = 1024,
    limit: Annotated[int | None, typer.Option(help="Use so many rows, drawn by the seed.")] = None,
    validation: Annotated[float, typer.Option(help="The share of rows held out.")] = 0.1,
    reward: Annotated[
        str | None, typer.Option(help="For grpo: file.py:function that gives each answer a number, or a reward model.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of order, split and adapter.")] = 0,
) -> None:
    """Teach a model what people prefer, or what a function rewards; the result is an adapter."""
    from lavra.training.progress import TerminalProgress
    from lavra.workspace.aligning import AlignSettings
    from lavra.workspace.aligning import align as run

    settings = AlignSettings(
        method=method, beta=beta, rank=rank, learning_rate=rate, epochs=epochs, steps=steps,
        batch_tokens=batch_tokens, context=context, limit=limit, validation=validation, seed=seed,
    )  # fmt: skip
    done = run(data, out, model=model, settings=settings, reward=reward, callbacks=[TerminalProgress()])
    for problem in done.problems[:_SHOWN]:
        print(f"left out: {problem}", file=sys.stderr)
    if len(done.problems) > _SHOWN:
        print(f"left out: {len(done.problems) - _SHOWN} more", file=sys.stderr)
    print(f"{done.result.message}. Learned from {done.trained} rows, {done.held} held out.")
    for name in sorted(done.before):
        print(f"  {name:<16}{done.before[name]:>10.4f}  →{done.after[name]:>10.4f}")
    kind = "model" if method == "reward" else "adapter"
    print(f"The {kind} is in {out / kind}.")


def register(app: typer.Typer) -> None:
    """Make it a command of ``app``."""
    app.command()(cast(Any, align))
