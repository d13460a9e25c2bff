"""What tuning left of each model: the table of the page and of the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lavra.workspace.studying.report.verdict import interval

Json = Mapping[str, Any]
COLUMNS = {
    "bits_per_byte": "general_text",
    "tasks": "general_tasks",
    "stereotypes": "stereotypes",
    "crows_pairs": "crows_pairs",
    "by_heart_learned": "by_heart_learned",
    "by_heart_held": "by_heart_held",
}
"""Figures of a model in ``study.json``, by the words that stand over them."""


def measured_columns(record: Json) -> list[str]:
    """Those that some model has."""
    return [name for name in COLUMNS if any(name in row and row[name]["count"] for row in record.get("models", ()))]


def ability_cells(row: Json, columns: list[str]) -> list[str]:
    """A model's figures with their intervals; of what was tuned the base's mean, its own, and the paired change."""
    return [_cell(row, name) for name in columns]


def _cell(row: Json, name: str) -> str:
    found = row.get(name)
    if not found or not found["count"]:
        return "–"
    before, change = row.get(f"{name}_before"), row.get(f"{name}_change")
    if change is not None and before is not None:  # paired: far less data shows a change than two intervals suggest
        moved = f"{change['mean']:+.3f} [{change['low']:+.3f}, {change['high']:+.3f}]"
        return f"{before['mean']:.3f} → {found['mean']:.3f} ({moved})"
    return interval(found) if before is None else f"{before['mean']:.3f} → {interval(found)}"
