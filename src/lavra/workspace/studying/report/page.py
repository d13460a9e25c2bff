"""A study as one HTML page: no script, nothing from elsewhere, in two languages, and fit to be printed.

The page holds every sentence in both languages; two radio buttons and a rule of CSS show one of them. A table is never
wider than the page: it scrolls, and is broken on paper.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from lavra.store.files import human_bytes
from lavra.workspace.studying.by_heart import MOST
from lavra.workspace.studying.report.abilities import COLUMNS, ability_cells, measured_columns
from lavra.workspace.studying.report.counted import counted
from lavra.workspace.studying.report.pictures import Point, pareto
from lavra.workspace.studying.report.verdict import interval, judge_verdict, verdict
from lavra.workspace.studying.report.words import LANGUAGES, WORDS, both, drawn, say, show
from lavra.workspace.studying.scoring import FAILURES, RIGHT

Json = Mapping[str, Any]

_STYLE = """
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#111827;background:#fff}
h1{font-size:1.6rem;margin:.2rem 0}h2{font-size:1.2rem;margin:2rem 0 .4rem}h3{font-size:1rem;margin:1.2rem 0 .3rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.85rem}
td,th{padding:.3rem .6rem .3rem 0;text-align:left;vertical-align:top;border-bottom:1px solid #e5e7eb}
th{vertical-align:bottom}td.n,th.n{text-align:right}td.n{font-variant-numeric:tabular-nums;white-space:nowrap}
tr.chosen td{background:#eff6ff;font-weight:600}
.decision{border-left:4px solid #1d4ed8;background:#eff6ff;padding:.6rem 1rem;font-size:1.05rem}
.note{color:#4b5563;font-size:.85rem}svg{width:100%;height:auto}
.q{border-top:2px solid #d1d5db;padding:.5rem 0;break-inside:avoid}
.side{display:grid;grid-template-columns:repeat(auto-fit,minmax(14rem,1fr));gap:.6rem;font-size:.82rem}
.said{background:#f9fafb;padding:.4rem .6rem;border:1px solid #e5e7eb;overflow-wrap:anywhere}
.own{border-color:#1d4ed8}.source{color:#4b5563;font-size:.78rem}
pre{background:#f3f4f6;padding:.6rem;overflow-x:auto;white-space:pre-wrap;font-size:.8rem}
summary{cursor:pointer}.choose{float:right;font-size:.85rem}
body:has(#pt:checked) .en,body:has(#en:checked) .pt{display:none}
@page{size:A4 landscape;margin:12mm}
@media print{body{max-width:none;margin:0;font-size:10pt}.choose{display:none}.scroll{overflow:visible}
 table{font-size:8pt}td.n{white-space:normal}tr{break-inside:avoid}svg{max-height:9cm}
 details::details-content{content-visibility:visible;display:block}h2,h3{break-after:avoid}}
"""


def page(record: Json) -> str:
    """The page of ``record.record``'s values."""
    first = "pt" if next(iter(record["questions"]["languages"]), "en") == "pt" else "en"
    title = WORDS["title"][LANGUAGES.index(first)]
    parts = [
        f'<!doctype html><html lang="{first}"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)} · {escape(str(record['name']))}</title><style>{_STYLE}</style></head><body>",
        _chooser(first),
        f"<h1>{show('title')}</h1>",
        f'<p class="note">{escape(str(record["name"]))} · {escape(record["made"])} · Lavra {escape(record["lavra"])} · '
        f"{escape(record['machine'])}</p>",
        *_decision(record),
        *_ways(record),
        *_pictures(record),
        *_costs(record),
        *_failures(record),
        *_measures(record),
        *_judge(record),
        *_abilities(record),
        *_parts(record, "topics", "topics", "topic"),
        *_parts(record, "documents", "per_document", "document"),
        *_questions(record),
        *_answers(record),
        *_again(record),
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _chooser(first: str) -> str:
    buttons = [
        f'<label><input type="radio" name="language" id="{language}"{" checked" if language == first else ""}> '
        f"{name}</label>"
        for language, name in zip(LANGUAGES, ("English", "Português"), strict=True)
    ]
    return f'<div class="choose" role="group">{" ".join(buttons)}</div>'


def _decision(record: Json) -> list[str]:
    said = {language: " ".join(sentences) for language, sentences in verdict(record).items()}
    return [f"<h2>{show('decision')}</h2>", f'<p class="decision">{both(said)}</p>']


def _ways(record: Json) -> list[str]:
    by = record["measure"]
    explained = say("by_quality") if by == "quality" else say("by_other", measure=by)
    head = ["way", "model", "answered", "quality", "refusal", "whole_p50", "state"]
    rows = []
    for way in _ordered(record):
        measured = way.get("measures", {})
        rows.append(
            (
                way["name"] == (record["decision"] or {}).get("chosen"),
                [
                    escape(way["name"]),
                    escape(way["model"] or "–"),
                    str(way["answered"]),
                    escape(interval(measured["quality"])) if measured else "–",
                    escape(interval(measured["refusal"])) if measured else "–",
                    _number(way.get("latency", {}).get("whole_p50")),
                    show(way["state"], reason=way["reason"]),
                ],
            )
        )
    heads = [_head(name) for name in head]
    return [
        f"<h2>{show('ways')}</h2>",
        _table(heads, rows),
        f'<p class="note">{show("intervals", by=explained)}</p>',
    ]


def _ordered(record: Json) -> list[Json]:
    """Best first, then those without figures."""
    return sorted(record["ways"], key=lambda way: -way["measures"]["quality"]["mean"] if way.get("measures") else 1.0)


def _pictures(record: Json) -> list[str]:
    drawings = []
    for axis in ("seconds", "money"):
        points = [
            Point(way["name"], x, quality["mean"], quality["low"], quality["high"], way["name"] in edge, chosen)
            for way in record["ways"]
            if way.get("measures") and (x := _cost_of(way, axis)) is not None
            for quality in [way["measures"]["quality"]]
            for edge in [record["fronts"][axis]]
            for chosen in [way["name"] == (record["decision"] or {}).get("chosen")]
        ]
        drawings.append(pareto(points, x_name=drawn(f"x_{axis}", currency=record["currency"]), y_name=drawn("quality")))
    if not any(drawings):
        return []
    return [f"<h2>{show('pictures')}</h2>", *drawings, f'<p class="note">{show("picture_note")}</p>']


def _cost_of(way: Json, axis: str) -> float | None:
    if axis == "seconds":
        found: float | None = way["latency"].get("whole_p50")
        return found
    money: float | None = way["per_answer"]["money_1000"]
    return money


def _costs(record: Json) -> list[str]:
    currency = record["currency"]
    head = ["way", "first_p50", "first_p95", "whole_p50", "whole_p95", "tokens_per_second", "memory", "disk", "build"]
    head += ["build_energy", "energy", "co2", "money"]
    rows = []
    for way in record["ways"]:
        if not way.get("measures"):
            continue
        late, built, each = way["latency"], way.get("built", {}), way["per_answer"]
        rows.append(
            (
                False,
                [
                    escape(way["name"]),
                    *(_number(late.get(name)) for name in head[1:6]),
                    human_bytes(way["memory"]) if way["memory"] else "–",
                    human_bytes(built["bytes"]) if built.get("bytes") else "–",
                    _minutes(built.get("seconds", 0.0)),
                    _energy(built.get("kwh", 0.0), built.get("kind")),
                    _energy(each["kwh"], each["kind"], 1000),
                    _number(each["co2_grams"] * 1e3 if each["co2_grams"] is not None else None),
                    _number(each["money_1000"]),
                ],
            )
        )
    notes = show("estimated", country=record["country"] or say("world")) + (
        "" if rows and record["spent"]["money"] is not None else " " + show("unpriced")
    )
    heads = [_head(name, currency=currency) for name in head]
    return [f"<h2>{show('cost')}</h2>", _table(heads, rows), f'<p class="note">{notes}</p>'] if rows else []


def _failures(record: Json) -> list[str]:
    rows = []
    did = [(way["name"], counted(way["counts"])) for way in record["ways"] if way.get("counts")]
    for way in record["ways"]:
        if way.get("measures"):
            wrong = way["failures"]
            cells = [str(way["answered"] - sum(wrong.values())), *(str(wrong.get(kind, 0)) for kind in FAILURES)]
            rows.append((False, [escape(way["name"]), *cells]))
    counts = {one: "; ".join(f"{name}: {said[one]}" for name, said in did) for one in LANGUAGES}
    note = show("failures_note", right=RIGHT, counts=counts if did else say("nothing"))
    heads = [_head(name) for name in ("way", "right", *FAILURES)]
    return [f"<h2>{show('failures')}</h2>", _table(heads, rows), f'<p class="note">{note}</p>']


def _measures(record: Json) -> list[str]:
    ways = [way for way in _ordered(record) if way.get("measures")]
    names = list(dict.fromkeys(name for way in ways for name in way["measures"]))
    rows = []
    for name in names:
        cells = [interval(way["measures"][name]) if name in way["measures"] else "–" for way in ways]
        rows.append((False, [f"<code>{escape(name)}</code>", *map(escape, cells)]))
    heads = ['<th scope="col"></th>', *(f'<th class="n" scope="col">{escape(way["name"])}</th>' for way in ways)]
    return [f"<h2>{show('measures')}</h2>", _table(heads, rows)]


def _judge(record: Json) -> list[str]:
    """Whether to believe the judge: how far it agrees with the measures that need none, and with itself."""
    if not record["judge"]:
        return []
    ways = [way for way in _ordered(record) if way.get("agreement")]
    whole = record["judge"]["agreement"]
    rows = []
    for name in whole:
        cells = [interval(way["agreement"][name]) if name in way["agreement"] else "–" for way in ways]
        rows.append((False, [f"<code>{escape(name)}</code>", *map(escape, [interval(whole[name]), *cells])]))
    heads = ['<th scope="col"></th>', _head("all_ways")]
    heads += [f'<th class="n" scope="col">{escape(way["name"])}</th>' for way in ways]
    note = show("judge_note", judge=record["judge"]["name"], counts=counted(record["judge"]["counts"]))
    return [
        f"<h2>{show('judge')}</h2>",
        f"<p><strong>{both(judge_verdict(record['judge']))}</strong></p>",
        *_unread(record["judge"].get("unread", ())),
        _table(heads, rows) if rows else "",
        f'<p class="note">{note}</p>',
    ]


def _unread(texts: Sequence[str]) -> list[str]:
    """What a judge wrote that is no verdict."""
    if not texts:
        return []
    return [f"<p>{show('judge_unread')}</p>", "<ul>", *(f"<li><q>{escape(text)}</q></li>" for text in texts), "</ul>"]


def _abilities(record: Json) -> list[str]:
    """What tuning left of each model; without that, what ``lavra tune`` says of it."""
    models, columns = record.get("models", ()), measured_columns(record)
    if not models:
        return _retained(record)
    rows = []
    for row in models:
        ways = escape(", ".join(row["ways"])) or show("base_model")
        rows.append((False, [f"<code>{escape(row['id'])}</code>", ways, *map(escape, ability_cells(row, columns))]))
    heads = [_head("model"), _head("of_ways"), *(_head(COLUMNS[name]) for name in columns)]
    note = show("abilities_note", most=MOST)
    return [f"<h2>{show('abilities')}</h2>", _table(heads, rows), f'<p class="note">{note}</p>']


def _retained(record: Json) -> list[str]:
    rows = []
    for way in record["ways"]:
        kept = way.get("retained") or {}
        if "general_before" in kept and "general_after" in kept:
            tasks = f"{kept['tasks_before']:.0f} → {kept['tasks_after']:.0f}" if "tasks_after" in kept else "–"
            bits = f"{kept['general_before']:.4f} → {kept['general_after']:.4f}"
            rows.append((False, [escape(way["name"]), bits, tasks]))
    if not rows:
        return []
    heads = [_head(name) for name in ("way", "bits", "tasks")]
    return [f"<h2>{show('retained')}</h2>", _table(heads, rows), f'<p class="note">{show("retained_note")}</p>']


def _parts(record: Json, title: str, field: str, name: str) -> list[str]:
    """Quality by part of the questions, a way a column."""
    ways = [way for way in _ordered(record) if way.get("measures")]
    parts = list(dict.fromkeys(part for way in ways for part in way[field]))
    if len(parts) < 2:
        return []
    rows = []
    for part in parts:
        cells = [_part(way[field].get(part)) for way in ways]
        most = max(way[field][part]["count"] for way in ways if part in way[field])
        rows.append((False, [escape(part), str(most), *cells]))
    heads = [_head(name), _head("answered"), *(f'<th class="n" scope="col">{escape(w["name"])}</th>' for w in ways)]
    return [f"<h2>{show(title)}</h2>", _table(heads, rows)]


def _part(values: Json | None) -> str:
    if values is None:
        return "–"
    if values["count"] < 2:
        return f"{values['mean']:.2f}"
    return f"{values['mean']:.2f} [{values['low']:.2f}, {values['high']:.2f}]"


def _questions(record: Json) -> list[str]:
    asked = record["questions"]
    counts = {name: asked[name] for name in ("asked", "unanswerable", "documents", "learned")}
    notes = [show(f"note_{note['name']}", **{k: v for k, v in note.items() if k != "name"}) for note in asked["notes"]]
    items = "".join(f"<li>{note}</li>" for note in notes)
    return [f"<h2>{show('questions')}</h2>", f"<p>{show('asked', **counts)}</p><ul>{items}</ul>"]


def _answers(record: Json) -> list[str]:
    parts = [f"<h2>{show('answers')}</h2>"]
    for way in _ordered(record):
        for kind in ("best", "worst"):
            if way[kind]:
                heading = show(kind, way=way["name"], count=len(way[kind]))
                shown = "".join(_answer(record["answers"][id], way["name"]) for id in way[kind])
                parts.append(f"<details><summary><strong>{heading}</strong></summary>{shown}</details>")
    return parts if len(parts) > 1 else []


def _answer(answer: Json, own: str) -> str:
    """A question, what is right, and what each way said: the one that it is about first."""
    right = " · ".join(answer["answers"])
    expected = show("expected") + escape(right) if right else show("unanswerable")
    sources = "".join(_source(source) for source in answer["sources"])
    names = sorted(answer["replies"], key=lambda name: name != own)
    said = "".join(_said(name, answer["replies"][name], name == own) for name in names)
    return (
        f'<div class="q"><p><strong>{escape(answer["question"])}</strong><br>{expected}</p>{sources}'
        f'<div class="side">{said}</div></div>'
    )


def _said(name: str, reply: Json, own: bool) -> str:
    verdict = show(reply["failure"]) if reply["failure"] else show("right")
    sources = "".join(_source(source) for source in reply["sources"])
    text = escape(reply["error"] or reply["text"])
    return (
        f'<div class="said{" own" if own else ""}"><strong>{escape(name)}</strong> {reply["quality"]:.2f} · {verdict}'
        f"<p>{text}</p>{sources}</div>"
    )


def _source(source: Json) -> str:
    return f'<p class="source">{escape(source["document"])}: “{escape(source["text"])}”</p>'


def _again(record: Json) -> list[str]:
    spent = record["spent"]
    money = f", {spent['money']:.4f} {record['currency']}" if spent["money"] is not None else ""
    budget = say("of_budget", share=f"{spent['share']:.0%}", budget=spent["budget"]) if spent["budget"] else ""
    energy = _energy(spent["kwh"], spent["kind"]) + " Wh"
    took = show("spent", minutes=_minutes(spent["minutes"] * 60), energy=energy, money=money, budget=budget)
    settings = {
        way["name"]: {"way": way["way"], "model": way["model"], "settings": way["settings"]}
        | ({"artifacts": way["built"]["artifacts"], **way["uses"]} if "built" in way else {})
        for way in record["ways"]
    }
    shown = json.dumps({"questions": record["questions"]["digest"], **settings}, indent=1, ensure_ascii=False)
    return [
        f"<h2>{show('again')}</h2><p>{took} {show('again_note')}</p>",
        f"<pre>{escape(record['command'])}</pre><pre>{escape(shown)}</pre>",
    ]


def _table(heads: Sequence[str], rows: Iterable[tuple[bool, Sequence[str]]]) -> str:
    """Cells are markup; the first column names the row."""
    body = []
    for chosen, cells in rows:
        shown = "".join(f"<td{'' if not number else ' class=n'}>{cell}</td>" for number, cell in enumerate(cells))
        body.append(f"<tr{' class=chosen' if chosen else ''}>{shown}</tr>")
    return f'<div class="scroll"><table><tr>{"".join(heads)}</tr>{"".join(body)}</table></div>'


def _head(name: str, **values: Any) -> str:
    shown = f"<code>{name}</code>" if name not in WORDS else show(name, **values)
    return f'<th scope="col"{"" if name in ("way", "topic", "document") else " class=n"}>{shown}</th>'


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _energy(kwh: float | None, kind: str | None, times: int = 1) -> str:
    """Watt-hours; what is estimated is marked."""
    if kwh is None:
        return "–"
    return ("~" if kind == "estimated" and kwh else "") + _number(kwh * 1000 * times)


def _minutes(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
