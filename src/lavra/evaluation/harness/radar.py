"""A radar, as SVG, without a plotting library: a spoke a category, a line a model. Fewer than three: bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#2563eb", "#c2410c", "#15803d", "#7e22ce")
_WIDTH, _SIZE, _RADIUS = 600, 420, 140
_RINGS = (0.25, 0.5, 0.75, 1.0)


def radar(title: str, series: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    """``series``: a name, and by category a score from 0 (guessing) to 1; below 0 is drawn as 0."""
    categories = list(dict.fromkeys(category for _, values in series for category in values))
    if not categories:
        return ""
    if len(categories) < 3:
        return _bars(title, categories, series)
    height = _SIZE + 24 * len(series)
    parts = _begin(title, _WIDTH, height)
    for ring in _RINGS:
        points = " ".join(_at(number, len(categories), ring) for number in range(len(categories)))
        parts.append(f'<polygon points="{points}" fill="none" stroke="#ddd"/>')
        x, y = _place(0, len(categories), ring)
        parts.append(f'<text x="{x + 4:.1f}" y="{y + 4:.1f}" fill="#767676" font-size="10">{ring:g}</text>')
    for number, category in enumerate(categories):
        x, y = _place(number, len(categories), 1.16)
        end = _at(number, len(categories), 1.0).split(",")
        middle = _WIDTH / 2
        parts.append(f'<line x1="{middle}" y1="{_SIZE / 2}" x2="{end[0]}" y2="{end[1]}" stroke="#ddd"/>')
        anchor = "middle" if abs(x - middle) < 20 else "start" if x > middle else "end"
        parts += _label(category, x, y, anchor)
    for (name, values), colour in zip(series, COLOURS * len(series), strict=False):
        there = [number for number, category in enumerate(categories) if category in values]
        points = " ".join(
            _at(number, len(categories), min(1.0, max(0.0, values[categories[number]]))) for number in there
        )
        parts.append(
            f'<polygon points="{points}" fill="{colour}" fill-opacity="0.15" stroke="{colour}" stroke-width="2">'
            f"<title>{escape(_said(name, values))}</title></polygon>"
        )
    parts += _legend([name for name, _ in series], _SIZE)
    return "".join([*parts, "</svg>"])


def _label(category: str, x: float, y: float, anchor: str) -> list[str]:
    """Two lines where there are two words or more, so that it fits beside the spokes."""
    words = category.split()
    cut = (len(words) + 1) // 2
    lines = [" ".join(words[:cut]), " ".join(words[cut:])] if len(words) > 1 else [category]
    return [
        f'<text x="{x:.1f}" y="{y + 14 * row:.1f}" text-anchor="{anchor}" fill="#333">{escape(line)}</text>'
        for row, line in enumerate(lines)
        if line
    ]


def _bars(title: str, categories: Sequence[str], series: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    row, left, width = 26, 170, 260
    height = 30 + row * len(categories) * len(series) + 24 * len(series)
    parts = _begin(title, _WIDTH, height)
    y = 20
    for category in categories:
        for (name, values), colour in zip(series, COLOURS * len(series), strict=False):
            value = min(1.0, max(0.0, values.get(category, 0.0)))
            parts.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end" fill="#333">{escape(category)}</text>')
            parts.append(f'<rect x="{left}" y="{y}" width="{value * width:.1f}" height="18" fill="{colour}"/>')
            said = f"{value:.2f}" if category in values else "–"
            parts.append(f'<text x="{left + value * width + 6:.1f}" y="{y + 13}" fill="#333">{said}</text>')
            parts.append(f"<title>{escape(_said(name, values))}</title>")
            y += row
    parts += _legend([name for name, _ in series], y + 6)
    return "".join([*parts, "</svg>"])


def _begin(title: str, width: int, height: int) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="12" '
        f'style="max-width:{width}px">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]


def _legend(names: Sequence[str], top: float) -> list[str]:
    found = []
    for row, (name, colour) in enumerate(zip(names, COLOURS * len(names), strict=False)):
        y = top + 24 * row
        found.append(f'<rect x="20" y="{y}" width="12" height="12" fill="{colour}"/>')
        found.append(f'<text x="38" y="{y + 11}" fill="#333">{escape(name)}</text>')
    return found


def _said(name: str, values: Mapping[str, float]) -> str:
    return f"{name}: " + ", ".join(f"{category} {value:.2f}" for category, value in values.items())


def _place(number: int, count: int, radius: float) -> tuple[float, float]:
    angle = 2 * math.pi * number / count - math.pi / 2
    return _WIDTH / 2 + math.cos(angle) * radius * _RADIUS, _SIZE / 2 + math.sin(angle) * radius * _RADIUS


def _at(number: int, count: int, radius: float) -> str:
    x, y = _place(number, count, radius)
    return f"{x:.1f},{y:.1f}"
