"""Contrastive: like pairs together, unlike pairs a margin apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from lavra.objectives.embeddings.loss import Labels, cosines


@dataclass(frozen=True)
class Contrastive:
    """½ [y d² + (1 - y) max(0, margin - d)²], d = 1 - cos (Hadsell et al. 2006, eq. 4).

    | texts of an example | label |
    |---|---|
    | (text, other text) | 1 if they are alike, 0 if not |

    **When**: you have pairs with a yes or a no (duplicates, paraphrases, entailment).
    **Requires**: both kinds of pairs in the data.
    **Relations**: ``OnlineContrastive`` learns from the hard pairs of each batch only, which is usually better;
    ``CosineSimilarity`` and ``CoSENT`` take grades.

    Sum over pairs; count: pairs.
    """

    margin: float = 0.5
    columns: ClassVar[tuple[int, int | None]] = (2, 2)
    labels: ClassVar[Labels] = "binary"
    in_batch: ClassVar[bool] = False

    def __call__(self, vectors: Sequence[Tensor], labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert labels is not None
        distance_B = 1 - cosines(vectors[0], vectors[1])
        apart_B = F.relu(self.margin - distance_B).square()
        return 0.5 * (labels * distance_B.square() + (1 - labels) * apart_B).sum(), torch.tensor(len(distance_B))


@dataclass(frozen=True)
class OnlineContrastive:
    """:class:`Contrastive`, of the hard pairs of a batch: likes that are further apart than the nearest unlikes, and
    unlikes that are nearer than the furthest likes (the loss of sentence-transformers; without the ½).

    | texts of an example | label |
    |---|---|
    | (text, other text) | 1 if they are alike, 0 if not |

    **When**: as ``Contrastive``, with batches of 32 or more, in which there are hard pairs.
    **Requires**: both kinds in most batches; one with a single kind is compared with its own mean.
    **Relations**: see ``Contrastive``.

    Sum over hard pairs; count: *all* pairs, so that easy batches weigh little instead of being blown up.
    """

    margin: float = 0.5
    columns: ClassVar[tuple[int, int | None]] = (2, 2)
    labels: ClassVar[Labels] = "binary"
    in_batch: ClassVar[bool] = False

    def __call__(self, vectors: Sequence[Tensor], labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert labels is not None
        distance_B = 1 - cosines(vectors[0], vectors[1])
        like, unlike = distance_B[labels == 1], distance_B[labels == 0]
        nearest = unlike.min() if len(unlike) else like.mean()
        furthest = like.max() if len(like) else unlike.mean()
        total = like[like > nearest].square().sum()
        total = total + F.relu(self.margin - unlike[unlike < furthest]).square().sum()
        return total, torch.tensor(len(distance_B))
