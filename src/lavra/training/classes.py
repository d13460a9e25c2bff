"""How good a classifier is, and whether its probabilities can be believed: accuracy, macro-F1, confusion, calibration.

A network trained with cross entropy is too sure of itself; one number, the temperature, repairs most of that without
changing a single decision (Guo et al. 2017, On Calibration of Modern Neural Networks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 15
"""Guo et al. 2017, section 2."""

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Report:
    """``confusion``: (labels, labels), rows are what is true; ``f1``: of each label; ``majority``: the accuracy of
    always giving the commonest label, which a classifier has to beat; ``ece``: see :func:`calibration_error`."""

    labels: tuple[str, ...]
    count: int
    accuracy: float
    macro_f1: float
    majority: float
    ece: float
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]
    confusion: tuple[tuple[int, ...], ...]

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "labels": list(self.labels)}


def judge(probabilities: Floats, truth: Integers, labels: Sequence[str]) -> Report:
    """Of one label a text: ``probabilities`` (N, labels), ``truth`` (N,). A label that is neither there nor given has
    an F1 of 0, as in scikit-learn."""
    given, count = probabilities.argmax(1), len(labels)
    confusion = np.zeros((count, count), dtype=np.int64)
    np.add.at(confusion, (truth, given), 1)
    return _report(confusion, probabilities.max(1), given == truth, labels, np.diag(confusion), confusion)


def judge_many(probabilities: Floats, truth: Floats, labels: Sequence[str], threshold: float = 0.5) -> Report:
    """Of any number of labels a text: ``truth`` (N, labels) of zeros and ones. Accuracy is that of every single yes or
    no; ``confusion`` has, for each label, its true and false ones: rows (true, missed, wrongly given, rightly not)."""
    given, wanted = probabilities >= threshold, truth > 0.5
    hits = (given & wanted).sum(0)
    missed, false = (~given & wanted).sum(0), (given & ~wanted).sum(0)
    table = np.stack([hits, missed, false, (~given & ~wanted).sum(0)], 1)
    confidence = np.where(given, probabilities, 1 - probabilities).ravel()
    right = (given == wanted).ravel()
    precision, recall, f1 = _scores(hits, hits + false, hits + missed)
    share = wanted.mean(0)
    return Report(
        tuple(labels), len(truth), float(right.mean()), float(f1.mean()),
        float(np.maximum(share, 1 - share).mean()), calibration_error(confidence, right),
        _floats(precision), _floats(recall), _floats(f1), tuple(tuple(map(int, row)) for row in table),
    )  # fmt: skip


def _report(
    confusion: Integers, confidence: Floats, right: npt.NDArray[np.bool_], labels: Sequence[str], hits: Integers,
    table: Integers,
) -> Report:  # fmt: skip
    precision, recall, f1 = _scores(hits, confusion.sum(0), confusion.sum(1))
    total = int(confusion.sum())
    return Report(
        tuple(labels), total, float(hits.sum() / total), float(f1.mean()), float(confusion.sum(1).max() / total),
        calibration_error(confidence, right), _floats(precision), _floats(recall), _floats(f1),
        tuple(tuple(map(int, row)) for row in table),
    )  # fmt: skip


def _scores(hits: Integers, given: Integers, wanted: Integers) -> tuple[Floats, Floats, Floats]:
    precision, recall = hits / np.maximum(given, 1), hits / np.maximum(wanted, 1)
    return precision, recall, 2 * hits / np.maximum(given + wanted, 1)


def _floats(values: Floats) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


# ── calibration ──────────────────────────────────────────────────────────────────────────────────────────────────


def calibration_error(confidence: Floats, right: npt.NDArray[np.bool_], bins: int = BINS) -> float:
    """The expected calibration error: how far, on average, confidence is from the share that is right (Guo et al. 2017,
    eq. 3)."""
    return sum(abs(held - said) * count for said, held, count in reliability(confidence, right, bins)) / max(
        1, len(confidence)
    )


def reliability(
    confidence: Floats, right: npt.NDArray[np.bool_], bins: int = BINS
) -> list[tuple[float, float, int]]:  # fmt: skip
    """(mean confidence, share right, count) of each of equally wide bins that holds anything."""
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return [
        (float(confidence[place == b].mean()), float(right[place == b].mean()), int((place == b).sum()))
        for b in range(bins)
        if (place == b).any()
    ]


def fit_temperature(logits: Floats, truth: Integers | Floats, *, many: bool = False) -> float:
    """The T with which softmax(logits / T) (or σ) has the least negative log likelihood of ``truth``, from texts that
    were not trained on. The likelihood is convex in 1 / T, so a search of its one valley is exact; kept between 0.05
    and 20."""

    def loss(inverse: float) -> float:
        z = logits.astype(np.float64) * inverse
        if many:
            return float((np.logaddexp(0, z) - truth * z).mean())
        top = z.max(1)
        return float((top + np.log(np.exp(z - top[:, None]).sum(1)) - z[np.arange(len(z)), truth]).mean())

    low, high = 1 / 20, 1 / 0.05
    golden = (5**0.5 - 1) / 2
    while high - low > 1e-6 * high:
        left, right = high - golden * (high - low), low + golden * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return 2 / (low + high)


def reliability_diagram(before: Sequence[tuple[float, float, int]], after: Sequence[tuple[float, float, int]]) -> str:
    """An SVG: how often a classifier was right against how sure it was; the diagonal is perfect calibration."""
    size, edge = 320, 44

    def at(x: float, y: float) -> tuple[float, float]:
        return round(edge + x * size, 1), round(16 + (1 - y) * size, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size + edge + 150} {size + edge + 16}" role="img" '
        'aria-label="Reliability" font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{size + edge + 150}" height="{size + edge + 16}" fill="#fff"/>',
    ]
    for tick in range(0, 11, 2):
        (x, bottom), (left, y) = at(tick / 10, 0), at(0, tick / 10)
        parts.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle" fill="#555">{tick / 10:g}</text>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end" fill="#555">{tick / 10:g}</text>')
        parts.append(f'<line x1="{left}" x2="{left + size}" y1="{y}" y2="{y}" stroke="#ddd"/>')
    (x1, y1), (x2, y2) = at(0, 0), at(1, 1)
    parts.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#999" stroke-dasharray="4 4"/>')
    largest = max([count for _, _, count in (*before, *after)], default=1)
    for row, (name, points, colour) in enumerate((("before", before, "#c2410c"), ("calibrated", after, "#2563eb"))):
        path = " ".join("{},{}".format(*at(said, held)) for said, held, _ in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for said, held, count in points:
            x, y = at(said, held)
            radius = 2 + 6 * (count / largest) ** 0.5
            parts.append(f'<circle cx="{x}" cy="{y}" r="{radius:.1f}" fill="{colour}" fill-opacity="0.5"/>')
        parts.append(f'<text x="{edge + size + 12}" y="{32 + 18 * row}" fill="{colour}">{escape(name)}</text>')
    parts.append(f'<text x="{edge + size / 2}" y="{size + edge + 10}" text-anchor="middle">confidence</text>')
    parts.append(f'<text x="{edge}" y="12">share right</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
