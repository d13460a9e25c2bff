"""The loss on examples that were held out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from lavra.objectives.objective import Objective
from lavra.training.forward import Forward

Evaluate = Callable[[Forward], Mapping[str, float]]
"""What the loop calls now and then, in evaluation mode and without gradients; ``forward.model`` is the model. On all
ranks alike. What it does with random numbers does not change the run."""


class HeldOut:
    """``loss``, the mean over all targets of ``examples``, ``perplexity`` of it, and the objective's own metrics.

    ``examples`` of ``sizes``, at most ``micro_tokens`` places at once; ``objective``: by default the run's own.
    """

    def __init__(
        self, examples: Sequence[Any], sizes: Sequence[int], *, micro_tokens: int, objective: Objective | None = None
    ) -> None:
        self.examples, self.objective = examples, objective
        self._groups: list[list[int]] = []
        widest = 0
        for index in sorted(range(len(examples)), key=lambda number: int(sizes[number])):
            widest = max(widest, int(sizes[index]))
            if not self._groups or widest * (len(self._groups[-1]) + 1) > micro_tokens:
                self._groups.append([])
            self._groups[-1].append(index)

    def __call__(self, forward: Forward) -> dict[str, float]:
        return forward.run(lambda model: self._measure(Forward(model, self.objective or forward.objective)))

    def _measure(self, run: Forward) -> dict[str, float]:
        device = next(run.model.parameters()).device
        sums: dict[str, list[float]] = {}
        for group in self._groups:
            batch = run.objective.collate([self.examples[index] for index in group]).to(device)
            found: dict[str, Any] = {"loss": run(batch)}
            if hasattr(run.objective, "metrics"):
                found |= run(batch, metrics=True)
            for name, (total, count) in found.items():
                pair = sums.setdefault(name, [0.0, 0.0])
                pair[0] += total.detach().item()
                pair[1] += count.detach().item()
        means = {name: total / count for name, (total, count) in sums.items() if count}
        if "loss" in means:
            means["perplexity"] = math.exp(min(means["loss"], 700.0))
        return means


@torch.no_grad()
def evaluate_once(model: torch.nn.Module, objective: Objective, held_out: HeldOut) -> dict[str, float]:
    """Outside of a run, before one say; the model's mode is put back."""
    mode = model.training
    try:
        return held_out(Forward(model.eval(), objective))
    finally:
        model.train(mode)
