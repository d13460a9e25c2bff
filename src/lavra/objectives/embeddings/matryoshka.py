"""Matryoshka: the first dimensions of a vector are a good, shorter vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lavra.errors import LavraError
from lavra.objectives.embeddings.loss import Labels, VectorLoss


@dataclass(frozen=True)
class Matryoshka:
    """Σ w · loss(vectors cut to their first d dimensions and brought to length 1), over ``dimensions`` (Kusupati et al.
    2022, eq. 1).

    | texts of an example | label |
    |---|---|
    | those of the loss inside | those of the loss inside |

    **When**: vectors are to be cut short later, for an index of half or an eighth of the size.
    **Requires**: ``dimensions`` that end with the model's own width, so that the whole vector stays the best.
    **Relations**: goes around any other loss here; costs next to nothing, for texts are encoded once.

    ``weights``: one a dimension; by default all 1. The weighted sum of the *means* of all dimensions, times the count
    of the first: a loss that counts dimensions counts fewer of a shorter vector.
    """

    loss: VectorLoss
    dimensions: tuple[int, ...]
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.dimensions or min(self.dimensions) < 1:
            raise LavraError("Matryoshka needs at least one dimension to cut vectors to, such as 384, 192, 96")
        if self.weights and len(self.weights) != len(self.dimensions):
            raise LavraError(f"Matryoshka has {len(self.dimensions)} dimensions and {len(self.weights)} weights")

    @property
    def columns(self) -> tuple[int, int | None]:
        return self.loss.columns

    @property
    def labels(self) -> Labels:
        return self.loss.labels

    @property
    def in_batch(self) -> bool:
        return self.loss.in_batch

    def __call__(self, vectors: Sequence[Tensor], labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        width = vectors[0].shape[-1]
        if max(self.dimensions) > width:
            raise LavraError(f"Matryoshka cannot cut vectors of {width} dimensions to {max(self.dimensions)}")
        total, count = vectors[0].new_zeros(()), torch.tensor(0)
        for dimension, weight in zip(self.dimensions, self.weights or (1.0,) * len(self.dimensions), strict=True):
            short = [F.normalize(column[:, :dimension], dim=-1) for column in vectors]
            mine = labels[..., :dimension] if labels is not None and self.labels == "vector" else labels
            part, parts = self.loss(short, mine)
            count = count if count else parts
            total = total + weight * part * (count / parts)
        return total, count
