"""Half-way back to the base after tuning (WiSE-FT), with what each mix is worth: ``training/interpolation.py`` applied
to a run.

Between a model and its tuning lie the means of their weights. With an adapter it is the same line, gone along by
scaling what the adapter adds: the low-rank product is linear in B, so B alone is scaled; IA³'s factors go towards 1,
DoRA's lengths towards those of the base. So the mix of an adapter is an adapter, and costs no base to be written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lavra.errors import LavraError
from lavra.model.adapters import Adapted, Adapters, weight_of
from lavra.model.base import Model
from lavra.training.curve import Line, draw
from lavra.training.interpolation import ALPHAS, Curve, interpolate, measure_curve, put
from lavra.workspace.tuning.base import load_again
from lavra.workspace.tuning.measure import GENERAL, LOSS, TASKS_RIGHT, Measure

if TYPE_CHECKING:
    from lavra.workspace.tuning.base import Prepared
    from lavra.workspace.tuning.run import Job

FILE, PICTURE = "interpolation.json", "interpolation.svg"


@dataclass(frozen=True)
class Mixed:
    """``curve``: what was measured, and the point recommended; ``taken``: the share of tuning in what was kept;
    ``figures``: everything measured of each point."""

    curve: Curve
    taken: float
    allowed: float
    figures: Mapping[float, Mapping[str, float]]

    @property
    def rule(self) -> str:
        """How a point is recommended, in a sentence."""
        return (
            "Recommended is the mix with the lowest held-out loss of those that lose at most "
            f"{self.allowed:.1%} of the base's bits per byte on general text."
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "recommended": self.curve.recommended.alpha,
            "reason": self.curve.reason,
            "taken": self.taken,
            "points": [
                {"share": share, **{name: round(value, 6) for name, value in figures.items()}}
                for share, figures in sorted(self.figures.items())
            ],
        }

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows, for a report."""
        rows = []
        for share, found in sorted(self.figures.items()):
            mark = "recommended" if share == self.curve.recommended.alpha else ""
            mark += (", " if mark else "") + "taken" if share == self.taken else ""
            tasks = f"{found[TASKS_RIGHT]:.0f}" if TASKS_RIGHT in found else ""
            rows.append([f"{share:g}", f"{found[LOSS]:.4f}", f"{found[GENERAL]:.4f}", tasks, mark])
        return ["share of tuning", "held-out loss", "general bits per byte", "tasks right", ""], rows

    def picture(self) -> str:
        """The trade-off as SVG: to the left less is forgotten, further down more is learned."""
        line = [(point.general, point.task) for point in self.curve.points]
        names = [f"{point.alpha:g}" for point in self.curve.points]
        best = self.curve.recommended
        return draw(
            "What was learned against what was forgotten",
            [
                Line("share of tuning", line, "#2563eb", dots=True, labels=names),
                Line("recommended", [(best.general, best.task)], "#c2410c", dots=True),
            ],
            x_name="general text, bits per byte",
            y_name="held-out loss",
            whole=True,
        )


def go_back(job: Job, prepared: Prepared, measure: Measure) -> Mixed:
    """Measure the mixes of base and tuned model, and leave in the model the one that the settings ask for."""
    settings = job.settings
    assert settings.interpolate is not None
    after = trained_weights(prepared.model, prepared.adapters)
    before = starting_weights(job, prepared)
    figures: dict[float, Mapping[str, float]] = {}
    asked = settings.interpolate
    shares = sorted({*ALPHAS, asked} if isinstance(asked, (int, float)) else ALPHAS)
    places = iter(shares)

    def measured(model: nn.Module) -> tuple[float, float]:
        assert isinstance(model, Model)
        found = measure.thoroughly(model)
        figures[next(places)] = found
        return found[LOSS], found[GENERAL]

    curve = measure_curve(
        prepared.model, before, after, measured, alphas=shares, allowed=settings.forget_at_most
    )  # fmt: skip
    taken = 1.0 if asked == "curve" else curve.recommended.alpha if asked == "auto" else float(asked)
    with torch.no_grad():
        put(prepared.model, interpolate(before, after, taken))
    return Mixed(curve, taken, settings.forget_at_most, figures)


def trained_weights(model: Model, adapters: Adapters | None) -> dict[str, Tensor]:
    """Copies of what was trained, by name in the model."""
    trained = dict(model.named_parameters()) if adapters is None else adapters.parameters()
    return {name: parameter.detach().clone() for name, parameter in trained.items()}


@torch.no_grad()
def starting_weights(job: Job, prepared: Prepared) -> dict[str, Tensor]:
    """The same weights as they must be for the model to be its base."""
    adapters = prepared.adapters
    whole: Mapping[str, Tensor] = {}
    if adapters is None or adapters.whole:
        whole = dict(load_again(job.base, prepared.model).named_parameters())
    if adapters is None:
        return {name: whole[name].detach() for name, _ in prepared.model.named_parameters()}
    found = {name: whole[name].detach() for name in adapters.whole}
    for path, adapted in adapters.by_path.items():
        found |= {f"{path}.{name}": value for name, value in _adding_nothing(adapted).items()}
    return found


def _adding_nothing(adapted: Adapted) -> dict[str, Tensor]:
    """The parameters with which an adapter is no change, as near to its own as there are."""
    found = {}
    for name, parameter in adapted.named_parameters():
        kind, _, number = name.partition(".")
        if kind == "base":
            continue
        if kind == "down":
            found[name] = parameter.detach().clone()
        elif kind == "up":
            found[name] = torch.zeros_like(parameter)
        elif kind == "scales":
            found[name] = torch.ones_like(parameter)
        elif kind == "magnitude":
            rows = adapted.parts[int(number)].rows
            found[name] = weight_of(adapted.base).float()[rows].norm(dim=1).to(parameter.dtype)
        else:
            raise LavraError(f"there is no way back from {adapted.config.method} to the base: leave --interpolate out.")
    return found
