"""Reranking: a cross-encoder reads question and passage together and says how well they fit, in one number.

Slower than an embedder, which reads each alone, and better: it puts the best few of what a search found in order
(Nogueira and Cho 2019). A reranker is a sequence head with one label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavra.errors import LavraError
from lavra.objectives.classification import scores
from lavra.objectives.objective import Batch
from lavra.objectives.padding import pad

How = Literal["binary", "mse", "margin"]


@dataclass(frozen=True)
class Judged:
    """A question with its passages, each read together: ``texts``, token ids; ``types``, BERT's segments of each, or
    none; ``targets``: how well each fits (0 to 1 for "binary", any number for the others); the first is the positive
    where it is a question of margins."""

    texts: tuple[tuple[int, ...], ...]
    targets: tuple[float, ...]
    types: tuple[tuple[int, ...], ...] = ()

    @property
    def tokens(self) -> int:
        return sum(len(text) for text in self.texts)


@dataclass(frozen=True)
class Reranking:
    """``how``: the loss of a passage's score s.

    | how | loss | targets |
    |---|---|---|
    | "binary" | -t log σ(s) - (1 - t) log(1 - σ(s)) | 1 fits, 0 does not; ``positive_weight`` where few fit |
    | "mse" | (s - t)² | a teacher's scores |
    | "margin" | ((s₁ - s) - (t₁ - t))², of each other passage | a teacher's scores (Hofstätter et al. 2020, eq. 2) |

    Sum over passages (for "margin": over others than the first); count: as many.
    """

    how: How = "binary"
    pad_id: int = 0
    positive_weight: float = 1.0

    def collate(self, examples: Sequence[Judged]) -> Batch:
        """All passages of all examples; ``targets`` (N,) and ``first`` (N,): the place of each one's first passage."""
        if self.how == "margin" and any(len(example.texts) < 2 for example in examples):
            raise LavraError("a margin needs at least two passages of a question; mine negatives first")
        ids_BT, segments_BT = pad([text for example in examples for text in example.texts], self.pad_id)
        first: list[int] = []
        for example in examples:
            first += [len(first)] * len(example.texts)
        extra = {
            "targets": torch.tensor([target for example in examples for target in example.targets]),
            "first": torch.tensor(first),
        }
        if any(example.types for example in examples):
            extra["types"] = pad([types for example in examples for types in example.types], 0)[0]
        return Batch(ids_BT=ids_BT, segments_BT=segments_BT, extra=extra)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        found_N = scores(model, batch)[:, 0]
        targets_N, first_N = batch.extra["targets"], batch.extra["first"]
        if self.how == "binary":
            weight = torch.tensor(self.positive_weight, device=found_N.device)
            total = F.binary_cross_entropy_with_logits(found_N, targets_N, pos_weight=weight, reduction="sum")
            return total, torch.tensor(len(found_N), device=total.device)
        if self.how == "mse":
            return (found_N - targets_N).square().sum(), torch.tensor(len(found_N), device=found_N.device)
        others = first_N != torch.arange(len(first_N), device=first_N.device)
        margins = (found_N[first_N] - found_N) - (targets_N[first_N] - targets_N)
        return margins[others].square().sum(), others.sum()
