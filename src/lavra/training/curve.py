"""Curves as SVG, without a plotting library: a few lines of geometry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

_WIDTH, _HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 16, 28, 40
_MOST = 1500  # points a line: more cannot be seen


@dataclass(frozen=True)
class Line:
    """Points (x, y) in the order in which they are joined; ``colour`` as CSS says it; ``labels``: a word beside each
    point, where there are."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    thin: bool = False
    dots: bool = False
    labels: Sequence[str] = ()

    @property
    def drawn(self) -> Line:
        """Without points that are no numbers, and their labels."""
        kept = [number for number, point in enumerate(self.points) if all(map(math.isfinite, point))]
        labels = [self.labels[number] for number in kept] if self.labels else ()
        return replace(self, points=[self.points[number] for number in kept], labels=labels)


def draw(title: str, lines: Sequence[Line], *, x_name: str, y_name: str, whole: bool = False) -> str:
    """The lines over shared axes, whose marks are round numbers. Values that are no numbers are left out. ``whole``:
    every point is shown where it is, also one that lies far above the others."""
    lines = [line.drawn for line in lines]
    points = [point for line in lines for point in line.points]
    if not points:
        return ""
    heights = [y for _, y in points]
    xs, ys = _ticks([x for x, _ in points]), _ticks(heights if whole else _without_outliers(heights))

    def place(x: float, y: float) -> tuple[float, float]:
        y = min(max(y, ys[0]), ys[-1])
        across = (x - xs[0]) / ((xs[-1] - xs[0]) or 1) * (_WIDTH - _LEFT - _RIGHT)
        up = (y - ys[0]) / ((ys[-1] - ys[0]) or 1) * (_HEIGHT - _TOP - _BOTTOM)
        return round(_LEFT + across, 1), round(_HEIGHT - _BOTTOM - up, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
    ]
    for x in xs:
        at, bottom = place(x, ys[0])
        parts.append(f'<text x="{at}" y="{bottom + 16}" text-anchor="middle" fill="#555">{_number(x)}</text>')
    for y in ys:
        left, at = place(xs[0], y)
        parts.append(f'<line x1="{left}" x2="{_WIDTH - _RIGHT}" y1="{at}" y2="{at}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{at + 4}" text-anchor="end" fill="#555">{_number(y)}</text>')
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_name)}</text>')
    parts.append(f'<text x="{_LEFT}" y="16">{escape(y_name)}</text>')
    legend = _WIDTH - _RIGHT
    for line in reversed(lines):
        parts.append(f'<text x="{legend}" y="16" text-anchor="end" fill="{line.colour}">{escape(line.name)}</text>')
        legend -= 8 * len(line.name) + 16
    for line in lines:
        shown = [place(*point) for point in line.points[:: max(1, len(line.points) // _MOST)]]
        path = " ".join(f"{x},{y}" for x, y in shown)
        style = 'stroke-width="1" opacity="0.35"' if line.thin else 'stroke-width="2"'
        parts.append(f'<polyline points="{path}" fill="none" stroke="{line.colour}" {style}/>')
        if line.dots:
            parts += [f'<circle cx="{x}" cy="{y}" r="3.5" fill="{line.colour}"/>' for x, y in shown]
        for (x, y), label in zip(shown, line.labels, strict=False):
            parts.append(f'<text x="{x + 7}" y="{y - 6}" fill="{line.colour}">{escape(label)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _ticks(values: Sequence[float], count: int = 6) -> list[float]:
    """Round numbers around the values: 1, 2 or 5 times a power of ten apart."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _without_outliers(values: Sequence[float]) -> list[float]:
    """A spike must not press the rest of the curve flat."""
    ordered = sorted(values)
    middle, high = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.995) - 1]
    limit = max(high, middle) * 1.05 if high > 0 else ordered[-1]
    return [value for value in ordered if value <= limit] or ordered


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
