"""Several runs of one recipe: what is chance in a figure, how much more data would help, which rate to take."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lavra.errors import LavraError
from lavra.training.callbacks import Callback, Step
from lavra.training.loop import Trainer
from lavra.training.run import RunDirectory
from lavra.workspace.runs import Tuned
from lavra.workspace.tuning.base import load_base
from lavra.workspace.tuning.data import pack, take_share
from lavra.workspace.tuning.objective import make_objective
from lavra.workspace.tuning.run import Job, make_loader, train_settings

SHARES = (0.25, 0.5, 1.0)
TRIED = 64
"""Steps of a range test."""
LOWEST, HIGHEST = 1e-6, 0.3
_SMOOTH = 0.8
_GONE = 1.5  # times the lowest loss: from there on nothing is learned


def with_seeds(job: Job, seeds: int) -> list[Job]:
    """The same run with other orders of the data and other first weights of the adapter; what is held out stays."""
    found = []
    for number in range(seeds):
        settings = replace(job.settings, seed=job.settings.seed + number)
        found.append(replace(job, settings=settings, training=replace(job.training, seed=settings.seed)))
    return found


def spread(runs: Sequence[Tuned]) -> str:
    """Mean and standard deviation of what the runs measured."""
    parts = []
    for key, name in (("held_out_after", "held-out loss"), ("general_after", "general bits per byte")):
        values = [float(run.metrics[key]) for run in runs if key in run.metrics]
        if len(values) > 1:
            shown = ", ".join(f"{value:.4f}" for value in values)
            parts.append(f"{name} {statistics.fmean(values):.4f} ± {statistics.stdev(values):.4f} ({shown})")
    return "; ".join(parts)


def learning_curve(job: Job, train: Callable[[Job], Tuned]) -> list[tuple[float, Tuned]]:
    """The run on a quarter, half and all of the examples; each part holds the one before."""
    if job.data.held is None:
        raise LavraError("a learning curve needs held-out examples: give --validation FILE, or more examples.")
    found = []
    for share in SHARES:
        training = take_share(job.data.training, share)
        data = replace(job.data, training=training, rows=pack(training, job.data.length))
        settings = replace(job.settings, share=share, batch_tokens=job.training.batch_tokens)
        each = replace(job, data=data, settings=settings, training=train_settings(settings, data))
        found.append((share, train(each)))
    return found


@dataclass(frozen=True)
class RangeTest:
    """``curve``: (rate, smoothed loss); ``steepest``: where it falls fastest; ``lowest``: where it is lowest;
    ``advised``: a tenth of the lowest, at most the steepest (Smith 2017, Cyclical Learning Rates, section 3.3)."""

    curve: Sequence[tuple[float, float]]
    steepest: float
    lowest: float

    @property
    def advised(self) -> float:
        return min(self.steepest, self.lowest / 3)


def range_test(job: Job, *, steps: int = TRIED, callbacks: Sequence[Callback] = ()) -> RangeTest:
    """Raise the rate from step to step, from far too low to far too high, and watch the loss. Nothing is kept."""
    prepared = load_base(job.base, job.settings, job.training)
    # Nothing may stop the rise: spikes are what is looked for.
    training = replace(
        job.training, steps=steps, epochs=None, warmup=0.0, schedule="constant", spike=0.0, rewinds=0,
        save_every=1 << 30, evaluate_every=0, patience=0,
    )  # fmt: skip
    seen: list[tuple[float, float]] = []

    class Rising(Trainer):
        def rate(self, step: int) -> float:
            return LOWEST * (HIGHEST / LOWEST) ** (step / max(1, steps - 1))

        def _save(self) -> None:
            """Nothing of it is kept."""

    class Watch(Callback):
        def step(self, step: Step) -> None:
            seen.append((step.rate, step.loss))
            smooth = _smoothed([loss for _, loss in seen])
            if not math.isfinite(step.loss) or smooth[-1] > _GONE * min(smooth):
                raise _Enough

    with tempfile.TemporaryDirectory() as folder:
        trainer = Rising(
            prepared.model, make_objective(job, prepared), make_loader(job), training, RunDirectory(Path(folder)),
            callbacks=[Watch(), *callbacks], context=job.data.rows.mean_context, longest=job.data.length,
        )  # fmt: skip
        try:
            trainer.train()
        except _Enough:
            pass
    losses = [loss for _, loss in seen if math.isfinite(loss)]
    if len(losses) < 8:
        raise LavraError("the loss is lost from the first steps on: look at the data with --preview.")
    smooth = _smoothed(losses)
    rates = [rate for rate, _ in seen[: len(losses)]]
    low = smooth.index(min(smooth))
    falls = [smooth[place + 1] - smooth[place - 1] for place in range(1, max(2, low))]
    steep = falls.index(min(falls)) + 1
    return RangeTest(list(zip(rates, smooth, strict=True)), rates[steep], rates[low])


class _Enough(Exception):
    """The loss has left what can be learned from."""


def _smoothed(losses: Sequence[float]) -> list[float]:
    """Exponential mean without its bias to the start."""
    found, held, weight = [], 0.0, 0.0
    for loss in losses:
        held, weight = _SMOOTH * held + (1 - _SMOOTH) * loss, _SMOOTH * weight + 1 - _SMOOTH
        found.append(held / weight)
    return found
