"""Classification: a text gets one label, or any number of them; or each word of it gets one (names of people, laws)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavra.errors import LavraError
from lavra.model.base import Model
from lavra.model.heads import classify
from lavra.objectives.objective import IGNORE, Batch
from lavra.objectives.padding import pad, rows_of


@dataclass(frozen=True)
class LabelledText:
    """``ids``: with special tokens; ``labels``: numbers of the right ones (of a token classifier: one a token, IGNORE
    where nothing is learned); ``types``: BERT's segments, where the text is two texts."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    types: tuple[int, ...] | None = None

    @property
    def tokens(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Classification:
    """The loss of one label a text: cross entropy, Σ w · -log p(label), and Σ w.

    ``weights``: of each label, for rare ones (:func:`balanced_weights`); ``label_smoothing`` ε: the target is 1 - ε of
    the label and ε of all (Szegedy et al. 2016, section 7). ``many``: any number of labels a text: binary cross entropy
    of each, over all labels; ``weights`` then multiply the *positive* side. Equals PyTorch's ``cross_entropy`` and
    ``binary_cross_entropy_with_logits`` with reduction "mean", once divided.
    """

    labels: int
    pad_id: int = 0
    many: bool = False
    label_smoothing: float = 0.0
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.weights and len(self.weights) != self.labels:
            raise LavraError(f"there are {self.labels} labels and {len(self.weights)} weights; give one for each")
        if not 0 <= self.label_smoothing < 1:
            raise LavraError(f"label smoothing is {self.label_smoothing:g}; it lies between 0 and 1")
        if self.many and self.label_smoothing:
            raise LavraError("labels are not smoothed where a text may have many; leave label smoothing at 0")

    def collate(self, examples: Sequence[LabelledText]) -> Batch:
        """``labels`` (B,), or (B, labels) of zeros and ones."""
        ids_BT, segments_BT = pad([example.ids for example in examples], self.pad_id)
        if self.many:
            labels = torch.zeros(len(examples), self.labels)
            for row, example in enumerate(examples):
                labels[row, list(example.labels)] = 1.0
        else:
            labels = torch.tensor([example.labels[0] for example in examples])
        extra = {"labels": labels}
        if any(example.types is not None for example in examples):
            extra["types"] = pad([example.types or (0,) * len(example.ids) for example in examples], 0)[0]
        return Batch(ids_BT=ids_BT, segments_BT=segments_BT, extra=extra)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        logits_BL, labels = scores(model, batch), batch.extra["labels"]
        weights = torch.tensor(self.weights, device=logits_BL.device) if self.weights else None
        if self.many:
            total = F.binary_cross_entropy_with_logits(logits_BL, labels, pos_weight=weights, reduction="sum")
            return total, torch.tensor(labels.numel(), device=total.device)
        total = F.cross_entropy(
            logits_BL, labels, weight=weights, label_smoothing=self.label_smoothing, reduction="sum"
        )
        count = torch.tensor(len(labels), device=total.device) if weights is None else weights[labels].sum()
        return total, count


@dataclass(frozen=True)
class TokenClassification:
    """The loss of one label a token; ``label_smoothing`` and ``weights`` as in :class:`Classification`. Sum over the
    tokens that have a label; count: their weights."""

    labels: int
    pad_id: int = 0
    label_smoothing: float = 0.0
    weights: tuple[float, ...] = ()

    def collate(self, examples: Sequence[LabelledText]) -> Batch:
        ids_BT, segments_BT = pad([example.ids for example in examples], self.pad_id)
        targets_BT, _ = pad([example.labels for example in examples], IGNORE)
        return Batch(ids_BT=ids_BT, targets_BT=targets_BT, segments_BT=segments_BT)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        assert batch.targets_BT is not None
        kept = batch.targets_BT != IGNORE
        logits_NL, targets_N = scores(model, batch)[kept], batch.targets_BT[kept]
        weights = torch.tensor(self.weights, device=logits_NL.device) if self.weights else None
        total = F.cross_entropy(
            logits_NL, targets_N, weight=weights, label_smoothing=self.label_smoothing, reduction="sum"
        )
        return total, kept.sum() if weights is None else weights[targets_N].sum()


def scores(model: nn.Module, batch: Batch) -> Tensor:
    """Logits in float32: (B, labels) of texts, (B, T, labels) of a token head."""
    assert isinstance(model, Model)
    assert batch.segments_BT is not None
    ids_BT, mask, valid_BT = rows_of(
        batch.ids_BT, batch.segments_BT, range(len(batch.ids_BT)), causal=model.config.causal
    )
    types = batch.extra.get("types")
    if types is not None and model.config.token_types:
        hidden_BTC = model(ids_BT, mask=mask, types_BT=types[:, : ids_BT.shape[1]])
    else:
        hidden_BTC = model(ids_BT, mask=mask)
    return classify(model, hidden_BTC, valid_BT).float()


def balanced_weights(counts: Sequence[int]) -> tuple[float, ...]:
    """n / (labels · n of the label), as scikit-learn's "balanced": each label weighs the same in all."""
    if min(counts) < 1:
        raise LavraError("a label without examples cannot be weighted; leave it out")
    return tuple(sum(counts) / (len(counts) * count) for count in counts)


def first_tokens(words: Sequence[int | None], labels: Sequence[int]) -> tuple[int, ...]:
    """The labels of words as labels of tokens: a word's first token has its label, the others and special tokens
    IGNORE (Devlin et al. 2019, section 5.3). ``words``: which word each token is of, None for none."""
    found, before = [], None
    for word in words:
        found.append(labels[word] if word is not None and word != before else IGNORE)
        before = word
    return tuple(found)
