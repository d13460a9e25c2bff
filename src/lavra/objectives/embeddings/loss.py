"""What a loss over embeddings is: a function of vectors; it owns no model and encodes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from torch import Tensor
from torch.nn import functional as F

Labels = Literal["none", "score", "binary", "vector"]
"""What stands beside the texts: nothing; how alike they are, a number; 1 or 0; a teacher's vector of each text."""


class VectorLoss(Protocol):
    """``columns``: how many texts an example has, least and most (None: any number); ``labels``: what it needs."""

    @property
    def columns(self) -> tuple[int, int | None]: ...

    @property
    def labels(self) -> Labels: ...

    @property
    def in_batch(self) -> bool:
        """Whether examples of a batch are each other's negatives, so that it may hold no text twice."""
        ...

    def __call__(self, vectors: Sequence[Tensor], labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The sum (), float32, and the count (), of a batch. ``vectors``: (B, D) a column; ``labels``: (B,), or
        (columns, B, D) of a teacher."""
        ...


def cosines(left_BD: Tensor, right_BD: Tensor) -> Tensor:
    """(B,): each row with the one beside it."""
    return F.cosine_similarity(left_BD, right_BD, dim=-1)


def all_cosines(left_ND: Tensor, right_MD: Tensor) -> Tensor:
    """(N, M): each row with every other."""
    return F.normalize(left_ND, dim=-1) @ F.normalize(right_MD, dim=-1).T
