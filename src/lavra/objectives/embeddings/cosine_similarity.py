"""Cosine similarity: the cosine of two texts becomes the score that a person gave them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lavra.objectives.embeddings.loss import Labels, cosines


@dataclass(frozen=True)
class CosineSimilarity:
    """(cos(u, v) - score)² (Reimers and Gurevych 2019, section 3, regression).

    | texts of an example | label |
    |---|---|
    | (text, other text) | how alike they are, a number; 0 to 1 where cosines are to fill that range |

    **When**: you have graded pairs (ASSIN, STS) and want the *number* itself to mean something.
    **Requires**: scores on the cosine's scale; divide a 1-to-5 scale down to 0-to-1 first (``lavra tune`` does).
    **Relations**: ``CoSENT`` only asks for the right *order* of the same pairs and usually ranks better;
    ``Contrastive`` takes yes or no instead of a grade.

    Sum over pairs; count: pairs.
    """

    columns: ClassVar[tuple[int, int | None]] = (2, 2)
    labels: ClassVar[Labels] = "score"
    in_batch: ClassVar[bool] = False

    def __call__(self, vectors: Sequence[Tensor], labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert labels is not None
        errors_B = cosines(vectors[0], vectors[1]) - labels
        return errors_B.square().sum(), torch.tensor(len(errors_B))
