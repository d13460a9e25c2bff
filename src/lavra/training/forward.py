"""Model and objective as one module, so that whatever hooks into a module's call (sharding) sees all of a pass, the
unembedding in the loss included."""

from __future__ import annotations

from torch import Tensor, nn

from lavra.objectives.objective import Batch, Objective


class Forward(nn.Module):
    """``forward(batch)`` gives the objective's sum and count; with ``metrics`` True its metrics."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(
        self, batch: Batch, *, metrics: bool = False
    ) -> tuple[Tensor, Tensor] | dict[str, tuple[Tensor, Tensor]]:
        if metrics:
            found: dict[str, tuple[Tensor, Tensor]] = self.objective.metrics(self.model, batch)  # type: ignore[attr-defined]
            return found
        return self.objective.loss(self.model, batch)
