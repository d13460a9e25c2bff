"""Which of two answers a person preferred, learned without a reward model.

| objective | compares | needs the model before training | use it when |
|---|---|---|---|
| :class:`DPO` | log-ratios to a reference | yes | a tuned model is to be aligned; the usual first choice |
| :class:`DPO` "ipo" | the same per token, squared | yes | preferences are nearly certain: DPO then overfits |
| :class:`DPO` "normalised" | the same per token | yes | answers of very unequal lengths |
| :class:`ORPO` | odds, beside the chosen answers' own loss | no | a base model is tuned and aligned in one go |
| :class:`SimPO` | mean log-probabilities, with a margin | no | memory or time for a reference is missing |

All take :class:`Pair` and count pairs. ``kto.py`` is for single answers that were good or bad.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavra.errors import LavraError
from lavra.objectives.answers import (
    Metrics,
    Remembered,
    Text,
    answer_log_probabilities,
    by_text,
    in_a_row,
    mean_of,
    token_log_probabilities,
)
from lavra.objectives.objective import Batch


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt. ``margin``: by how much the chosen one is better, where the annotators said so;
    ``reference``: log p of both answers before training (``reference.py``)."""

    chosen: Text
    rejected: Text
    margin: float = 0.0
    reference: tuple[float, ...] | None = None

    @property
    def texts(self) -> tuple[Text, ...]:
        return self.chosen, self.rejected

    def referred(self, reference: tuple[float, ...]) -> Pair:
        return replace(self, reference=reference)


@dataclass(frozen=True)
class Sides:
    """What a model says of P pairs: ``log_p_2P`` of the chosen answers and of the rejected, their ``lengths_2P`` in
    tokens, and the reference's log p where there is one."""

    log_p_2P: Tensor
    lengths_2P: Tensor
    reference_2P: Tensor | None = None

    @property
    def ratios_2P(self) -> Tensor:
        """log p / p_reference."""
        assert self.reference_2P is not None
        return self.log_p_2P - self.reference_2P

    @property
    def means_2P(self) -> Tensor:
        """log p a token."""
        return self.log_p_2P / self.lengths_2P


@dataclass
class _Pairwise(ABC):
    """A loss a pair, of its :class:`Sides`; and what is logged of all of them alike."""

    needs_reference: ClassVar[bool]
    _remembered: Remembered = field(default_factory=Remembered, init=False, repr=False, compare=False)

    @abstractmethod
    def losses(self, sides: Sides) -> Tensor:
        """(P,)."""

    @abstractmethod
    def rewards(self, sides: Sides) -> Tensor:
        """What the objective makes grow of the chosen answers and shrink of the rejected, (2, P)."""

    def collate(self, examples: Sequence[Pair]) -> Batch:
        """Chosen answers first, then the rejected."""
        extra = {}
        if self.needs_reference:
            if any(pair.reference is None for pair in examples):
                raise LavraError(
                    f"{type(self).__name__} compares with the model before training; compute the references first"
                )
            extra["reference_2P"] = torch.tensor([pair.reference for pair in examples], dtype=torch.float32).T
        texts = [pair.chosen for pair in examples] + [pair.rejected for pair in examples]
        return in_a_row(texts, extra={"pairs": torch.tensor(len(examples)), **extra})

    def sides(self, model: nn.Module, batch: Batch) -> Sides:
        """One pass over both answers of all pairs."""
        pairs = int(batch.extra["pairs"])
        log_p, lengths = answer_log_probabilities(model, batch, 2 * pairs)
        return Sides(log_p.view(2, pairs), lengths.view(2, pairs), batch.extra.get("reference_2P"))

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        sides = self.sides(model, batch)
        self._remembered.keep(batch, self._metrics(sides))
        return self.losses(sides).sum(), batch.extra["pairs"]

    def metrics(self, model: nn.Module, batch: Batch) -> Metrics:
        """``accuracy``: of pairs whose chosen answer has the greater reward; ``margin`` between the two rewards, and
        both rewards; ``kl``, with a reference: how far the model has moved, see :func:`drift`."""
        found = self._remembered.of(batch)
        return found if found is not None else self._metrics(self.sides(model, batch))

    @torch.no_grad()
    def _metrics(self, sides: Sides) -> Metrics:
        chosen, rejected = self.rewards(sides)
        found = {
            "accuracy": mean_of(chosen > rejected),
            "margin": mean_of(chosen - rejected),
            "reward_chosen": mean_of(chosen),
            "reward_rejected": mean_of(rejected),
        }
        return found if sides.reference_2P is None else found | {"kl": drift(sides)}


def drift(sides: Sides) -> tuple[Tensor, Tensor]:
    """Σ log p_reference / p and the number of tokens. Their quotient estimates KL(reference ‖ model) a token as far as
    the answers of the set are such as the reference would give; it is below 0 where the model has come to like them."""
    return -sides.ratios_2P.detach().sum(), sides.lengths_2P.sum()


@dataclass
class DPO(_Pairwise):
    """-log σ(β · Δ), where Δ is the difference of log-ratios to the reference (Rafailov et al. 2023, eq. 7).

    ``beta``: how dear it is to move away from the reference. ``kind`` "ipo": (Δ - 1 / 2β)², with log-ratios a token
    (Azar et al. 2023, eq. 17; the authors' own normalisation); "normalised": the sigmoid of log-ratios a token.
    ``label_smoothing`` ε: the share of pairs that the annotators had the wrong way round (Mitchell 2023, conservative
    DPO; not of "ipo").
    """

    beta: float = 0.1
    kind: Literal["sigmoid", "ipo", "normalised"] = "sigmoid"
    label_smoothing: float = 0.0
    needs_reference: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self.beta, self.label_smoothing)
        if self.kind == "ipo" and self.label_smoothing:
            raise LavraError("IPO has no label smoothing: its target is bounded already; leave one of them out")

    def losses(self, sides: Sides) -> Tensor:
        ratios = sides.ratios_2P if self.kind == "sigmoid" else sides.ratios_2P / sides.lengths_2P
        difference = ratios[0] - ratios[1]
        if self.kind == "ipo":
            return (difference - 1 / (2 * self.beta)).square()
        return smoothed(self.beta * difference, self.label_smoothing)

    def rewards(self, sides: Sides) -> Tensor:
        return self.beta * sides.ratios_2P


@dataclass
class SimPO(_Pairwise):
    """-log σ(β · (mean log p of the chosen answer - that of the rejected) - γ) (Meng et al. 2024, eq. 6).

    ``gamma``: by how much the chosen answer shall win.
    """

    beta: float = 2.0
    gamma: float = 1.0
    label_smoothing: float = 0.0
    needs_reference: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check(self.beta, self.label_smoothing)

    def losses(self, sides: Sides) -> Tensor:
        chosen, rejected = sides.means_2P
        return smoothed(self.beta * (chosen - rejected) - self.gamma, self.label_smoothing)

    def rewards(self, sides: Sides) -> Tensor:
        return self.beta * sides.means_2P


@dataclass
class ORPO(_Pairwise):
    """-mean log p(chosen) - β · log σ(log odds ratio), of mean log-probabilities (Hong et al. 2024, eq. 6 and 7).

    A pair's first term is the mean over its own tokens. ``prompts``: over the prompt's too, as the authors' code has
    it; the paper's formula is of the answer alone.
    """

    beta: float = 0.1
    prompts: bool = False
    needs_reference: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check(self.beta, 0.0)

    def collate(self, examples: Sequence[Pair]) -> Batch:
        texts = [pair.chosen for pair in examples] + [pair.rejected for pair in examples]
        return in_a_row(texts, prompts=self.prompts, extra={"pairs": torch.tensor(len(examples))})

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        if batch.weights_BT is None:
            return super().loss(model, batch)
        pairs = int(batch.extra["pairs"])
        found_BT = token_log_probabilities(model, batch)
        log_p = by_text(found_BT * batch.weights_BT, batch, 2 * pairs).view(2, pairs)
        lengths = by_text(batch.weights_BT, batch, 2 * pairs).view(2, pairs)
        sides = Sides(log_p, lengths)
        self._remembered.keep(batch, self._metrics(sides))
        whole = by_text(found_BT, batch, 2 * pairs) / by_text(torch.ones_like(found_BT), batch, 2 * pairs)
        return (self._odds(sides) - whole[:pairs]).sum(), batch.extra["pairs"]

    def losses(self, sides: Sides) -> Tensor:
        return self._odds(sides) - sides.means_2P[0]

    def _odds(self, sides: Sides) -> Tensor:
        chosen, rejected = sides.means_2P
        odds = (chosen - rejected) - (log_one_less(chosen) - log_one_less(rejected))
        return -self.beta * F.logsigmoid(odds)

    def rewards(self, sides: Sides) -> Tensor:
        return self.beta * sides.means_2P


def smoothed(scores: Tensor, label_smoothing: float) -> Tensor:
    """-(1 - ε) log σ(s) - ε log σ(-s)."""
    if not label_smoothing:
        return -F.logsigmoid(scores)
    return -(1 - label_smoothing) * F.logsigmoid(scores) - label_smoothing * F.logsigmoid(-scores)


def log_one_less(log_p: Tensor) -> Tensor:
    """log(1 - p), exact for p near 0 and near 1 (Mächler 2012); p = 1 counts as the number just below it."""
    log_p = log_p.clamp_max(-torch.finfo(log_p.dtype).eps)
    small = torch.log1p(-log_p.clamp_max(-math.log(2)).exp())
    large = torch.log(-torch.expm1(log_p.clamp_min(-math.log(2))))
    return torch.where(log_p < -math.log(2), small, large)


def _check(beta: float, label_smoothing: float) -> None:
    if not (beta > 0 and math.isfinite(beta)):
        raise LavraError(f"beta is {beta!r}; it must be positive")
    if not 0 <= label_smoothing < 0.5:
        raise LavraError(f"label smoothing is {label_smoothing!r}; it is a share from 0 to below a half")
