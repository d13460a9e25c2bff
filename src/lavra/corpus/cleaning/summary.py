"""What the European Union's template for the public summary of training content asks of a provider (AI Act, article
53(1)(d); template of the AI Office, July 2025), as far as a corpus knows it: Markdown and JSON.

A corpus does not know its provider, nor what a model was trained on besides it. Those lines are there, empty and
marked, so that nobody takes the summary for finished.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lavra.corpus.cleaning.report import CleaningReport
from lavra.corpus.cleaning.settings import Cleaning

_TO_FILL = "*(to be filled in by the provider)*"
_BYTES_A_TOKEN = 4.0
_TOP = 0.1


def summary(report: CleaningReport, settings: Cleaning) -> dict[str, Any]:
    """The summary as data, by the template's sections."""
    tokens = report.bytes_kept / _BYTES_A_TOKEN
    size = "less than 1 billion" if tokens < 1e9 else "1 billion to 10 trillion" if tokens < 1e13 else "more than that"
    sources = report.representation.get("sources", {})
    sites = {name: value for name, value in sources.items() if "." in name and "/" not in name}
    top = dict(list(sites.items())[: max(1, round(_TOP * len(sites)))]) if sites else {}
    return {
        "1 General information": {
            "Provider and model": _TO_FILL,
            "Modality": "text",
            "Training data size": f"{size} tokens (about {tokens:,.0f}, at {_BYTES_A_TOKEN:g} bytes a token; "
            f"{report.documents_kept:,} documents, {report.bytes_kept / 1e6:,.1f} MB)",
            "Languages": _shares(report.representation.get("languages", {})),
            "Latest acquisition or collection": max(
                (year for year in report.representation.get("years", {}) if year.isdigit()), default="unknown"
            ),
        },
        "2 List of data sources": {
            "2.1 Publicly available datasets": _TO_FILL,
            "2.2 Private datasets of third parties": _TO_FILL,
            "2.3 Data crawled and scraped": _shares(top) or "none of the documents names a site it came from",
            "2.4 User data": _TO_FILL,
            "2.5 Synthetic data": _TO_FILL,
            "2.6 Other: the organisation's own documents, by folder": _shares(
                {name: value for name, value in sources.items() if name not in sites}
            ),
            "Licences": _shares(report.representation.get("licences", {})),
        },
        "3 Data processing": {
            "3.1 Reservation of rights (text and data mining)": _rights(report, settings),
            "3.2 Removal of illegal content": _TO_FILL,
            "3.3 Personal data": _personal(report, settings),
            "3.3 Quality, duplicates, contamination": {
                stage.name: f"{stage.documents_dropped:,} of {stage.documents_in:,} documents dropped"
                for stage in report.stages
                if stage.name in ("language", "quality", "exact", "near", "contamination", "perplexity", "paragraphs")
            },
        },
    }


def write_summary(report: CleaningReport, settings: Cleaning, out: Path) -> None:
    """``summary.json`` and ``summary.md`` into ``out``."""
    values = summary(report, settings)
    (out / "summary.json").write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    lines = [
        "# Summary of training content",
        "",
        "After the template of the European Union's AI Office. What a corpus cannot know is marked.",
    ]
    for section, entries in values.items():
        lines += ["", f"## {section}"]
        for name, value in entries.items():
            if isinstance(value, dict):
                lines += ["", f"**{name}**", "", *(f"- {key}: {what}" for key, what in value.items())]
            else:
                lines += ["", f"**{name}**: {value}"]
    (out / "summary.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _shares(sizes: dict[str, tuple[int, int]]) -> dict[str, str]:
    total = sum(size for _, size in sizes.values())
    return {
        name: f"{size / total:.1%} ({documents:,} documents, {size / 1e6:,.2f} MB)"
        for name, (documents, size) in sizes.items()
        if total
    }


def _rights(report: CleaningReport, settings: Cleaning) -> str:
    if not settings.has("licence"):
        return "the licence policy was switched off: every document was kept whatever its licence"
    allowed = "any stated licence" if "*" in settings.licences else ", ".join(settings.licences)
    dropped = next((stage.documents_dropped for stage in report.stages if stage.name == "licence"), 0)
    without = "dropped" if settings.unlicensed == "drop" else "kept, by the policy"
    return f"trained on: {allowed}; documents without a licence are {without}; {dropped:,} documents dropped"


def _personal(report: CleaningReport, settings: Cleaning) -> str:
    if not settings.has("personal"):
        return "personal data was not looked for"
    done = {"replace": "replaced by placeholders", "drop": "their documents dropped", "report": "left in the text"}
    found = ", ".join(f"{count:,} {kind}" for kind, count in report.personal.items()) or "none found"
    return f"{found}; {done[settings.personal]}; names of people are not looked for"
