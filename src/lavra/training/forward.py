"""Model and objective as one module, so that whatever hooks into a module's call (sharding) sees all of a pass, the
unembedding in the loss included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor, nn

from lavra.objectives.objective import Batch, Objective

Found = TypeVar("Found")


class Forward(nn.Module):
    """``forward(batch)`` gives the objective's sum and count; with ``metrics`` True its metrics. :meth:`run` does
    anything else with the model."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(
        self, batch: Batch | None, *, metrics: bool = False, function: Callable[[Any], Any] | None = None
    ) -> Any:
        if function is not None:
            return function(self.model)
        assert batch is not None
        if metrics:
            found: dict[str, tuple[Tensor, Tensor]] = self.objective.metrics(self.model, batch)  # type: ignore[attr-defined]
            return found
        return self.objective.loss(self.model, batch)

    def run(self, function: Callable[[Any], Found]) -> Found:
        """``function`` of the model, whose weights are whole meanwhile."""
        found: Found = self(None, function=function)
        return found
