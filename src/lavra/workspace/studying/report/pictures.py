"""Quality against cost as an SVG, without a plotting library: each way a point with its interval, and the front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

_WIDTH, _HEIGHT = 760, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 24, 30, 48
_FRONT, _OTHER, _GRID = "#1d4ed8", "#6b7280", "#e5e7eb"
_LINE = 14
"""Height of a label."""


@dataclass(frozen=True)
class Point:
    """A way. ``x``: its cost; ``y``: its quality, from ``low`` to ``high``; ``chosen``: it is recommended."""

    name: str
    x: float
    y: float
    low: float
    high: float
    on_front: bool
    chosen: bool = False


def pareto(points: Sequence[Point], *, x_name: str, y_name: str) -> str:
    """The points over a logarithmic axis of cost; ``x_name`` and ``y_name`` are markup already. Empty without points
    that can be drawn."""
    shown = [point for point in points if math.isfinite(point.x) and point.x > 0 and math.isfinite(point.y)]
    if not shown:
        return ""
    ticks = _ticks([point.x for point in shown])
    low, high = math.log10(ticks[0]), math.log10(ticks[-1])

    def across(x: float) -> float:
        return round(_LEFT + (math.log10(x) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT), 1)

    def up(y: float) -> float:
        return round(_HEIGHT - _BOTTOM - min(max(y, 0.0), 1.0) * (_HEIGHT - _TOP - _BOTTOM), 1)

    names = ", ".join(escape(point.name) for point in shown)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{names}" '
        'font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
    ]
    for step in range(6):
        y = up(step / 5)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}" stroke="{_GRID}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end" fill="#555">{step / 5:.1f}</text>')
    for tick in ticks:
        x = across(tick)
        parts.append(f'<line x1="{x}" x2="{x}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" stroke="{_GRID}"/>')
        parts.append(f'<text x="{x}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle" fill="#555">{tick:g}</text>')
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 8}" text-anchor="middle">{x_name}</text>')
    parts.append(f'<text x="{_LEFT}" y="16">{y_name}</text>')
    edge = sorted((point for point in shown if point.on_front), key=lambda point: point.x)
    if len(edge) > 1:
        steps = " ".join(_steps([(across(point.x), up(point.y)) for point in edge]))
        parts.append(f'<polyline points="{steps}" fill="none" stroke="{_FRONT}" stroke-dasharray="5 4"/>')
    for point in shown:
        x, colour = across(point.x), _FRONT if point.on_front else _OTHER
        parts.append(
            f'<line x1="{x}" x2="{x}" y1="{up(point.low)}" y2="{up(point.high)}" stroke="{colour}" opacity="0.5"/>'
        )
        parts.append(f'<circle cx="{x}" cy="{up(point.y)}" r="{7 if point.chosen else 4.5}" fill="{colour}"/>')
    parts += _labels([(across(point.x), up(point.y), point) for point in shown])
    return "\n".join([*parts, "</svg>"]) + "\n"


def _labels(places: Sequence[tuple[float, float, Point]]) -> list[str]:
    """Names beside their points, moved down where they would lie on each other."""
    parts: list[str] = []
    taken: list[tuple[float, float, float]] = []
    for x, y, point in sorted(places, key=lambda place: place[1]):
        width = 7.0 * len(point.name)
        left = x - 10 - width if x + 10 + width > _WIDTH - 4 else x + 10
        at = y + 4
        while any(abs(at - other) < _LINE and left < end and begin < left + width for other, begin, end in taken):
            at += _LINE
        taken.append((at, left, left + width))
        weight = ' font-weight="bold"' if point.chosen else ""
        colour = _FRONT if point.on_front else _OTHER
        parts.append(f'<text x="{left:.1f}" y="{at:.1f}" fill="{colour}"{weight}>{escape(point.name)}</text>')
    return parts


def _steps(points: Sequence[tuple[float, float]]) -> list[str]:
    """Right, then up: between two ways of the front there is no third for a price between theirs."""
    found = [f"{points[0][0]},{points[0][1]}"]
    for (_, before), (x, y) in pairwise(points):
        found += [f"{x},{before}", f"{x},{y}"]
    return found


def _ticks(values: Sequence[float]) -> list[float]:
    """1, 2 and 5 times powers of ten, from below the least to above the greatest value."""
    low, high = min(values) * 0.9, max(values) * 1.1
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    first = max(number for number, mark in enumerate(marks) if mark <= low)
    last = min(number for number, mark in enumerate(marks) if mark >= high)
    shown = marks[first : last + 1]
    return shown if len(shown) <= 10 else [shown[0], *(m for m in shown[1:-1] if f"{m:e}"[0] == "1"), shown[-1]]
