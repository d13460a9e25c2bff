"""Results as Markdown and as one HTML page that needs nothing else: scores beside what guessing gets, averages with
their coverage, a radar by category."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from lavra.evaluation.harness.averaging import category_scores
from lavra.evaluation.harness.comparing import Compared
from lavra.evaluation.harness.radar import radar

COLUMNS = ("task", "metric", "score", "95% interval", "guessing", "items", "shots")
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#111}"
    "table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}tr.low td{color:#595959}@media print{body{margin:0}}"
)
_READ = (
    "Guessing: the best of a choice by lot, always the same place, always the commonest answer, and the longest "
    "choice, over all items of the task. A score marked ≈ may be no more than that: its interval reaches down to it. "
    "Of bias: ≠ where the interval leaves out the value that means none."
)
Table = tuple[str, str, Sequence[str], Sequence[Sequence[str]]]
"""Title, a sentence, columns, rows."""


def guessed(score: Mapping[str, Any]) -> bool:
    """Whether the score may be guessing."""
    known = score.get("baselines")
    return known is not None and score["low"] is not None and bool(score["low"] <= known["best"])


def leans(score: Mapping[str, Any]) -> bool:
    """Whether a measure of bias is surely away from where there is none."""
    neutral = score.get("neutral")
    return neutral is not None and score["low"] is not None and not score["low"] <= neutral <= score["high"]


def _beside(score: Mapping[str, Any]) -> str:
    known = score.get("baselines")
    if "neutral" in score:
        return f"{score['neutral']:g} is none"
    return f"{known['best']:.3f} ({known['best_name']})" if known else ""


def rows(results: Mapping[str, Any]) -> list[list[str]]:
    """A line a task and a group, as :data:`COLUMNS`; members of a group go before it."""
    own = results["lavra"]
    found = []
    for name, score in {**own["scores"], **own["groups"]}.items():
        members = results.get("group_subtasks", {}).get(name) or [name]
        mark = " ≈" if guessed(score) else " ≠" if leans(score) else ""
        shots = sorted({results["n-shot"][member] for member in members if member in results.get("n-shot", {})})
        found.append(
            [
                name if members == [name] else f"{name} ({len(members)} tasks)",
                score["metric"],
                figure(score["value"]) + mark,
                f"{figure(score['low'])} – {figure(score['high'])}",
                _beside(score),
                f"{score['items']:,}",
                "/".join(map(str, shots)),
            ]
        )
    return found


def figure(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def average_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """A line a category, and the whole."""
    lines = [*found["categories"].items(), ("average", found["average"])]
    return [
        [
            name,
            figure(mean["value"]),
            "" if mean["stderr"] is None else f"± {1.96 * mean['stderr']:.3f}",
            f"{mean['present']} of {mean['expected']}",
            ", ".join(mean["missing"]) if name != "average" else "",
        ]
        for name, mean in lines
    ]


def by_category(results: Mapping[str, Any]) -> dict[str, float]:
    """Of tasks whose score is a share: how far above a choice by lot, by category."""
    grouped = {task for members in results.get("group_subtasks", {}).values() for task in members}
    own = results["lavra"]
    lines = [score for name, score in own["scores"].items() if name not in grouped] + list(own["groups"].values())
    if not lines:
        lines = list(own["scores"].values())
    return category_scores(
        [
            (line["category"] or "other", line["value"] or 0.0, (line.get("baselines") or {}).get("random", 0.0))
            for line in lines
            if line["higher_is_better"] and "neutral" not in line and 0 <= (line["value"] or 0) <= 1
        ]
    )


def tables(results: Mapping[str, Any]) -> list[Table]:
    own = results["lavra"]
    found: list[Table] = [("Scores", _READ, COLUMNS, rows(results))]
    for average in own["averages"].values():
        said = (
            "The mean of the benchmarks that there are; it is the published average only where the coverage is whole."
        )
        columns = ("category", "mean", "95%", "coverage", "missing")
        found.append((average["title"], said, columns, average_rows(average)))
    return found


def facts(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    config = results["config"]
    limit = config["limit"]
    found = [
        ("model", str(config["model"])),
        ("parameters", f"{config['model_num_parameters']:,} in {config['model_dtype']}"),
        ("harness", f"lm-eval {results['lm_eval_version']}"),
        ("items", "all" if limit is None else f"at most {limit} a task, drawn by {config['random_seed']}"),
    ]
    if config["apply_chat_template"]:
        found.append(("prompts", "laid out by the chat template"))
    own = results["lavra"]
    if own["cut_requests"]:
        found.append(("cut", f"{own['cut_requests']:,} prompts did not fit {results['max_length']:,} tokens"))
    if own.get("code"):
        found.append(("code", own["code"]))
    if own["absent"]:
        found.append(("no data", ", ".join(own["absent"])))
    return found


def report(results: Mapping[str, Any]) -> tuple[str, str, str]:
    """Markdown, HTML, and the radar."""
    model = str(results["config"]["model"])
    picture = radar(f"{model} by category, above guessing", [(model, by_category(results))])
    return _pages(f"Evaluation of {model}", facts(results), tables(results), picture)


def comparison(
    names: tuple[str, str], found: Sequence[Compared], notes: Sequence[str], both: Sequence[Mapping[str, Any]]
) -> tuple[str, str, str]:
    """Markdown, HTML and the radar of two evaluations."""
    columns = ("task", "metric", names[0], names[1], "difference", "95% interval", "p", "items")
    said = (
        f"Differences are {names[0]} less {names[1]}, on the same items; p is of the paired permutation test, "
        "corrected for the number of tasks (Holm). Where p is 0.05 or more, chance may have done it."
    )
    series = [(name, by_category(results)) for name, results in zip(names, both, strict=True) if "lavra" in results]
    picture = radar("Both models by category, above guessing", series) if series else ""
    facts_ = [("not compared", note) for note in notes]
    return _pages(
        f"{names[0]} and {names[1]} compared", facts_, [("Differences", said, columns, compared_rows(found))], picture
    )


def compared_rows(found: Sequence[Compared]) -> list[list[str]]:
    return [
        [
            one.task,
            one.metric,
            figure(one.a),
            figure(one.b),
            f"{one.difference.mean:+.3f}",
            f"{one.difference.low:+.3f} – {one.difference.high:+.3f}",
            f"{one.corrected:.3f}" if one.corrected >= 0.001 else "< 0.001",
            f"{one.difference.count:,}",
        ]
        for one in found
    ]


def _pages(title: str, known: Sequence[tuple[str, str]], found: Sequence[Table], picture: str) -> tuple[str, str, str]:
    return _markdown(title, known, found, picture), _html(title, known, found, picture), picture


def _markdown(title: str, known: Sequence[tuple[str, str]], found: Sequence[Table], picture: str) -> str:
    text = [f"# {title}", ""]
    if known:
        text += ["| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in known), ""]
    for name, said, columns, lines in found:
        text += [f"## {name}", "", said, "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        text += ["| " + " | ".join(map(_cell, line)) + " |" for line in lines] + [""]
    if picture:
        text += ["![By category](radar.svg)", ""]
    return "\n".join(text)


def _cell(value: str) -> str:
    return value.replace("|", "\\|").replace("\n", " ")


def _html(title: str, known: Sequence[tuple[str, str]], found: Sequence[Table], picture: str) -> str:
    text = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>"
    ]
    if known:
        text += ["<table>", *(f"<tr><th>{escape(n)}</th><td>{escape(v)}</td></tr>" for n, v in known), "</table>"]
    text.append(picture)
    for name, said, columns, lines in found:
        text += [f"<h2>{escape(name)}</h2><p>{escape(said)}</p><table>"]
        text.append("<tr>" + "".join(f"<th>{escape(column)}</th>" for column in columns) + "</tr>")
        for line in lines:
            mark = ' class="low"' if any(cell.endswith("≈") for cell in line) else ""
            cells = "".join(f"<td{_number(cell)}>{escape(cell)}</td>" for cell in line)
            text.append(f"<tr{mark}>{cells}</tr>")
        text.append("</table>")
    return "\n".join([*text, "</html>"]) + "\n"


def _number(cell: str) -> str:
    return ' class="n"' if cell[:1].isdigit() or cell[:1] in "+-<" else ""
