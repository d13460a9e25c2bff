"""Prompts and answers in one row, and what a model thinks of each: what objectives about whole answers share.

Answers of unequal lengths, padded to the longest, are half padding in a usual batch of pairs. Here all texts of a
micro-batch stand one after another in a single row, each a segment that sees only itself: nothing is padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from lavra.errors import LavraError
from lavra.model.base import Model
from lavra.model.heads import log_probabilities
from lavra.objectives.objective import IGNORE, Batch, hidden_states
from lavra.objectives.packing import Integers

Metrics = dict[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Text:
    """``ids`` (n,) of a prompt and its answer, which begins at ``answer``; only the answer's tokens are judged."""

    ids: Integers
    answer: int

    def __post_init__(self) -> None:
        if not 1 <= self.answer < len(self.ids):
            raise LavraError(
                f"a text of {len(self.ids)} tokens whose answer begins at {self.answer} has no prompt or no answer"
            )

    @property
    def places(self) -> int:
        """How many places of a row it takes: its last token is a target only."""
        return len(self.ids) - 1


class Item(Protocol):
    """What an objective about answers is given: some texts that are compared with one another. ``reference``: the
    log-probability of each text's answer under the model before training, where it is known."""

    @property
    def texts(self) -> tuple[Text, ...]: ...

    @property
    def reference(self) -> tuple[float, ...] | None: ...

    def referred(self, reference: tuple[float, ...]) -> Any:
        """The same with its ``reference``."""
        ...


SomeItem = TypeVar("SomeItem", bound=Item)


def places(item: Item) -> int:
    """What computing an item takes, for a loader."""
    return sum(text.places for text in item.texts)


def in_a_row(texts: Sequence[Text], *, prompts: bool = False, extra: dict[str, Tensor] | None = None) -> Batch:
    """``texts`` one after another, (1, T), as segments 1, 2, …; targets are the answers' tokens.

    ``prompts``: the prompts' tokens are targets too; ``weights_BT`` then says which are an answer's (1) and which
    not (0).
    """
    ids = np.concatenate([text.ids[:-1] for text in texts]).astype(np.int64)
    targets = np.concatenate([text.ids[1:] for text in texts]).astype(np.int64)
    lengths = [text.places for text in texts]
    segments = np.repeat(np.arange(1, len(texts) + 1, dtype=np.int32), lengths)
    answers = np.concatenate([np.arange(1, len(text.ids)) >= text.answer for text in texts])
    weights = None
    if prompts:
        weights = torch.from_numpy(answers.astype(np.float32))[None]
    else:
        targets = np.where(answers, targets, IGNORE)
    return Batch(
        ids_BT=torch.from_numpy(ids)[None],
        targets_BT=torch.from_numpy(targets)[None],
        segments_BT=torch.from_numpy(segments)[None],
        weights_BT=weights,
        extra=extra or {},
    )


def token_log_probabilities(model: nn.Module, batch: Batch) -> Tensor:
    """log p of each target, (B, T) float32; 0 where there is none. Logits exist some positions at a time."""
    assert isinstance(model, Model)
    assert batch.targets_BT is not None
    return log_probabilities(model, hidden_states(model, batch), batch.targets_BT, ignore=IGNORE)


def by_text(values_BT: Tensor, batch: Batch, texts: int) -> Tensor:
    """The sum of each text's values, (texts,)."""
    assert batch.segments_BT is not None
    sums = values_BT.new_zeros(texts + 1)
    return sums.index_add(0, batch.segments_BT.flatten().long(), values_BT.flatten())[1:]


def answer_log_probabilities(model: nn.Module, batch: Batch, texts: int) -> tuple[Tensor, Tensor]:
    """log p(answer | prompt) and the answer's length in tokens, (texts,) each, float32, for a batch of
    :func:`in_a_row`."""
    assert batch.targets_BT is not None
    found_BT = token_log_probabilities(model, batch)
    real_BT = (batch.targets_BT != IGNORE).to(found_BT.dtype)
    if batch.weights_BT is not None:
        found_BT, real_BT = found_BT * batch.weights_BT, real_BT * batch.weights_BT
    return by_text(found_BT, batch, texts), by_text(real_BT, batch, texts)


def ends(batch: Batch, texts: int) -> Tensor:
    """The flat index of each text's last place, (texts,)."""
    assert batch.segments_BT is not None
    segments_N = batch.segments_BT.flatten().long()
    last = segments_N.new_zeros(texts + 1)
    places_N = torch.arange(len(segments_N), device=segments_N.device)
    return last.scatter_reduce(0, segments_N, places_N, "amax", include_self=False)[1:]


@dataclass
class Remembered:
    """The metrics of the loss computed last, so that who asks for them after it costs no second pass."""

    _of: Batch | None = field(default=None, repr=False)
    _found: Metrics = field(default_factory=dict, repr=False)

    def keep(self, batch: Batch, metrics: Metrics) -> None:
        self._of = batch
        self._found = {name: (total.detach(), count.detach()) for name, (total, count) in metrics.items()}

    def of(self, batch: Batch) -> Metrics | None:
        return self._found if self._of is batch else None


def mean_of(values: Tensor) -> tuple[Tensor, Tensor]:
    """A sum and a count, as metrics are given."""
    values = values.detach().float()
    return values.sum(), torch.tensor(float(values.numel()), device=values.device)
