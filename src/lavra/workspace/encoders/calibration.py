"""A classifier that believes itself no more than it should: a temperature, put into its own weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lavra.model.base import Model
from lavra.objectives.classification import Classification, LabelledText
from lavra.training.classes import fit_temperature, reliability, reliability_diagram
from lavra.workspace.encoders.classes import FEWEST_TO_CALIBRATE, assess, classes_page, predict, probabilities
from lavra.workspace.encoders.run import REPORT


def calibrate(
    model: Model,
    objective: Classification,
    choosing: Sequence[LabelledText],
    test: Sequence[LabelledText],
    names: Sequence[str],
    place: Path,
) -> dict[str, Any]:
    """Divide the logits of ``model`` by the temperature that suits ``choosing``, so that whoever loads it has it; write
    the report on ``test``, its page and the reliability diagram to ``place``. The report."""
    many = objective.many
    enough = len(choosing) >= FEWEST_TO_CALIBRATE
    temperature = fit_temperature(*predict(model, objective, choosing), many=many) if enough else 1.0
    logits, truth = predict(model, objective, test)
    raw, calm = (probabilities(logits / t, many=many) for t in (1.0, temperature))
    before, after = (assess(believed, truth, names, many=many) for believed in (raw, calm))
    diagram = reliability_diagram(_points(raw, truth, many=many), _points(calm, truth, many=many))
    (place / "reliability.svg").write_text(diagram, "utf-8")
    head = model.head.classifier
    assert head is not None
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(parameter.float() / temperature)
    report = {"temperature": temperature, "ece_before": before.ece, "test": after.as_json(), "many": many}
    (place / REPORT).write_text(json.dumps(report, indent=2, ensure_ascii=False), "utf-8")
    (place / "classes.md").write_text(classes_page(report), "utf-8")
    return report


def _points(believed: np.ndarray, truth: np.ndarray, *, many: bool) -> list[tuple[float, float, int]]:
    """Of the diagram: confidence, how often it was right, how many."""
    if many:
        given = believed >= 0.5
        return reliability(np.where(given, believed, 1 - believed).ravel(), (given == (truth > 0.5)).ravel())
    return reliability(believed.max(1), believed.argmax(1) == truth)
