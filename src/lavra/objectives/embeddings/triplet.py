"""Triplet: a text is nearer to its positive than to its negative, by a margin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from lavra.objectives.embeddings.loss import Labels, cosines


@dataclass(frozen=True)
class Triplet:
    """max(0, d(a, p) - d(a, n) + margin) (Schroff et al. 2015, eq. 1).

    | texts of an example | label |
    |---|---|
    | (anchor, positive, negative) | none |

    **When**: you have one good negative for each pair and batches too small for others to serve as negatives.
    **Requires**: negatives that are hard, or the loss is soon 0; a margin on the distance's scale. Vectors of length
    1 are at most 2 apart, so the default of 0.5 is far below the 5 that is usual for vectors of any length.
    **Relations**: ``MultipleNegativesRanking`` takes the same triplets, uses all of the batch as well, and is usually
    better.

    ``distance``: "cosine" (1 - cos) or "euclidean". Sum over triplets; count: triplets.
    """

    margin: float = 0.5
    distance: Literal["cosine", "euclidean"] = "cosine"
    columns: ClassVar[tuple[int, int | None]] = (3, 3)
    labels: ClassVar[Labels] = "none"
    in_batch: ClassVar[bool] = False

    def __call__(self, vectors: Sequence[Tensor], labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        anchor_BD, positive_BD, negative_BD = vectors
        near_B, far_B = self._distance(anchor_BD, positive_BD), self._distance(anchor_BD, negative_BD)
        return F.relu(near_B - far_B + self.margin).sum(), torch.tensor(len(near_B))

    def _distance(self, left_BD: Tensor, right_BD: Tensor) -> Tensor:
        if self.distance == "cosine":
            return 1 - cosines(left_BD, right_BD)
        return F.pairwise_distance(left_BD, right_BD)
