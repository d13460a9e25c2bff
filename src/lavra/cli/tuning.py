"""``lavra tune``: what is asked for, what is shown before, while and after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from lavra.cli.leaving import leave
from lavra.cli.making import callbacks, check_name, check_place, export, require_base, say
from lavra.cli.processes import Spread, processes
from lavra.errors import LavraError

if TYPE_CHECKING:
    from lavra.training.ranks import Ranks
    from lavra.workspace.runs import Tuned
    from lavra.workspace.tuning.data import Encoded, TuneData
    from lavra.workspace.tuning.run import Job
    from lavra.workspace.workspace import Workspace

_SHOWN = 10
_LONGEST_SHOWN = 600  # tokens of an example

MethodName = Literal["full", "lora", "rslora", "dora", "ia3", "qlora", "longlora"]


def tune(
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Files of examples (.jsonl, .json, .csv, .parquet): messages, ShareGPT, Alpaca, pairs or text."
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="What is tuned; by default the workspace's generator.")] = None,
    method: Annotated[MethodName, typer.Option(help="Which weights are trained, and how.")] = "lora",
    rank: Annotated[int, typer.Option(min=1, help="Of low-rank adapters.")] = 16,
    alpha: Annotated[float | None, typer.Option(help="Their scale; by default twice the rank.")] = None,
    targets: Annotated[str | None, typer.Option(help="Maps that are adapted, by name (q_proj,v_proj); all.")] = None,
    storage: Annotated[Literal["nf4", "int8"], typer.Option(help="What qlora keeps the base in.")] = "nf4",
    epochs: Annotated[int | None, typer.Option(min=1, help="Times that every example is seen; 3.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps instead of epochs.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="By default one for the method.")] = None,
    batch_tokens: Annotated[int | None, typer.Option(min=16, help="Tokens of a step.")] = None,
    micro_tokens: Annotated[int | None, typer.Option(min=16, help="Tokens computed at once: memory.")] = None,
    context: Annotated[int | None, typer.Option(min=16, help="The longest example, in tokens.")] = None,
    group: Annotated[int | None, typer.Option(min=2, help="Of longlora: places that see each other.")] = None,
    learn: Annotated[
        Literal["answers", "all", "last"],
        typer.Option(help="What is learned: answers, everything, or the last answer."),
    ] = "answers",
    cut: Annotated[
        bool, typer.Option("--cut", help="Cut examples that are too long instead of leaving them out.")
    ] = False,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", help="Documents to read on: a file, a folder, or the word corpus. Repeat for several."),
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", "-r", help="Also documents that this role may read: the model will tell them everyone."),
    ] = None,
    replay: Annotated[
        list[str] | None,
        typer.Option(help="FILE=WEIGHT: other examples mixed in against forgetting, in tokens for each token."),
    ] = None,
    kl: Annotated[float, typer.Option(min=0, help="Weight of the divergence from the base, against forgetting.")] = 0.0,
    validation: Annotated[
        str | None, typer.Option(help="A file that is held out, or the share of documents; 0.05.")
    ] = None,
    general: Annotated[Path | None, typer.Option(help="A text file on which forgetting is measured.")] = None,
    patience: Annotated[int, typer.Option(min=0, help="Evaluations without a better one before it stops.")] = 0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Train so many times, and say how they differ.")] = 1,
    learning_curve: Annotated[
        bool, typer.Option("--learning-curve", help="Train on 25, 50 and 100% of the examples.")
    ] = False,
    find_rate: Annotated[bool, typer.Option("--find-rate", help="Try rates, advise one, and stop.")] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Show what would be learned, and stop.")] = False,
    checkpointing: Annotated[bool, typer.Option("--checkpointing", help="Less memory, a third more time.")] = False,
    merge: Annotated[bool, typer.Option("--merge", help="Make a whole model of base and adapter.")] = False,
    to: Annotated[
        Path | None, typer.Option(help="Also write the whole model there: a folder, or a .gguf file.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What the result is called, beside its id.")] = None,
    track: Annotated[list[str] | None, typer.Option(help="mlflow, wandb, comet or tensorboard.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before training.")] = False,
    together: Annotated[int, typer.Option("--processes", min=1, help="Processes that train together.")] = 1,
    distributed: Annotated[
        Spread | None, typer.Option(help="A model for each process (ddp, as it is), or one spread over all (fsdp).")
    ] = None,
    workspace: Annotated[Path | None, typer.Option("--workspace", "-w", help="The workspace's directory.")] = None,
) -> None:
    """Tune a model on examples, documents, or both; measures what it gained and what it forgot.

    The same command again continues a run that was stopped, or finds what it made.
    """
    from lavra.workspace.tuning.settings import Sources, TuneSettings, parse_replay
    from lavra.workspace.workspace import Workspace

    here = Workspace.open(workspace) if workspace else Workspace.find()
    held, share = _validation(validation)
    check_name(name)
    check_place(to)
    settings = TuneSettings(
        method=method, rank=rank, alpha=alpha, storage=storage, epochs=epochs, steps=steps, learn=learn, cut=cut,
        learning_rate=learning_rate, batch_tokens=batch_tokens, micro_tokens=micro_tokens, context=context, group=group,
        targets=tuple(part.strip() for part in (targets or "").split(",") if part.strip()), kl=kl, seed=seed,
        validation=share, patience=patience, checkpointing=checkpointing,
    )  # fmt: skip
    sources = Sources(
        data=tuple(data or ()),
        texts=tuple(Path(entry) for entry in text or () if entry != "corpus"),
        corpus="corpus" in (text or ()),
        roles=("public", *(role or ())),
        replay=tuple(parse_replay(entry) for entry in replay or ()),
        validation=held,
        general=general,
    )
    with processes(together, distributed) as ranks:
        require_base(here, model, ranks)
        from lavra.workspace.runs import Interrupted
        from lavra.workspace.tuning.run import plan_job

        job = plan_job(here, sources, settings, model=model, merge=merge)
        _show_data(job.data)
        if preview:
            _preview(job)
            return
        try:
            if find_rate:
                _find_rate(job, ranks)
                return
            done = _train(here, job, seeds, learning_curve, name, track, yes, ranks)
        except Interrupted as stopped:
            leave(f"lavra: {stopped}", 130)
        _show_tuned(done)
        export(here, done, to, ranks)
    answer = f"--adapter {name or done.artifact.id}"
    print(f'Next: lavra ask "…" {answer}, or lavra serve {answer}; lavra trace {name or done.artifact.id}')


def _validation(given: str | None) -> tuple[Path | None, float]:
    """A file, or a share."""
    if given is None:
        return None, 0.05
    try:
        return None, float(given)
    except ValueError:
        return Path(given), 0.0


def _show_data(data: TuneData) -> None:
    loaded = data.loaded
    kinds = ", ".join(f"{count:,} {name}" for name, count in loaded.formats.items())
    tokens = sum(example.tokens for example in data.training)
    learned = sum(example.labelled.learned for example in data.training)
    print(f"Read {kinds}: {len(data.training):,} to train on, {len(data.validation):,} held out.")
    print(
        f"{tokens:,} tokens, {learned:,} of them learned ({learned / max(1, tokens):.0%}), in {len(data.rows):,} rows "
        f"of {data.length:,}, {data.rows.padding:.1%} padding."
    )
    if loaded.was_cut:
        print(f"Cut to the context: {loaded.was_cut:,}.")
    if loaded.hidden:
        print(f"Left out, because not everybody may read them: {loaded.hidden:,} documents (--role adds them).")
    if loaded.problems:
        long = f", {loaded.too_long:,} of them too long" if loaded.too_long else ""
        print(f"Left out: {len(loaded.problems):,}{long}.")
        for problem in loaded.problems[:_SHOWN]:
            print(f"  {problem}")
        if len(loaded.problems) > _SHOWN:
            print(f"  … and {len(loaded.problems) - _SHOWN:,} more")


def _preview(job: Job) -> None:
    """Some examples, what is learned of them in green."""
    from lavra.cli.console import out

    examples = job.data.training
    chosen = examples[:: max(1, len(examples) // 5)][:5]
    for example in chosen:
        out.rule(f"[dim]{example.source}[/dim]", align="left")
        out.print(coloured(job, example))
    print("Learned is green, read only is dim." if out.is_terminal else "What is learned stands between ⟦ and ⟧.")


def coloured(job: Job, example: Encoded) -> Any:
    """The example's very tokens as text, by whether they are learned; in a file, between brackets."""
    from rich.text import Text

    from lavra.cli.console import out

    shown = Text()
    ids, weights = example.labelled.ids.tolist(), example.labelled.weights.tolist()
    weights[0] = 0.0  # nothing predicts it
    start = 0
    for place in range(1, min(len(ids), _LONGEST_SHOWN) + 1):
        if place == min(len(ids), _LONGEST_SHOWN) or (weights[place] > 0) != (weights[start] > 0):
            piece = job.base.tokenizer.decode(ids[start:place], skip_special_tokens=False)
            if weights[start] > 0:
                shown.append(piece if out.is_terminal else f"⟦{piece}⟧", style="green")
            else:
                shown.append(piece, style="dim")
            start = place
    if len(ids) > _LONGEST_SHOWN:
        shown.append(f" … {len(ids) - _LONGEST_SHOWN:,} more tokens", style="italic dim")
    return shown


def _train(
    here: Workspace,
    job: Job,
    seeds: int,
    learning_curve: bool,
    name: str | None,
    track: Sequence[str] | None,
    yes: bool,
    ranks: Ranks,
) -> Tuned:
    from lavra.workspace.tuning.run import tune as train
    from lavra.workspace.tuning.tries import learning_curve as by_share
    from lavra.workspace.tuning.tries import spread, with_seeds

    def one(job: Job) -> Tuned:
        told = callbacks(job.run, job.recipe, track, yes, ranks)
        return train(job, callbacks=told, say=say, ranks=ranks)

    if learning_curve:
        shares = by_share(job, one)
        print(f"\n{'share':>7}{'examples':>10}{'held-out loss':>15}{'general bits/byte':>19}")
        for share, done in shares:
            metrics = done.metrics
            print(f"{share:>7.0%}{metrics['examples']:>10,}{done.held_out:>15.4f}{metrics['general_after']:>19.4f}")
        done = shares[-1][1]
    else:
        runs = [one(each) for each in with_seeds(job, seeds)]
        if seeds > 1:
            print(f"\nOver {seeds} seeds: {spread(runs)}")
        done = min(runs, key=lambda run: (run.held_out != run.held_out, run.held_out))
    if name and ranks.first:
        here.store.set_ref(name, done.artifact.id)
    return done


def _find_rate(job: Job, ranks: Ranks) -> None:
    from lavra.workspace.tuning.tries import range_test

    if ranks.count > 1:
        raise LavraError("--find-rate is for one process: leave --processes away, the rate is the same.")
    found = range_test(job)
    print(f"{'rate':>10}{'loss':>10}")
    for rate, loss in found.curve[:: max(1, len(found.curve) // 20)]:
        print(f"{rate:>10.2g}{loss:>10.4f}")
    print(f"The loss falls fastest at {found.steepest:.2g} and is lowest at {found.lowest:.2g}.")
    print(f"Next: the same command with --learning-rate {found.advised:.2g} instead of --find-rate")


def _show_tuned(done: Tuned) -> None:
    metrics = done.metrics
    word = "There already: " if done.found else ""
    print(f"{word}{done.artifact.id} ({metrics['examples']:,} examples, {metrics['steps']:,} steps).")
    if "held_out_after" in metrics:
        before, after = float(metrics["held_out_before"]), float(metrics["held_out_after"])
        print(f"Held-out loss {before:.4f} → {after:.4f} ({metrics['held_out_examples']:,} examples).")
    before, after = float(metrics["general_before"]), float(metrics["general_after"])
    change = after / before - 1
    word = "forgotten" if change > 0 else "gained"
    print(f"General text {before:.4f} → {after:.4f} bits per byte: {abs(change):.1%} {word}.")
    if change > 0.02:
        print("Less is forgotten with --replay FILE=0.2 (general examples), --kl 0.1, a lower rate, or fewer epochs.")
    print(f"Report: {done.artifact.path / 'report.md'}")


def register(app: typer.Typer) -> None:
    """Make it a command of ``app``."""
    app.command()(cast(Any, tune))
