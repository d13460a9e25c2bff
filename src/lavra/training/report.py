"""A run's report: what was planned, what it took, the loss curve; as Markdown and as one HTML page."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from lavra.store.files import write_atomically
from lavra.training.callbacks import Callback, Result
from lavra.training.curve import Line, draw
from lavra.training.plan import duration
from lavra.training.run import RunDirectory

log = logging.getLogger("lavra.training")

_SMOOTH = 0.9
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}"
    "svg{width:100%}"
)


@dataclass(frozen=True)
class Section:
    """Something else that a run has to report: sentences, a table, and a picture (an SVG) under its file's name."""

    title: str
    text: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    picture: tuple[str, str] | None = None


class Report(Callback):
    """Writes it when the run ends, however it ends."""

    def __init__(self, run: RunDirectory, title: str = "Training") -> None:
        self.run, self.title = run, title

    def end(self, result: Result) -> None:
        try:
            write_report(self.run, result, title=self.title)
        except OSError as error:  # a full disk: the weights matter more
            log.warning("The report of %s could not be written (%s).", self.run.path, error.strerror)


def write_report(
    run: RunDirectory, result: Result | None = None, *, title: str = "Training", sections: Sequence[Section] = ()
) -> None:
    """``report.md``, ``report.html`` and ``loss.svg`` in the run's directory, from what stands there; ``sections`` and
    their pictures first."""
    metrics, evaluations, events = run.lines("metrics"), run.lines("evaluations"), run.lines("events")
    curve = loss_curve(metrics, evaluations)
    facts = _facts(run.description, metrics, result)
    write_atomically(run.path / "loss.svg", curve.encode())
    for name, picture in (section.picture for section in sections if section.picture):
        write_atomically(run.path / name, picture.encode())
    write_atomically(run.path / "report.md", _markdown(title, facts, sections, evaluations, events).encode())
    write_atomically(run.path / "report.html", _html(title, facts, sections, evaluations, events, curve).encode())


def loss_curve(metrics: Iterable[Mapping[str, Any]], evaluations: Iterable[Mapping[str, Any]]) -> str:
    """The loss of each step, smoothed, and the held-out one: an SVG."""
    raw = [(line["step"], line["loss"]) for line in metrics if isinstance(line["loss"], float)]
    smooth: list[tuple[float, float]] = []
    for step, loss in raw:
        smooth.append((step, loss if not smooth else _SMOOTH * smooth[-1][1] + (1 - _SMOOTH) * loss))
    held_out = [(line["step"], line["loss"]) for line in evaluations if isinstance(line.get("loss"), float)]
    lines = [Line("each step", raw, "#2563eb", thin=True), Line("training", smooth, "#2563eb")]
    if held_out:
        lines.append(Line("held out", held_out, "#c2410c", dots=True))
    return draw("Loss over steps", lines, x_name="step", y_name="loss")


def _facts(about: Mapping[str, Any], metrics: list[dict[str, Any]], result: Result | None) -> list[tuple[str, str]]:
    found = [(name, str(value)) for name, value in about.get("about", {}).items()]
    found += list(about.get("plan", {}).items())
    seconds = sum(line["seconds"] for line in metrics)
    if seconds:
        tokens = sum(line["tokens"] for line in metrics)
        share = sum(line["share"] * line["seconds"] for line in metrics) / seconds
        found.append(("took", f"{duration(seconds)}, {tokens / seconds:,.0f} tokens/s, {share:.0%} of the peak"))
    skipped = sum("skipped" in line for line in metrics)
    if skipped:
        found.append(("skipped", f"{skipped} updates"))
    if result is not None:
        found.append(("ended", result.message))
        found.append(("loss", f"{result.loss:.4f} over the last steps"))
    return found


def _columns(evaluations: list[dict[str, Any]]) -> list[str]:
    return ["step", *sorted({name for line in evaluations for name in line} - {"step"})]


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _markdown(
    title: str,
    facts: list[tuple[str, str]],
    sections: Sequence[Section],
    evaluations: list[Any],
    events: list[Any],
) -> str:
    text = [f"# {title}", "", "| | |", "|---|---|", *(f"| {name} | {_bar(value)} |" for name, value in facts)]
    for section in sections:
        text += ["", f"## {section.title}"]
        text += ["", section.text] if section.text else []
        text += ["", *_table(section.columns, section.rows)] if section.rows else []
        text += ["", f"![{section.title}]({section.picture[0]})"] if section.picture else []
    text += ["", "![Loss over steps](loss.svg)"]
    if evaluations:
        names = _columns(evaluations)
        rows = [[_cell(line.get(name, "")) for name in names] for line in evaluations]
        text += ["", "## Held out", "", *_table(names, rows)]
    if events:
        text += ["", "## Out of the ordinary", "", *(f"- step {line['step']}: {line['event']}" for line in events)]
    return "\n".join(text) + "\n"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join(map(_bar, row)) + " |" for row in rows]


def _bar(value: str) -> str:
    return value.replace("|", "\\|").replace("\n", " ")


def _html(
    title: str,
    facts: list[tuple[str, str]],
    sections: Sequence[Section],
    evaluations: list[Any],
    events: list[Any],
    curve: str,
) -> str:
    def row(cells: Iterable[str], kind: str = "td") -> str:
        return "<tr>" + "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in cells) + "</tr>"

    text = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>',
        f"<h1>{escape(title)}</h1><table>",
        *(row(fact) for fact in facts),
        "</table>",
    ]
    for section in sections:
        text.append(f"<h2>{escape(section.title)}</h2><p>{escape(section.text)}</p>")
        if section.rows:
            text += ["<table>", row(section.columns, "th"), *(row(cells) for cells in section.rows), "</table>"]
        text += [section.picture[1]] if section.picture else []
    text.append(curve)
    if evaluations:
        names = _columns(evaluations)
        text += ["<h2>Held out</h2><table>", row(names, "th")]
        text += [row([_cell(line.get(name, "")) for name in names]) for line in evaluations]
        text += ["</table>"]
    if events:
        text += ["<h2>Out of the ordinary</h2><ul>"]
        text += [f"<li>step {line['step']}: {escape(line['event'])}</li>" for line in events]
        text += ["</ul>"]
    return "\n".join([*text, "</html>"]) + "\n"
