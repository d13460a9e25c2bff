"""Embedding tuning as the loop sees it: texts go through the model, their vectors into a loss of this room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lavra.errors import LavraError
from lavra.model.base import Model
from lavra.model.config import Pooling
from lavra.model.heads import embed
from lavra.objectives.embeddings.cached import in_two_passes
from lavra.objectives.embeddings.loss import VectorLoss
from lavra.objectives.objective import Batch
from lavra.objectives.padding import GROUP_TOKENS, group_by_length, pad, rows_of


@dataclass(frozen=True)
class TextTuple:
    """One example: ``texts``, the token ids of anchor, positive, negatives … with the model's own prompts and special
    tokens; ``label``, if the loss needs a number; ``vectors``, (columns, D) or (D,), if it needs a teacher's."""

    texts: tuple[tuple[int, ...], ...]
    label: float = 0.0
    vectors: npt.NDArray[np.float32] | None = field(default=None, compare=False)

    @property
    def tokens(self) -> int:
        return sum(len(text) for text in self.texts)


@dataclass(frozen=True)
class Embedding:
    """``loss_of`` the unit vectors of a batch's texts, pooled as the model's recipe says.

    Each text is computed among others of its length, ``group_tokens`` places at once. ``cached``: with the activations
    of one group at a time (see ``cached.py``), for batches that would not fit otherwise. A batch is never cut further:
    in-batch negatives are what is in it.
    """

    loss_of: VectorLoss
    pooling: Pooling = "mean"
    pad_id: int = 0
    cached: bool = False
    group_tokens: int = GROUP_TOKENS

    def check(self, examples: Sequence[TextTuple]) -> None:
        """Raises LavraError for an example that the loss has no use for, by its number."""
        least, most = self.loss_of.columns
        for number, example in enumerate(examples):
            count, name = len(example.texts), type(self.loss_of).__name__
            if count < least or (most is not None and count > most) or count != len(examples[0].texts):
                wanted = f"{least}" if most == least else f"{least} or more" if most is None else f"{least} to {most}"
                raise LavraError(f"example {number} has {count} texts; {name} takes {wanted}, as many in each example")
            if self.loss_of.labels == "binary" and example.label not in (0, 1):
                raise LavraError(f"example {number} has the label {example.label:g}; {name} takes 1 (alike) or 0")
            if self.loss_of.labels == "vector" and example.vectors is None:
                raise LavraError(f"example {number} has no vector of a teacher, which {name} needs")

    def collate(self, examples: Sequence[TextTuple]) -> Batch:
        """All first texts, then all second ones …; ``labels`` (B,), or (columns, B, D) of a teacher."""
        columns = len(examples[0].texts)
        ids_BT, segments_BT = pad([example.texts[c] for c in range(columns) for example in examples], self.pad_id)
        labels = torch.tensor([example.label for example in examples], dtype=torch.float32)
        extra = {"labels": labels}
        if self.loss_of.labels == "vector":
            taught = [np.broadcast_to(np.atleast_2d(_given(e)), (columns, _given(e).shape[-1])) for e in examples]
            extra["vectors"] = torch.from_numpy(np.stack(taught, 1))
        return Batch(ids_BT=ids_BT, segments_BT=segments_BT, extra=extra)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        labels = batch.extra["vectors"] if self.loss_of.labels == "vector" else batch.extra["labels"]
        vectors_ND = self.vectors(model, batch)
        total, count = self.loss_of(vectors_ND.split(len(batch.extra["labels"])), labels)
        return total, count.to(total.device)

    def vectors(self, model: nn.Module, batch: Batch) -> Tensor:
        """(columns · B, D), float32, each of length 1."""
        assert isinstance(model, Model)
        segments_BT = batch.segments_BT
        assert segments_BT is not None
        lengths = (segments_BT != 0).sum(1).tolist()
        groups = list(group_by_length(lengths, self.group_tokens))

        def compute(rows: Sequence[int]) -> Tensor:
            ids, mask, valid = rows_of(batch.ids_BT, segments_BT, rows, causal=model.config.causal)
            return embed(model(ids, mask=mask), valid, self.pooling)

        if self.cached and torch.is_grad_enabled():
            return in_two_passes(compute, groups)
        found = torch.cat([compute(rows) for rows in groups])
        order = torch.tensor([index for rows in groups for index in rows], device=found.device)
        return found[order.argsort()]


def _given(example: TextTuple) -> npt.NDArray[np.float32]:
    assert example.vectors is not None
    return np.asarray(example.vectors, dtype=np.float32)
