"""Mean squared error: a student's vectors become a teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lavra.objectives.embeddings.loss import Labels


@dataclass(frozen=True)
class MeanSquaredError:
    """(u - teacher)², over all dimensions (Reimers and Gurevych 2020, Making Monolingual Sentence Embeddings
    Multilingual, section 3).

    | texts of an example | label |
    |---|---|
    | (text) | the teacher's vector of it |
    | (text, its translation, …) | the teacher's vector, one for all columns or one a column |

    **When**: you shrink a large embedder, or teach it another language by translations, without any labels.
    **Requires**: a teacher of the same width, whose vectors are made once and stored.
    **Relations**: the only loss here that needs neither pairs nor grades; with a good teacher it is the most stable.

    Sum over texts and dimensions; count: as many.
    """

    columns: ClassVar[tuple[int, int | None]] = (1, None)
    labels: ClassVar[Labels] = "vector"
    in_batch: ClassVar[bool] = False

    def __call__(self, vectors: Sequence[Tensor], labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert labels is not None
        errors = torch.stack(list(vectors)) - labels
        return errors.square().sum(), torch.tensor(errors.numel())
