"""Results shown: tables for the terminal, the report, the ROC. Their sentences are in ``saying.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lavra.evaluation.memorisation.curves import COLOURS
from lavra.training.curve import Line, draw
from lavra.workspace.memorisation.saying import said_p, sentences

Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def tables(results: Mapping[str, Any]) -> list[tuple[str, Table]]:
    """(title, table) of each part that was asked for."""
    found: list[tuple[str, Table]] = []
    if "register" in results:
        part = results["register"]
        if part["measures"]:
            found.append(("Traps against their twins, which a coin left out", _measures(part["measures"])))
        if part["canaries"]:
            found.append(("Canaries among all that they might have been", _canaries(part["canaries"])))
        found.append(("Continued from a beginning", _extraction(part["extraction"])))
    if "texts" in results:
        found.append(("The texts against the controls", _measures(results["texts"]["measures"])))
        found.append(("Continued from a beginning", _extraction(results["texts"]["extraction"])))
    return found


def report(results: Mapping[str, Any]) -> str:
    """Markdown: the sentences, the tables, the facts."""
    lines = ["# Memorisation", "", f"Model: {results['model']}, in {results['dtype']}."]
    if results["reference"]:
        lines.append(f"Reference model: {results['reference']}.")
    lines += ["", *(f"- {sentence}" for sentence in sentences(results))]
    for title, (columns, rows) in tables(results):
        lines += ["", f"## {title}", "", "| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def roc_picture(curves: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """As SVG; empty without curves."""
    if not curves:
        return ""
    lines = [Line("chance", [(0.0, 0.0), (1.0, 1.0)], "#9ca3af", thin=True)]
    lines += [Line(name, [(x, y) for x, y in points], COLOURS[name]) for name, points in curves.items()]
    return draw("ROC", lines, x_name="others taken for members", y_name="members found", whole=True)


def _measures(rows: Sequence[Mapping[str, Any]]) -> Table:
    first = "repetitions" if "repetitions" in rows[0] else "members"
    columns = ("measure", first, "AUC", "95%", "found at 1% false", "p", "p corrected")
    return columns, [
        (
            row["measure"], str(row[first]), f"{row['auc']:.3f}", f"{row['low']:.3f} – {row['high']:.3f}",
            f"{row['found']:.0%}", said_p(row["p"]), said_p(row["p_corrected"]),
        )
        for row in rows
    ]  # fmt: skip


def _canaries(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("repetitions", "canaries", "exposure, bits", "of", "secrets tried", "ranked first", "p")
    return columns, [
        (
            str(row["repetitions"]) if row["inserted"] else "never", str(row["canaries"]),
            f"{row['bits']:.1f}" + ("" if row["estimated"] is None else f" (estimated {row['estimated']:.1f})"),
            f"{row['most']:.1f}", f"{row['tried']:,}", str(row["first"]), said_p(row["p"]),
        )
        for row in rows
    ]  # fmt: skip


def _extraction(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("texts", "count", "word for word", "longest run", "similarity")
    return columns, [
        (
            str(row["texts"]),
            str(row["count"]),
            f"{row['exact']} ({row['exact'] / max(1, row['count']):.0%})",
            f"{row['run']:.0%}",
            f"{row['similarity']:.2f}",
        )
        for row in rows
    ]
