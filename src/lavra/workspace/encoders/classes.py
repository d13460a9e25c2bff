"""How good a classifier is: its figures while it learns, and the page that a person reads in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lavra.model.base import Model
from lavra.objectives.classification import Classification, LabelledText, scores
from lavra.objectives.padding import group_by_length
from lavra.training.classes import Report, judge, judge_many

FEWEST_TO_CALIBRATE = 50
"""Texts below which a temperature would be fitted to chance; then it stays 1."""


class Classes:
    """Accuracy and macro-F1 of held-out texts, for the loop."""

    def __init__(self, objective: Classification, examples: Sequence[LabelledText], labels: Sequence[str]) -> None:
        self.objective, self.examples, self.labels = objective, examples, labels

    def __call__(self, forward: Any) -> dict[str, float]:
        logits, truth = predict(forward.model, self.objective, self.examples)
        report = assess(probabilities(logits, many=self.objective.many), truth, self.labels, many=self.objective.many)
        return {"accuracy": report.accuracy, "macro_f1": report.macro_f1}


def predict(model: Model, objective: Classification, examples: Sequence[LabelledText]) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, labels) and what is true, (N,) or (N, labels) of zeros and ones, as float64 and integers."""
    logits = np.empty((len(examples), len(model.config.labels)))
    truth = np.empty(logits.shape if objective.many else len(examples), dtype=np.int64)
    with torch.no_grad():
        for group in group_by_length([example.tokens for example in examples]):
            batch = objective.collate([examples[index] for index in group]).to(model.device)
            logits[group] = scores(model, batch).cpu().numpy()
            truth[group] = batch.extra["labels"].cpu().numpy()
    return logits, truth


def probabilities(logits: np.ndarray, *, many: bool) -> np.ndarray:
    """(N, labels): of ``many`` labels a text each for itself."""
    if many:
        return np.asarray(1 / (1 + _exp(-logits)))
    e = _exp(logits - logits.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))


def assess(believed: np.ndarray, truth: np.ndarray, labels: Sequence[str], *, many: bool) -> Report:
    return (judge_many if many else judge)(believed, truth, labels)


def classes_page(report: Mapping[str, Any]) -> str:
    """The report as Markdown: figures, a line a label, and what was taken for what."""
    test, labels = report["test"], report["test"]["labels"]
    lines = [
        f"Of {test['count']} texts that were held out: accuracy {test['accuracy']:.3f} (always the commonest answer: "
        f"{test['majority']:.3f}), macro-F1 {test['macro_f1']:.3f}.",
        "",
        _calibration_said(report),
        "",
        "| label | precision | recall | F1 |",
        "|---|---|---|---|",
    ]
    for index, name in enumerate(labels):
        figures = (test[key][index] for key in ("precision", "recall", "f1"))
        lines.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in figures) + " |")
    heads = ["right", "missed", "wrongly given", "rightly not"] if report["many"] else [f"→ {n}" for n in labels]
    lines += ["", "| true ↓ | " + " | ".join(heads) + " |", "|" + "---|" * (len(heads) + 1)]
    lines += [f"| {n} | " + " | ".join(map(str, row)) + " |" for n, row in zip(labels, test["confusion"], strict=True)]
    return "\n".join(lines) + "\n"


def _calibration_said(report: Mapping[str, Any]) -> str:
    after = float(report["test"]["ece"])
    if report["temperature"] == 1.0:
        return (
            f"Not calibrated (that takes {FEWEST_TO_CALIBRATE} held-out texts): its confidence is off by {after:.3f} "
            "on average."
        )
    return (
        f"Calibration: the expected error of its confidence was {report['ece_before']:.3f} and is {after:.3f} with "
        f"temperature {report['temperature']:.2f}, which is part of the model."
    )


def _exp(z: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(np.clip(z, -700, 700)))
