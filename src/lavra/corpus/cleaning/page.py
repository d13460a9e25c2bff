"""The report of a cleaning as one HTML page: no script, nothing from elsewhere, fit to be printed."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from lavra.corpus.cleaning.report import TITLES, CleaningReport

_STYLE = """
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;max-width:58rem;margin:2rem auto;padding:0 1rem;color:#111827;background:#fff}
h1{font-size:1.6rem;margin:.2rem 0}h2{font-size:1.15rem;margin:1.8rem 0 .4rem}
table{border-collapse:collapse;width:100%;font-size:.88rem}
td,th{padding:.25rem .6rem .25rem 0;text-align:left;border-bottom:1px solid #e5e7eb;overflow-wrap:anywhere}
td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
td.bar{width:35%}td.bar div{background:#1d4ed8;height:.7rem;min-width:1px}
.said{border-left:4px solid #1d4ed8;background:#eff6ff;padding:.6rem 1rem}.note{color:#4b5563;font-size:.85rem}
@page{size:A4;margin:14mm}@media print{body{max-width:none;margin:0;font-size:10pt}tr{break-inside:avoid}}
"""
_SHOWN = 15


def page(report: CleaningReport) -> str:
    """The page."""
    kept = f"{report.documents_kept:,} of {report.documents_in:,} documents stay"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Cleaning of a corpus</title><style>{_STYLE}</style></head><body><h1>Cleaning of a corpus</h1>",
        f'<p class="said">{kept}: {report.bytes_kept / 1e6:,.1f} of {report.bytes_in / 1e6:,.1f} MB of text, in '
        f"{report.seconds:,.1f} s.</p>",
        "<h2>Stages</h2><table><tr><th>stage</th><th class='n'>in</th><th class='n'>dropped</th>"
        "<th class='n'>MB dropped</th><th class='n'>CPU s</th><th></th></tr>",
    ]
    for stage in report.stages:
        parts.append(
            f"<tr><td>{TITLES[stage.name]}</td><td class='n'>{stage.documents_in:,}</td>"
            f"<td class='n'>{stage.documents_dropped:,}</td><td class='n'>{stage.bytes_dropped / 1e6:,.2f}</td>"
            f"<td class='n'>{stage.seconds:,.1f}</td>{_bar(stage.documents_dropped, report.documents_in)}</tr>"
        )
    parts.append("</table>")
    if report.paragraphs:
        parts.append(f"<p class='note'>{report.said_of_paragraphs()}</p>")
    for stage in report.stages:
        if len(stage.reasons) > 1:
            parts.append(_counts(f"Dropped by {TITLES[stage.name].lower()}", stage.reasons))
    parts.append(_counts("Every rule that a document breaks", report.rules))
    parts.append(_counts("Personal data found, by kind", report.personal))
    parts.append(_counts("Documents changed by normalising", report.changes))
    if report.perplexity:
        title = f"Documents by bits per byte to {report.perplexity['model']}"
        parts.append(_counts(title, report.perplexity["histogram"], note=report.said_of_perplexity()))
    made_of = report.representation
    for title, name in (
        ("Languages kept", "languages"),
        ("Dialects", "dialects"),
        ("Sources", "sources"),
        ("Licences", "licences"),
        ("Topics, named by their terms (of a sample)", "topics"),
        ("Years", "years"),
        ("Lengths, in characters", "lengths"),
    ):
        parts.append(_sizes(title, made_of.get(name, {})))
    for kind, groups in made_of.get("people", {}).items():
        total = sum(groups.values())
        reference = made_of.get("references", {}).get(kind, {})
        said = "; ".join(f"{group}: {share:.0%} as reference" for group, share in reference.items())
        parts.append(_counts(f"Mentions of people: {kind}", groups, note=f"{total:,} mentions. {said}"))
    if report.mixture:
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td class='n'>{weight:.3f}</td></tr>"
            for name, weight in report.mixture.items()
        )
        parts.append(f"<h2>Mixture weights</h2><table>{rows}</table>")
    if report.contaminated:
        shown = list(report.contaminated.items())[:_SHOWN]
        items = "".join(f"<tr><td>{escape(source)}</td><td>{escape(item)}</td></tr>" for source, item in shown)
        more = len(report.contaminated) - len(shown)
        note = f"<p class='note'>… and {more:,} more, in report.json.</p>" if more else ""
        parts.append(f"<h2>Documents with evaluation items</h2><table>{items}</table>{note}")
    return "".join([*parts, "</body></html>\n"])


def _bar(value: float, whole: float) -> str:
    width = 100 * value / whole if whole else 0.0
    return f"<td class='bar'><div style='width:{width:.1f}%'></div></td>" if value else "<td class='bar'></td>"


def _counts(title: str, counts: Mapping[str, int], note: str = "") -> str:
    if not counts:
        return ""
    most = max(counts.values())
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td class='n'>{count:,}</td>{_bar(count, most)}</tr>"
        for name, count in list(counts.items())[:_SHOWN]
    )
    more = f"<p class='note'>… and {len(counts) - _SHOWN:,} more.</p>" if len(counts) > _SHOWN else ""
    said = f"<p class='note'>{escape(note)}</p>" if note else ""
    return f"<h2>{escape(title)}</h2>{said}<table>{rows}</table>{more}"


def _sizes(title: str, sizes: Mapping[str, tuple[int, int]]) -> str:
    if not sizes:
        return ""
    most = max(size for _, size in sizes.values())
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td class='n'>{documents:,}</td><td class='n'>{size / 1e6:,.2f} MB</td>"
        f"{_bar(size, most)}</tr>"
        for name, (documents, size) in list(sizes.items())[:_SHOWN]
    )
    more = f"<p class='note'>… and {len(sizes) - _SHOWN:,} more.</p>" if len(sizes) > _SHOWN else ""
    return f"<h2>{escape(title)}</h2><table>{rows}</table>{more}"
