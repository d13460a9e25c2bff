"""Multiple negatives ranking: of all texts in the batch, the positive is the nearest. The loss for retrieval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from lavra.objectives.embeddings.loss import Labels, all_cosines


@dataclass(frozen=True)
class MultipleNegativesRanking:
    """-log softmax(scale · cos(anchor, ·)) of the anchor's own positive, over the positives and negatives of the whole
    batch (Henderson et al. 2017, section 4.4; InfoNCE, van den Oord et al. 2018).

    | texts of an example | label |
    |---|---|
    | (anchor, positive) | none |
    | (anchor, positive, negative, …), as many negatives in each | none |

    **When**: you have questions and the passages that answer them, titles and sections: pairs, and no negatives.
    **Requires**: large batches (64 or more: each is as many negatives); no text twice in one, or it would be its own
    negative (``training/distinct_loader.py`` sees to that). Mined negatives (``retrieval/mining.py``) make it harder.
    **Relations**: *cached* (``Embedding(cached=True)``) it is the same loss and the same gradients in the memory of a
    small batch. ``Triplet`` uses only an example's own negative. ``Matryoshka`` goes around it.

    ``symmetric``: also each positive has to find its anchor, and the two losses are averaged (Günther et al. 2024).
    ``scale``: 1 / temperature. Sum over anchors; count: anchors.
    """

    scale: float = 20.0
    symmetric: bool = False
    columns: ClassVar[tuple[int, int | None]] = (2, None)
    labels: ClassVar[Labels] = "none"
    in_batch: ClassVar[bool] = True

    def __call__(self, vectors: Sequence[Tensor], labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        anchors_BD = vectors[0]
        scores_BN = self.scale * all_cosines(anchors_BD, torch.cat(list(vectors[1:])))
        own_B = torch.arange(len(anchors_BD), device=anchors_BD.device)
        total = F.cross_entropy(scores_BN, own_B, reduction="sum")
        if self.symmetric:
            back_BB = scores_BN[:, : len(anchors_BD)].T
            total = (total + F.cross_entropy(back_BB, own_B, reduction="sum")) / 2
        return total, torch.tensor(len(anchors_BD))
