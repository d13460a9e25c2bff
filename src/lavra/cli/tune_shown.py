"""What ``lavra tune`` shows: the data before, what would be learned, rates and shares that were tried, and in the end
what was gained and what was forgotten."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lavra.workspace.runs import Tuned
    from lavra.workspace.tuning.data import Encoded, Loaded, TuneData
    from lavra.workspace.tuning.run import Job
    from lavra.workspace.tuning.tries import RangeTest

_SHOWN = 10
_LONGEST_SHOWN = 600  # tokens of an example
_MUCH = 0.02
"""Of general text's bits per byte: from here on the ways against forgetting are named."""


def show_data(data: TuneData) -> None:
    """What was read, and what was left out and why."""
    from lavra.workspace.tuning.mixing import parts_of

    loaded = data.loaded
    kinds = ", ".join(f"{count:,} {name}" for name, count in loaded.formats.items())
    tokens = sum(example.tokens for example in data.training)
    learned = sum(example.labelled.learned for example in data.training)
    if len(loaded.examples) != sum(loaded.formats.values()):  # long documents are cut
        kinds += f", {len(loaded.examples):,} pieces"
    print(f"Read {kinds}: {len(data.training):,} to train on, {len(data.validation):,} held out.")
    print(
        f"{tokens:,} tokens, {learned:,} of them learned ({learned / max(1, tokens):.0%}), in {len(data.rows):,} rows "
        f"of {data.length:,}, {data.rows.padding:.1%} padding."
    )
    for part in parts_of(data.training)[:_SHOWN]:
        print(f"  {part.name}: drawn {part.times:.2f} times, {part.share:.1%} → {part.drawn:.1%} of the tokens")
    if loaded.was_cut:
        print(f"Cut to the context: {loaded.was_cut:,}.")
    if loaded.hidden:
        print(f"Left out, because not everybody may read them: {loaded.hidden:,} documents (--role adds them).")
    if loaded.problems:
        _show_problems(loaded)


def _show_problems(loaded: Loaded) -> None:
    long = f", {loaded.too_long:,} of them too long" if loaded.too_long else ""
    print(f"Left out: {len(loaded.problems):,}{long}.")
    for problem in loaded.problems[:_SHOWN]:
        print(f"  {problem}")
    if len(loaded.problems) > _SHOWN:
        print(f"  … and {len(loaded.problems) - _SHOWN:,} more")


def show_examples(job: Job) -> None:
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
    start, end = 0, min(len(ids), _LONGEST_SHOWN)
    for place in range(1, end + 1):
        if place == end or (weights[place] > 0) != (weights[start] > 0):
            piece = job.base.tokenizer.decode(ids[start:place], skip_special_tokens=False)
            if weights[start] > 0:
                shown.append(piece if out.is_terminal else f"⟦{piece}⟧", style="green")
            else:
                shown.append(piece, style="dim")
            start = place
    if len(ids) > _LONGEST_SHOWN:
        shown.append(f" … {len(ids) - _LONGEST_SHOWN:,} more tokens", style="italic dim")
    return shown


def show_rates(found: RangeTest) -> None:
    """The curve of a range test, and the rate that it advises."""
    print(f"{'rate':>10}{'loss':>10}")
    for rate, loss in found.curve[:: max(1, len(found.curve) // 20)]:
        print(f"{rate:>10.2g}{loss:>10.4f}")
    print(f"The loss falls fastest at {found.steepest:.2g} and is lowest at {found.lowest:.2g}.")
    print(f"Next: the same command with --learning-rate {found.advised:.2g} instead of --find-rate")


def show_shares(shares: Sequence[tuple[float, Tuned]]) -> None:
    """A learning curve."""
    print(f"\n{'share':>7}{'examples':>10}{'held-out loss':>15}{'general bits/byte':>19}")
    for share, done in shares:
        metrics = done.metrics
        print(f"{share:>7.0%}{metrics['examples']:>10,}{done.held_out:>15.4f}{metrics['general_after']:>19.4f}")


def show_tuned(done: Tuned) -> None:
    """What there is now, and what it cost."""
    metrics = done.metrics
    word = "There already: " if done.found else ""
    print(f"{word}{done.artifact.id} ({metrics['examples']:,} examples, {metrics['steps']:,} steps).")
    if metrics["stopped"] != "finished":
        print({"patience": "It stopped early: the held-out loss fell no more."}.get(metrics["stopped"], "It diverged."))
    if "recommended" in metrics:
        _show_mixed(done)
    if "held_out_after" in metrics:
        before, after = float(metrics["held_out_before"]), float(metrics["held_out_after"])
        print(f"Held-out loss {before:.4f} → {after:.4f} ({metrics['held_out_examples']:,} examples).")
    _show_forgotten(metrics)
    for name in sorted(key.removesuffix("_before") for key in metrics if "." in key and key.endswith("_before")):
        print(f"Check {name} {_figure(metrics, name, 'before')} → {_figure(metrics, name, 'after')}.")
    print(f"Report: {done.artifact.path / 'report.md'}")


def _show_mixed(done: Tuned) -> None:
    """The way back to the base, point by point."""
    import json

    from lavra.workspace.tuning.interpolating import FILE

    found = json.loads((done.artifact.path / FILE).read_text("utf-8"))
    print(f"{'share of tuning':>15}{'held-out loss':>15}{'general bits/byte':>19}{'tasks right':>13}")
    for point in found["points"]:
        mark = "  recommended" if point["share"] == found["recommended"] else ""
        mark += "  taken" if point["share"] == found["taken"] else ""
        print(
            f"{point['share']:>15g}{point['loss']:>15.4f}{point['general_bits_per_byte']:>19.4f}"
            f"{point['tasks_right']:>13.0f}{mark}"
        )
    print(f"{found['rule']} {found['recommended']:g}: {found['reason']}.")
    if found["taken"] != found["recommended"]:
        print(f"Kept is {found['taken']:g}; --interpolate auto takes the recommended one.")


def _show_forgotten(metrics: Mapping[str, Any]) -> None:
    before, after = float(metrics["general_before"]), float(metrics["general_after"])
    change = after / before - 1
    word = "forgotten" if change > 0 else "gained"
    print(f"General text {before:.4f} → {after:.4f} bits per byte: {abs(change):.1%} {word}.")
    if "tasks_after" in metrics:
        right = f"{metrics['tasks_before']:.0f} → {metrics['tasks_after']:.0f} of {metrics['tasks_count']}"
        languages = ", ".join(
            f"{key.removeprefix('tasks_right_').removesuffix('_before')} {_share(metrics, key)}"
            for key in sorted(metrics)
            if key.startswith("tasks_right_") and key.endswith("_before")
        )
        print(f"General tasks {right} right{f' ({languages})' if languages else ''}.")
    if change > _MUCH:
        print(
            "Less is forgotten with --replay FILE=0.2 (general examples), --kl 0.1, --interpolate auto, a lower rate, "
            "or fewer epochs."
        )


def _share(metrics: Mapping[str, Any], key: str) -> str:
    after = metrics.get(key.removesuffix("_before") + "_after", math.nan)
    return f"{metrics[key]:.0%} → {after:.0%}"


def _figure(metrics: Mapping[str, Any], name: str, when: str) -> str:
    value = metrics.get(f"{name}_{when}")
    return "nothing" if value is None else f"{value:.4g}"
