"""What a cleaning reports: as data (``report.json``) and as a page for people (``report.md``)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lavra.errors import LavraError

_SHOWN = 12
TITLES = {
    "licence": "Licence policy",
    "normalise": "Normalised",
    "language": "Language",
    "quality": "Quality rules",
    "personal": "Personal data",
    "exact": "Exact duplicates",
    "near": "Near-duplicates",
    "contamination": "Contamination",
    "perplexity": "Perplexity",
    "paragraphs": "Duplicate paragraphs",
}


@dataclass(frozen=True)
class StageReport:
    """What one stage met and dropped. Bytes are of UTF-8 text as it was read."""

    name: str
    documents_in: int
    bytes_in: int
    documents_dropped: int
    bytes_dropped: int
    reasons: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    """CPU seconds, of all workers together; 0 where a stage takes too little to be measured."""


@dataclass(frozen=True)
class CleaningReport:
    """The account of one cleaning."""

    documents_in: int
    documents_kept: int
    bytes_in: int
    bytes_kept: int
    stages: tuple[StageReport, ...]
    rules: dict[str, int]
    """Documents that break each quality rule, whether that is why they were dropped or not."""
    personal: dict[str, int]
    """Finds of each kind of personal data. The values are nowhere."""
    changes: dict[str, int]
    """Documents that each step of normalising changed."""
    clusters: dict[str, list[str]] = field(default_factory=dict)
    """Near-duplicates that were dropped, by the document that stays for them."""
    paragraphs: dict[str, int] = field(default_factory=dict)
    """Paragraphs that were taken out because another document keeps them: how many ``paragraphs`` and ``bytes``, out of
    how many ``documents``, and ``of`` how many in all; empty where the stage is off."""
    perplexity: dict[str, Any] = field(default_factory=dict)
    """``model``, documents ``read``, their ``histogram`` by bits per byte, and by language ``percentiles`` and the
    ``limits`` between which documents stay; empty where no model was asked."""
    contaminated: dict[str, str] = field(default_factory=dict)
    """Documents that hold an evaluation item, and which."""
    representation: dict[str, Any] = field(default_factory=dict)
    """What the documents that stay are made of: `lavra.corpus.representation.counting.Representation` as data, with the
    reference shares of groups of people."""
    mixture: dict[str, float] = field(default_factory=dict)
    """How many times as often a document of each part is to be drawn, where a balance is set."""
    seconds: float = 0.0

    def markdown(self) -> str:
        """The report as a page."""
        rate = self.bytes_in / 1e6 / self.seconds if self.seconds else 0.0
        lines = [
            "# Cleaning",
            "",
            f"**{self.documents_kept:,} of {self.documents_in:,} documents stay** ({self.bytes_kept / 1e6:,.1f} of "
            f"{self.bytes_in / 1e6:,.1f} MB of text), in {self.seconds:,.1f} s ({rate:.1f} MB/s).",
            "",
            "| stage | documents in | dropped | MB dropped | CPU s |",
            "|---|---:|---:|---:|---:|",
        ]
        for stage in self.stages:
            lines.append(
                f"| {TITLES[stage.name]} | {stage.documents_in:,} | {stage.documents_dropped:,} | "
                f"{stage.bytes_dropped / 1e6:,.2f} | {stage.seconds:,.1f} |"
            )
        if self.paragraphs:
            lines += ["", self.said_of_paragraphs()]
        for stage in self.stages:
            if stage.reasons and len(stage.reasons) > 1:
                lines += _table(f"Dropped by {TITLES[stage.name].lower()}", stage.reasons)
        lines += _table("Every rule that a document breaks", self.rules)
        lines += _table("Personal data found (and, where set so, replaced)", self.personal)
        lines += _table("Documents changed by normalising", self.changes)
        if self.perplexity:
            lines += _table(f"Bits per byte to {self.perplexity['model']}", self.perplexity["histogram"])
            lines += ["", self.said_of_perplexity()]
        for name in ("languages", "dialects", "sources", "licences", "topics", "years", "lengths"):
            counts = {part: documents for part, (documents, _) in self.representation.get(name, {}).items()}
            lines += _table(f"{name.capitalize()} kept", counts)
        if self.mixture:
            lines += ["", "## Mixture weights", "", "| | weight |", "|---|---:|"]
            lines += [f"| {name.replace('|', '/')} | {weight:.3f} |" for name, weight in self.mixture.items()]
        if self.clusters:
            sizes = {source: len(others) + 1 for source, others in self.clusters.items()}
            largest = dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0])))
            lines += _table(f"The largest of {len(sizes):,} clusters of near-duplicates", largest)
        if self.contaminated:
            lines += ["", "## Documents with evaluation items", ""]
            shown = list(self.contaminated.items())[:_SHOWN]
            lines += [f"- {source}: {item}" for source, item in shown]
            if len(self.contaminated) > _SHOWN:
                lines.append(f"- … and {len(self.contaminated) - _SHOWN:,} more, in report.json")
        return "\n".join(lines) + "\n"

    def said_of_perplexity(self) -> str:
        """The middle of each language, and what stays of it, in a sentence each."""
        said = []
        for language, (low, high) in self.perplexity["limits"].items():
            middle = self.perplexity["percentiles"][language]["50"]
            sides = [f"{word} {value:.2f}" for word, value in (("from", low), ("to", high)) if value is not None]
            said.append(f"{language}: median {middle:.2f} bits per byte, {' '.join(sides) or 'all'} stays")
        return "; ".join(said) + "."

    def said_of_paragraphs(self) -> str:
        """What was taken out of the documents that stay, in one sentence."""
        said = self.paragraphs
        return (
            f"{said['paragraphs']:,} of {said['of']:,} paragraphs ({said['bytes'] / 1e6:,.2f} MB) taken out, because "
            f"another document keeps them; documents shortened: {said['documents']:,}."
        )


def _table(title: str, counts: dict[str, int]) -> list[str]:
    if not counts:
        return []
    rows = [f"| {name.replace('|', '/')} | {count:,} |" for name, count in list(counts.items())[:_SHOWN]]
    more = [f"| … {len(counts) - _SHOWN:,} more | |"] if len(counts) > _SHOWN else []
    return ["", f"## {title}", "", "| | documents |", "|---|---:|", *rows, *more]


def write_report(report: CleaningReport, out: Path) -> None:
    """``report.json``, ``report.md`` and ``report.html`` into ``out``."""
    from lavra.corpus.cleaning.page import page

    (out / "report.html").write_text(page(report), encoding="utf-8")
    (out / "report.json").write_text(json.dumps(asdict(report), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (out / "report.md").write_text(report.markdown(), encoding="utf-8")


def load_cleaning(corpus: Path) -> CleaningReport:
    """The report of a cleaned corpus. Raises LavraError where there is none."""
    try:
        values: dict[str, Any] = json.loads((corpus / "report.json").read_bytes())
        stages = tuple(StageReport(**stage) for stage in values.pop("stages"))
        return CleaningReport(stages=stages, **values)
    except (OSError, ValueError, TypeError, KeyError):
        raise LavraError(f"{corpus} holds no report of a cleaning: make one with `lavra corpus clean`.") from None
