"""The account of a cleaning: what every stage met and dropped, counted from the decisions."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from lavra.corpus.cleaning.deciding import Decision, Facts
from lavra.corpus.cleaning.perplexity import measured
from lavra.corpus.cleaning.report import CleaningReport, StageReport
from lavra.corpus.cleaning.settings import STAGES, Cleaning


def account(facts: Facts, decision: Decision, tally: dict[str, Any], settings: Cleaning) -> CleaningReport:
    """The report, but for what the corpus is made of; ``tally`` as `gathering.facts_of` sums it."""
    left = np.ones(len(facts), bool)
    stages = []
    for name in STAGES:
        if not settings.has(name):
            continue
        here = np.array([stage == name for stage in decision.stage], bool)
        reasons: Counter[str] = Counter()
        for row in np.flatnonzero(here).tolist():
            reasons.update(_kinds(name, facts, row, decision.reason[row]))
        stages.append(
            StageReport(
                name=name,
                documents_in=int(left.sum()),
                bytes_in=int(facts.characters[left].sum()),
                documents_dropped=int(here.sum()),
                bytes_dropped=int(facts.characters[here].sum()),
                reasons=dict(reasons.most_common()),
                seconds=round(tally["seconds"].get(name, 0.0), 3),
            )
        )
        left &= ~here
    broken: Counter[str] = Counter(rule for rules in facts.broken for rule in rules)
    return CleaningReport(
        documents_in=len(facts),
        documents_kept=int(left.sum()),
        bytes_in=int(facts.characters.sum()),
        bytes_kept=int(facts.characters[left].sum()),
        stages=tuple(stages),
        rules=dict(broken.most_common()),
        personal=dict(tally["personal"].most_common()),
        changes=dict(tally["changes"].most_common()),
        clusters=decision.clusters,
        paragraphs=_paragraphs(facts, decision) if settings.has("paragraphs") else {},
        perplexity=measured(decision.bits, facts.languages, settings) if settings.has("perplexity") else {},
        contaminated={
            source: item for source, item in zip(facts.sources, facts.overlapped, strict=True) if item is not None
        },
    )


def _paragraphs(facts: Facts, decision: Decision) -> dict[str, int]:
    """What was taken out of documents that stay."""
    rows = np.repeat(np.arange(len(facts)), np.diff(facts.paragraph_ends))[decision.cut]
    return {
        "paragraphs": int(decision.cut.sum()),
        "bytes": int(facts.paragraph_sizes[decision.cut].sum()),
        "documents": len(np.unique(rows)),
        "of": len(facts.paragraphs),
    }


def _kinds(stage: str, facts: Facts, row: int, reason: str) -> list[str]:
    """What a drop is counted under."""
    if stage == "quality":
        return facts.broken[row]
    if stage == "licence":
        return ["opted out" if reason.startswith("its owner") else facts.licences[row] or "none stated"]
    if stage == "contamination":
        return [(facts.overlapped[row] or "").rpartition("#")[0]]
    if stage == "perplexity":
        return [f"{facts.languages[row]}: too {'surprising' if 'more than' in reason else 'predictable'}"]
    return [stage]
