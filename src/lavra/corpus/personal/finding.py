"""Finding personal data in texts, and putting placeholders in its place.

A batch is first asked, by one compiled pass a kind (RE2), which texts can hold anything at all; only those are looked
at one by one. What was found is returned as places and kinds; the values themselves are never kept or logged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lavra.corpus.personal.kinds import KINDS, Kind

_REACH = 48
"""Characters before a number in which the word that proves it is looked for."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Where personal data stands in a text: ``text[start:end]``, and of which kind."""

    start: int
    end: int
    kind: str


def possible(texts: Any, kinds: Sequence[Kind] = KINDS) -> Any:
    """Which texts of an Arrow array can hold something: a boolean array a kind, as ``{kind: (N,)}``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return {
        kind.name: pc.match_substring_regex(texts, kind.hint) if kind.hint else pa.array([True] * len(texts))
        for kind in kinds
    }


def find(text: str, kinds: Sequence[Kind] = KINDS) -> list[Finding]:
    """Personal data of these kinds in a text, in order, none overlapping; the earlier kind has the stretch."""
    found: list[Finding] = []
    taken: list[tuple[int, int]] = []
    for kind in kinds:
        for start, end in _hits(text, kind):
            if all(end <= a or start >= b for a, b in taken):
                taken.append((start, end))
                found.append(Finding(start, end, kind.name))
    return sorted(found, key=lambda finding: finding.start)


def _hits(text: str, kind: Kind) -> Iterator[tuple[int, int]]:
    pattern, words, bare, bare_words = kind.compiled()
    for match in pattern.finditer(text):
        start, end = match.span("value")
        if (words is None or _after(text, start, words)) and kind.proof(match["value"]):
            if kind.unless and re.search(kind.unless, text[max(0, start - _REACH) : start], re.IGNORECASE):
                continue
            yield start, end
    if bare is not None and bare_words is not None and bare_words.search(text):
        for match in bare.finditer(text):
            start, end = match.span("value")
            if _after(text, start, bare_words) and (kind.bare_proof or kind.proof)(match["value"]):
                yield start, end


def _after(text: str, start: int, words: re.Pattern[str]) -> bool:
    """Whether one of ``words`` stands shortly before, in the same paragraph."""
    before = text[max(0, start - _REACH) : start].rpartition("\n\n")[2]
    return words.search(before) is not None


def redact(text: str, findings: Sequence[Finding], placeholders: dict[str, str]) -> str:
    """``text`` with each finding replaced by its kind's placeholder."""
    parts, at = [], 0
    for finding in findings:
        parts += [text[at : finding.start], placeholders[finding.kind]]
        at = finding.end
    return "".join((*parts, text[at:]))
