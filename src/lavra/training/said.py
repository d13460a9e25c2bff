"""What the loop says: a step as a line of ``metrics.jsonl``, an end as a sentence, and a batch that does not fit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lavra.errors import LavraError
from lavra.training.callbacks import Step
from lavra.training.checkpoints import Checkpoint
from lavra.training.settings import TrainSettings


def step_line(step: Step) -> dict[str, Any]:
    """As JSON, which has no NaN."""
    line: dict[str, Any] = {
        "step": step.step, "loss": step.loss, "rate": step.rate, "norm": step.norm, "targets": step.targets,
        "tokens": step.tokens, "seconds": round(step.seconds, 4), "share": round(step.share, 4),
        "memory": step.memory, **step.metrics,
    }  # fmt: skip
    if step.skipped:
        line["skipped"] = step.skipped
    return {key: _plain(value) for key, value in line.items()}


def end_message(
    settings: TrainSettings, stopped: str, at: int, steps: int, held: int | None, checkpoint: Checkpoint | None,
    rate_factor: float,
) -> str:  # fmt: skip
    """How a run ended at step ``at``, which weights the model has (those of step ``held``), and what to do next."""
    kept = "" if held is None else f"; the model has the weights of step {held}, the best"
    if stopped == "finished":
        return f"all {steps} steps are made{kept}"
    if stopped == "patience":
        return f"stopped at step {at} of {steps}: {settings.patience} evaluations without a better{kept}"
    if stopped == "diverged":
        rate = settings.learning_rate
        return (
            f"stopped at step {at} of {steps}: it diverged with a rate of {rate:g}, also with {rate_factor:g} of "
            f"it{kept}; try a rate of {rate * rate_factor / 4:.1g}"
        )
    saved = "nothing could be saved" if checkpoint is None else f"saved at step {checkpoint.step}"
    return f"interrupted at step {at} of {steps}; {saved}: run the same command again to continue"


@contextmanager
def memory_explained(settings: TrainSettings) -> Iterator[None]:
    """A batch that does not fit, in a sentence that says what would."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        micro = settings.micro_tokens or 0
        also = "" if settings.checkpointing else " or switch checkpointing on"
        raise LavraError(
            f"{micro} tokens at once do not fit the memory; set micro_tokens to {max(1, micro // 2)}{also}"
        ) from error


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
