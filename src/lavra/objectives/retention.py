"""Against forgetting: any objective with a price on leaving the model that one began with.

| | what is held | costs |
|---|---|---|
| :class:`KLToBase` | what the base says of the same texts | a pass of the base a batch |
| :func:`l2_sp` | all trained weights | a copy of them |
| :func:`ewc` | the weights that mattered for a sample of old texts | two copies, and a pass over the sample before |

Replay of old texts is the loader's; going back half-way afterwards is ``training/interpolation.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lavra.errors import LavraError
from lavra.model.base import Model
from lavra.model.divergence import Divergence, divergence, words_of
from lavra.objectives.answers import Metrics, Remembered
from lavra.objectives.objective import IGNORE, Batch, Objective, hidden_states

Weights = Mapping[str, Tensor]


@dataclass
class KLToBase:
    """``objective`` + w · Σ KL(base ‖ model) over the batch's targets (Li and Hoiem 2016, Learning without Forgetting).

    The sum is divided by what ``objective`` counts: a price a token for a language model, a price a pair for
    preferences. The base is either another model, ``base``, or this one without its adapter: ``without`` gives the
    context that switches it off (``adapters.switched_off``). The model's own pass is shared with the objective.
    """

    objective: Objective
    weight: float
    base: Model | None = None
    without: Callable[[], AbstractContextManager[None]] | None = None
    measure: Divergence = field(default_factory=Divergence)
    _remembered: Remembered = field(default_factory=Remembered, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if (self.base is None) == (self.without is None):
            raise LavraError("KL to the base needs the base: a model, or the adapter to switch off; not both")
        _check(self.weight)
        if self.base is not None:
            self.base.eval().requires_grad_(False)

    def collate(self, examples: Sequence[Any]) -> Batch:
        return self.objective.collate(examples)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        assert isinstance(model, Model)
        states: list[Tensor] = []
        hook = model.register_forward_hook(lambda _module, _given, hidden: states.append(hidden))
        try:
            total, count = self.objective.loss(model, batch)
        finally:
            hook.remove()
        kl, targets = self._kl(model, batch, states[0] if len(states) == 1 else hidden_states(model, batch))
        self._remembered.keep(batch, {"kl_to_base": (kl, targets)})
        return total + self.weight * kl, count

    def metrics(self, model: nn.Module, batch: Batch) -> Metrics:
        """The objective's, and ``kl_to_base`` a target."""
        found = self._remembered.of(batch)
        if found is None:
            with torch.no_grad():
                kl, targets = self._kl(model, batch, hidden_states(model, batch))
            found = {"kl_to_base": (kl, targets)}
        return _metrics(self.objective, model, batch) | found

    def _kl(self, model: nn.Module, batch: Batch, hidden_BTC: Tensor) -> tuple[Tensor, Tensor]:
        assert isinstance(model, Model)
        if batch.targets_BT is None:
            raise LavraError("KL to the base holds a model's words, and this objective learns none; take L2-SP or EWC")
        kept_BT = batch.targets_BT != IGNORE
        base = self.base if self.base is not None else model
        training = base.training
        base.eval()  # the base has no dropout
        try:
            with torch.no_grad(), self.without() if self.without is not None else nullcontext():
                words = words_of(base, hidden_states(base, batch)[kept_BT])
        finally:
            base.train(training)
        return divergence(model, hidden_BTC[kept_BT], words, self.measure), kept_BT.sum()


@dataclass
class Anchored:
    """``objective`` + w / 2 · Σ F (θ - θ₀)² over trained weights, once a step. Make it with :func:`l2_sp` or
    :func:`ewc`.

    The price is no part of ``loss``: it depends on no text, so the loop asks for it, and for its gradient, once a step
    and not in every micro-batch (:class:`~lavra.objectives.objective.Pulling`), over the float32 masters. Where weights
    are spread over ranks, each holds its own part of θ₀ and F."""

    objective: Objective
    weight: float
    start: Weights
    importance: Weights | None = None

    def __post_init__(self) -> None:
        _check(self.weight)

    def collate(self, examples: Sequence[Any]) -> Batch:
        return self.objective.collate(examples)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The objective's own."""
        return self.objective.loss(model, batch)

    def metrics(self, model: nn.Module, batch: Batch) -> Metrics:
        return _metrics(self.objective, model, batch)

    def price(self, weights: Mapping[str, Tensor]) -> Tensor:
        """w / 2 · Σ F (θ - θ₀)², (), float32; can be differentiated."""
        return torch.stack([self._force(name, weight)[1] for name, weight in weights.items()]).sum()

    @torch.no_grad()
    def pull(self, weights: Mapping[str, Tensor], sums: Mapping[str, Tensor], factor: float) -> Tensor:
        """The price of ``weights``; ``sums`` += factor · w F (θ - θ₀)."""
        prices = []
        for name, weight in weights.items():
            force, price = self._force(name, weight)
            sums[name].add_(force, alpha=factor)
            prices.append(price)
        return torch.stack(prices).sum()

    def take_part(self, rows: Mapping[str, slice]) -> None:
        """Keep these rows of what weights are held to."""
        self.start = {name: self._of(self.start, name)[part].clone() for name, part in rows.items()}
        if self.importance is not None:
            self.importance = {name: self._of(self.importance, name)[part].clone() for name, part in rows.items()}

    def _force(self, name: str, weight: Tensor) -> tuple[Tensor, Tensor]:
        """w F (θ - θ₀) of a weight, and its price."""
        moved = weight.float() - self._of(self.start, name).to(weight.device).float()
        force = self.weight * moved
        if self.importance is not None:
            force = force * self._of(self.importance, name).to(weight.device)
        return force, (force * moved).sum() / 2

    @staticmethod
    def _of(held: Weights, name: str) -> Tensor:
        if name not in held:
            raise LavraError(f"{name} is trained, and was not when it was anchored; anchor it anew")
        return held[name]


def l2_sp(objective: Objective, model: nn.Module, weight: float) -> Anchored:
    """Every trained weight is held to where it is now (Li et al. 2018, L2-SP, eq. 3)."""
    return Anchored(objective, weight, _now(model))


def ewc(objective: Objective, model: nn.Module, weight: float, importance: Weights) -> Anchored:
    """Elastic weight consolidation (Kirkpatrick et al. 2017, eq. 3): a weight is held by its ``importance``, from
    :func:`fisher` of the old texts."""
    return Anchored(objective, weight, _now(model), importance)


def fisher(model: nn.Module, objective: Objective, texts: Sequence[Any]) -> dict[str, Tensor]:
    """The diagonal of the empirical Fisher information of trained weights: the mean over ``texts`` of the squared
    gradient of a text's loss, float32. One text a pass, for squares of sums are no sums of squares."""
    if not texts:
        raise LavraError("EWC needs a sample of the texts that are not to be forgotten; give at least one")
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    found = {name: torch.zeros_like(parameter, dtype=torch.float32) for name, parameter in trained.items()}
    training = model.training
    model.eval()
    try:
        for text in texts:
            total, _ = objective.loss(model, objective.collate([text]).to(next(iter(trained.values())).device))
            gradients = torch.autograd.grad(total, list(trained.values()), allow_unused=True)
            for name, gradient in zip(trained, gradients, strict=True):
                if gradient is not None:
                    found[name] += gradient.float().square() / len(texts)
    finally:
        model.train(training)
    return found


def _now(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def _metrics(objective: Objective, model: nn.Module, batch: Batch) -> Metrics:
    given: Callable[[nn.Module, Batch], Metrics] | None = getattr(objective, "metrics", None)
    return dict(given(model, batch)) if given is not None else {}


def _check(weight: float) -> None:
    if not weight > 0:
        raise LavraError(f"the weight of what holds a model is {weight!r}; it must be positive")
