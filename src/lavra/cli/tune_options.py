"""What ``lavra tune`` can be told, in the order of its help. What is None is said by ``[tune]`` of ``lavra.toml``, or
decided by the model and the data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lavra.cli.processes import Spread

TaskName = Literal["write", "classify", "embed", "rerank"]
MethodName = Literal["full", "lora", "rslora", "dora", "ia3", "qlora", "longlora", "prompt", "prefix"]


def _in(panel: str) -> Any:
    """``typer.Option`` in a panel of the help."""

    def option(*names: str, **given: Any) -> Any:
        return typer.Option(*names, rich_help_panel=panel, **given)

    return option


_data = _in("What is learned")
_how = _in("How it is learned")
_keep = _in("Against forgetting")
_teacher = _in("From a teacher")
_measure = _in("What is measured")
_classes = _in("Of --task classify")
_tries = _in("Trying before training, and several runs")
_out = _in("What comes out")


@dataclass(frozen=True)
class TuneOptions:
    """One field an option; the help says what it is."""

    data: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Files of examples (.jsonl, .json, .csv, .parquet): messages, ShareGPT, Alpaca, pairs or text."
        ),
    ] = None
    task: Annotated[
        TaskName, _data(help="To write; or to classify texts with labels, to embed or rerank pairs of texts.")
    ] = "write"
    text: Annotated[
        list[str] | None,
        _data("--text", help="Documents to read on: a file, a folder, the word corpus, or a corpus by name. Repeat."),
    ] = None
    role: Annotated[
        list[str] | None,
        _data("--role", "-r", help="Also documents that this role may read: the model will tell them everyone."),
    ] = None
    mixture: Annotated[
        bool, _data("--mixture/--no-mixture", help="Draw documents by the weights of a cleaned corpus (its balance).")
    ] = True
    learn: Annotated[
        Literal["answers", "all", "last"], _data(help="What is learned: answers, everything, or the last answer.")
    ] = "answers"
    context: Annotated[int | None, _data(min=16, help="The longest example, in tokens.")] = None
    cut: Annotated[bool, _data("--cut", help="Cut examples that are too long instead of leaving them out.")] = False

    model: Annotated[str | None, _how(help="What is tuned; by default the workspace's generator.")] = None
    method: Annotated[MethodName, _how(help="Which weights are trained, and how.")] = "lora"
    rank: Annotated[int, _how(min=1, help="Of low-rank adapters.")] = 16
    alpha: Annotated[float | None, _how(help="Their scale; by default twice the rank.")] = None
    targets: Annotated[str | None, _how(help="Maps that are adapted, by name (q_proj,v_proj); all.")] = None
    storage: Annotated[Literal["nf4", "int8"], _how(help="What qlora keeps the base in.")] = "nf4"
    virtual_tokens: Annotated[int, _how(min=1, help="Of prompt and prefix: what is put before a text.")] = 20
    group: Annotated[int | None, _how(min=2, help="Of longlora: places that see each other.")] = None
    epochs: Annotated[int | None, _how(min=1, help="Times that every example is seen; 3.")] = None
    steps: Annotated[int | None, _how(min=1, help="Steps instead of epochs.")] = None
    learning_rate: Annotated[float | None, _how(help="By default one for the method.")] = None
    batch_tokens: Annotated[int | None, _how(min=16, help="Tokens of a step.")] = None
    micro_tokens: Annotated[int | None, _how(min=16, help="Tokens computed at once: memory.")] = None
    checkpointing: Annotated[
        bool, _how("--checkpointing", help="Less memory, a third more time; qlora does so by itself.")
    ] = False
    seed: Annotated[int, _how(min=0)] = 0
    together: Annotated[int, _how("--processes", min=1, help="Processes that train together.")] = 1
    distributed: Annotated[
        Spread | None, _how(help="A model for each process (ddp, as it is), or one spread over all (fsdp).")
    ] = None

    replay: Annotated[
        list[str] | None,
        _keep(help="FILE=WEIGHT: other examples mixed in, in tokens for each token."),
    ] = None
    kl: Annotated[float | None, _keep(min=0, help="Weight of the divergence from the base's words; 0.1 say.")] = None
    ewc: Annotated[float | None, _keep(min=0, help="Weight of the change of weights that matter for --old; 1 say.")] = (
        None
    )
    old: Annotated[
        list[Path] | None, _keep(help="Files of examples of what is not to be forgotten, for ewc; those of --replay.")
    ] = None
    l2_sp: Annotated[float | None, _keep(min=0, help="Weight of the change of all trained weights; 0.1 say.")] = None
    interpolate: Annotated[
        str | None,
        _keep(help="Afterwards back towards the base: curve (measure it), auto (take the best), or 0 to 1."),
    ] = None
    forget_at_most: Annotated[
        float | None, _keep(min=0, max=1, help="What the best may lose of general text, as a share; 0.01.")
    ] = None

    teacher: Annotated[str | None, _teacher(help="A model, or something tuned, that is learned from.")] = None
    teach: Annotated[
        Literal["logits", "answers"], _teacher(help="By its chances for each word, or by answers that it writes.")
    ] = "logits"
    hard: Annotated[
        float, _teacher(min=0, max=0.99, help="Of the logits' loss, the share of the examples' own answers.")
    ] = 0.5
    temperature: Annotated[float, _teacher(help="At which the logits are compared.")] = 1.0
    answer_tokens: Annotated[int, _teacher(min=1, help="The longest answer it writes.")] = 256

    validation: Annotated[str | None, _measure(help="A file that is held out, or the share of documents; 0.05.")] = None
    general: Annotated[Path | None, _measure(help="A text file on which forgetting is measured.")] = None
    general_tasks: Annotated[
        Path | None, _measure(help="Tasks for the same (JSON lines of prompt, choices, answer).")
    ] = None
    check: Annotated[
        list[str] | None, _measure(help="file.py:function that measures the model before and after. Repeat.")
    ] = None
    evaluations: Annotated[
        int, _measure(min=0, help="Times that the held-out loss is measured in a run, or fewer; the best is kept.")
    ] = 10
    patience: Annotated[
        int | None, _measure(min=0, help="Evaluations without a lower held-out loss before it stops; any number.")
    ] = None

    label: Annotated[str | None, _classes(help="The column of labels, where it has no usual name.")] = None
    many: Annotated[bool, _classes("--many", help="A text may have several labels, or none.")] = False
    balanced: Annotated[bool, _classes("--balanced", help="Rare labels weigh as much as common ones.")] = False

    preview: Annotated[bool, _tries("--preview", help="Show what would be learned, and stop.")] = False
    find_rate: Annotated[bool, _tries("--find-rate", help="Try rates, advise one, and stop.")] = False
    seeds: Annotated[int, _tries(min=1, max=20, help="Train so many times, and say how they differ.")] = 1
    learning_curve: Annotated[bool, _tries("--learning-curve", help="Train on 25, 50 and 100% of the examples.")] = (
        False
    )

    merge: Annotated[bool, _out("--merge", help="Make a whole model of base and adapter.")] = False
    to: Annotated[Path | None, _out(help="Also write the whole model there: a folder, or a .gguf file.")] = None
    name: Annotated[str | None, _out(help="What the result is called, beside its id.")] = None
    track: Annotated[
        list[str] | None,
        _out(help="mlflow (if installed, by default), wandb, comet, tensorboard; none."),
    ] = None
    yes: Annotated[bool, _out("--yes", "-y", help="Do not ask before training.")] = False
    workspace: Annotated[Path | None, _out("--workspace", "-w", help="The workspace's directory.")] = None
