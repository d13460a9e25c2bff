"""What the loop asks of an objective, and what they hand each other.

A loss is a *sum* and the *count* it is to be divided by, never a mean: means over micro-batches of unequal counts are
not the mean over all (the error that trainers made with gradient accumulation for years). The loop adds sums and
counts over micro-batches and ranks and divides once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from lavra.model.attention import Mask

IGNORE = -100
"""A target that nothing is lost on."""
PADDING = 0
"""The segment of places that hold no token; texts are numbered from 1."""


@dataclass(frozen=True)
class Batch:
    """One micro-batch.

    ``ids_BT``; ``targets_BT``, already shifted: ``targets[t]`` is the token after ``ids[t]``, or IGNORE;
    ``segments_BT``: the texts packed into a row, numbered from 1, each in one stretch, 0 for padding; None where each
    row is one text without padding. ``weights_BT``: float32, what a target counts; None: 1. ``extra``: what an
    objective needs besides.
    """

    ids_BT: Tensor
    targets_BT: Tensor | None = None
    segments_BT: Tensor | None = None
    weights_BT: Tensor | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> Batch:
        """The same on ``device``."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return replace(
            self,
            ids_BT=self.ids_BT.to(device, non_blocking=True),
            targets_BT=move(self.targets_BT),
            segments_BT=move(self.segments_BT),
            weights_BT=move(self.weights_BT),
            extra={name: tensor.to(device, non_blocking=True) for name, tensor in self.extra.items()},
        )

    @property
    def tokens(self) -> int:
        """Real ones, padding aside."""
        if self.segments_BT is None:
            return self.ids_BT.numel()
        return int((self.segments_BT != PADDING).sum())

    def mask(self, *, causal: bool) -> Mask:
        """Who sees whom: texts of a row never see each other, and nobody sees padding."""
        return Mask(causal=causal, segments_BS=self.segments_BT)


class Objective(Protocol):
    """May also have ``metrics(model, batch) -> dict[str, tuple[Tensor, Tensor]]``: more sums and counts, asked for
    after ``loss`` of the same batch, without gradients, and divided by the loop as losses are. One that stands around
    another has it as ``objective``; one that wants something of the weights themselves is :class:`Pulling`."""

    def collate(self, examples: Sequence[Any]) -> Batch:
        """One micro-batch of what the loader holds."""
        ...

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The sum over valid targets, (), float32, and their count, (): what the sum is to be divided by."""
        ...


@runtime_checkable
class Pulling(Protocol):
    """An objective with a price on the weights, whatever the batch: asked for once a step, not in every micro-batch."""

    def pull(self, weights: Mapping[str, Tensor], sums: Mapping[str, Tensor], factor: float) -> Tensor:
        """The price, (), of this rank's ``weights`` by name (float32); adds its gradient times ``factor`` to ``sums``,
        in place."""
        ...

    def take_part(self, rows: Mapping[str, slice]) -> None:
        """From now on ``pull`` is given only these rows of each weight."""
        ...


def pulling(objective: Any) -> list[Pulling]:
    """Those of an objective, and of what it stands around, that are."""
    found: list[Pulling] = []
    while objective is not None:
        if isinstance(objective, Pulling):
            found.append(objective)
        objective = getattr(objective, "objective", None)
    return found


def hidden_states(model: Any, batch: Batch) -> Tensor:
    """(B, T, C) of the batch's ids, each packed text for itself."""
    found: Tensor = model(batch.ids_BT, mask=batch.mask(causal=model.config.causal))
    return found
