"""KTO: single answers that somebody found good or bad (Ethayarajh et al. 2024), as thumbs under answers say.

A good answer shall be more probable, against the reference, than answers are on average, a bad one less; what they are
on average (z₀, an estimate of KL(model ‖ reference)) is measured on prompts with *other* prompts' answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from lavra.errors import LavraError
from lavra.objectives.answers import Metrics, Remembered, Text, answer_log_probabilities, in_a_row, mean_of
from lavra.objectives.objective import Batch
from lavra.objectives.packing import Integers


@dataclass(frozen=True)
class Judged:
    """An answer that was ``good`` or not; ``other``: its prompt with an answer to another one."""

    text: Text
    other: Text
    good: bool
    reference: tuple[float, ...] | None = None

    @property
    def texts(self) -> tuple[Text, ...]:
        return self.text, self.other

    def referred(self, reference: tuple[float, ...]) -> Judged:
        return replace(self, reference=reference)


def judge(texts: Sequence[Text], good: Sequence[bool], *, longest: int | None = None) -> list[Judged]:
    """Each text with the answer of the one before it, which is once and for all: another batch size or another number
    of ranks measures z₀ on the same texts. ``longest``: of a text in tokens; a borrowed answer is cut to fit."""
    if len(texts) < 2:
        raise LavraError("KTO compares with answers to other prompts; give at least two rows")

    def borrowed(index: int) -> Text:
        mine, before = texts[index], texts[index - 1]
        ids: Integers = np.concatenate([mine.ids[: mine.answer], before.ids[before.answer :]])
        return Text(ids if longest is None else ids[: max(longest, mine.answer + 1)], mine.answer)

    return [Judged(text, borrowed(index), bool(good[index])) for index, text in enumerate(texts)]


@dataclass
class KTO:
    """λ · (1 - σ(±β · (log-ratio - z₀))): + and ``good_weight`` for good answers, - and ``bad_weight`` for bad ones
    (section 4.1, eq. 8). Weights shall make up for unequal numbers: good · count of good within 1 to 4/3 of bad ·
    count of bad (section 4.2).

    z₀ is the mean over a micro-batch, without gradient and at least 0. The larger ``micro_tokens``, the steadier.
    """

    beta: float = 0.1
    good_weight: float = 1.0
    bad_weight: float = 1.0
    needs_reference: ClassVar[bool] = True
    _remembered: Remembered = field(default_factory=Remembered, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("beta", "good_weight", "bad_weight"):
            if not getattr(self, name) > 0:
                raise LavraError(f"KTO: {name} is {getattr(self, name)!r}; it must be positive")

    def collate(self, examples: Sequence[Judged]) -> Batch:
        if any(item.reference is None for item in examples):
            raise LavraError("KTO compares with the model before training; compute the references first")
        texts = [item.text for item in examples] + [item.other for item in examples]
        extra = {
            "good_P": torch.tensor([item.good for item in examples]),
            "reference_2P": torch.tensor([item.reference for item in examples], dtype=torch.float32).T,
            "cut": torch.tensor(sum(item.text.places for item in examples)),
        }
        return in_a_row(texts, extra=extra)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        ratios_P, z = self._ratios(model, batch)
        good_P = batch.extra["good_P"]
        self._remembered.keep(batch, self._metrics(ratios_P, z, good_P))
        signs = torch.where(good_P, 1.0, -1.0)
        weights = torch.where(good_P, self.good_weight, self.bad_weight)
        losses = weights * (1 - torch.sigmoid(signs * self.beta * (ratios_P - z)))
        return losses.sum(), torch.tensor(len(good_P), device=losses.device)

    def metrics(self, model: nn.Module, batch: Batch) -> Metrics:
        """``reward_good``, ``reward_bad``; ``margin``: of a good answer's reward over z₀ and of z₀ over a bad one's;
        ``accuracy``: of answers on the right side of z₀; ``kl``: z₀."""
        found = self._remembered.of(batch)
        return found if found is not None else self._metrics(*self._ratios(model, batch), batch.extra["good_P"])

    def _ratios(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Log-ratios of the answers, and z₀, which no gradient comes from."""
        count, cut = len(batch.extra["good_P"]), int(batch.extra["cut"])
        answers, borrowed = _part(batch, slice(0, cut)), _part(batch, slice(cut, None), before=count)
        log_p, _ = answer_log_probabilities(model, answers, count)
        with torch.no_grad():
            other, _ = answer_log_probabilities(model, borrowed, count)
        reference_2P = batch.extra["reference_2P"]
        return log_p - reference_2P[0], (other - reference_2P[1]).mean().clamp_min(0)

    @torch.no_grad()
    def _metrics(self, ratios_P: Tensor, z: Tensor, good_P: Tensor) -> Metrics:
        signed = torch.where(good_P, 1.0, -1.0) * (ratios_P - z)
        return {
            "reward_good": mean_of(self.beta * ratios_P[good_P]),
            "reward_bad": mean_of(self.beta * ratios_P[~good_P]),
            "margin": mean_of(self.beta * signed),
            "accuracy": mean_of(signed > 0),
            "kl": (z.detach() * len(good_P), torch.tensor(float(len(good_P)), device=z.device)),
        }


def _part(batch: Batch, places: slice, before: int = 0) -> Batch:
    """A stretch of the row; ``before``: how many texts stand before it."""
    assert batch.targets_BT is not None
    assert batch.segments_BT is not None
    return Batch(batch.ids_BT[:, places], batch.targets_BT[:, places], batch.segments_BT[:, places] - before)
