"""CoSENT: of two pairs, the one with the higher score has the higher cosine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lavra.objectives.embeddings.loss import Labels, cosines


@dataclass(frozen=True)
class CoSENT:
    """log(1 + Σ exp(scale · (cos_j - cos_i))), over all pairs i, j of the batch with score_i > score_j (Su 2022,
    CoSENT: a more efficient sentence vector scheme than Sentence-BERT).

    | texts of an example | label |
    |---|---|
    | (text, other text) | how alike they are, a number on any scale |

    **When**: you have graded pairs and want the right order of cosines (Spearman's correlation, ranking).
    **Requires**: unequal scores within a batch: of 16 pairs or more.
    **Relations**: a stronger signal than ``CosineSimilarity`` on the same data, which is the one to take if the cosine
    must *equal* the score.

    One number a batch, which each of its pairs has a part in: the sum is B times it and the count B.
    """

    scale: float = 20.0
    columns: ClassVar[tuple[int, int | None]] = (2, 2)
    labels: ClassVar[Labels] = "score"
    in_batch: ClassVar[bool] = False

    def __call__(self, vectors: Sequence[Tensor], labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert labels is not None
        scores_B = self.scale * cosines(vectors[0], vectors[1])
        excess_BB = scores_B[None, :] - scores_B[:, None]  # of j over i
        wrong = excess_BB[labels[:, None] > labels[None, :]]
        loss = torch.logsumexp(torch.cat([wrong.new_zeros(1), wrong]), 0)
        return loss * len(scores_B), torch.tensor(len(scores_B))
