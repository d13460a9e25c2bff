"""Half-way back: weights between those before tuning and those after it (Wortsman et al. 2022, WiSE-FT).

What was learned and what was forgotten often lie apart on that line: a point in between keeps most of both, and costs
nothing but measuring a few of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lavra.errors import LavraError

Weights = Mapping[str, Tensor]
ALPHAS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0)


def interpolate(base: Weights, tuned: Weights, alpha: float) -> dict[str, Tensor]:
    """(1 - α) · base + α · tuned, in float32 and rounded once to the tuned weights' type: 0 is the base, 1 the tuned
    model, exactly. Raises LavraError for weights that are not of one model."""
    if not 0 <= alpha <= 1:
        raise LavraError(f"alpha is {alpha!r}; it lies between 0, the model before, and 1, the model after")
    different = sorted(base.keys() ^ tuned.keys())
    different += [name for name in base.keys() & tuned.keys() if base[name].shape != tuned[name].shape]
    if different:
        raise LavraError(f"the two models have not the same weights ({different[0]}); take a model and its own tuning")
    found = {}
    for name, after in tuned.items():
        before = base[name].to(after.device)
        if not after.is_floating_point() or alpha in (0.0, 1.0):
            found[name] = (after if alpha == 1.0 else before).to(after.dtype).clone()
        else:
            found[name] = torch.lerp(before.float(), after.float(), alpha).to(after.dtype)
    return found


@dataclass(frozen=True)
class Point:
    """What was measured at ``alpha``: ``task``, what was tuned for, and ``general``, what was there before; losses,
    lower is better."""

    alpha: float
    task: float
    general: float


@dataclass(frozen=True)
class Curve:
    """``recommended``: the point with the best task loss of those that forget at most ``allowed``, as a share of the
    base's general loss; ``reason`` in a sentence."""

    points: tuple[Point, ...]
    recommended: Point
    reason: str


@torch.no_grad()
def measure_curve(
    model: nn.Module,
    base: Weights,
    tuned: Weights,
    measure: Callable[[nn.Module], tuple[float, float]],
    *,
    alphas: Sequence[float] = ALPHAS,
    allowed: float = 0.01,
) -> Curve:
    """``measure(model)`` gives (task, general) losses, asked from the lowest alpha to the highest; ``model`` has the
    tuned weights afterwards. ``base`` and ``tuned``: all weights, or those that were trained."""
    points = []
    for alpha in sorted({0.0, 1.0, *alphas}):
        with _weights(model, interpolate(base, tuned, alpha), back=tuned):
            points.append(Point(alpha, *measure(model)))
    return recommend(points, allowed=allowed)


def recommend(points: Sequence[Point], *, allowed: float = 0.01) -> Curve:
    """See :class:`Curve`. Where every point but the base forgets more, the base is what is recommended, and said."""
    known = sorted(points, key=lambda point: point.alpha)
    if not known or known[0].alpha != 0.0:
        raise LavraError("the curve needs the model before tuning, alpha 0, to compare with")
    before = known[0]
    good = [p for p in known if math.isfinite(p.task) and p.general <= before.general * (1 + allowed)]
    best = min(good or [before], key=lambda point: (point.task, point.alpha))
    rise = best.general / before.general - 1 if before.general else 0.0
    last = known[-1]
    if best.alpha == 0.0:
        reason = f"no point is better at the task without losing more than {allowed:.0%} on general text"
    elif best is last:
        reason = f"tuning cost {max(rise, 0):.1%} on general text, within the {allowed:.0%} allowed: keep all of it"
    else:
        gained = (before.task - best.task) / (before.task - last.task) if before.task > last.task else 1.0
        reason = f"{gained:.0%} of what tuning gained, for {max(rise, 0):.1%} on general text"
    return Curve(tuple(known), best, reason)


@contextmanager
def _weights(model: nn.Module, held: Weights, back: Weights) -> Iterator[None]:
    put(model, held)
    try:
        yield
    finally:
        put(model, back)


@torch.no_grad()
def put(model: nn.Module, held: Weights) -> None:
    """Copy ``held`` into the parameters of ``model`` that are called so."""
    parameters = dict(model.named_parameters())
    for name, value in held.items():
        parameters[name].copy_(value)
