"""Finding personal data in texts, and putting placeholders in its place.

A batch is first asked, by compiled passes, which lines can hold anything at all; only those are looked at one by one.
What was found is returned as places and kinds; the values themselves are never kept or logged.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavra.corpus.personal.kinds import KINDS, Kind

_REACH = 48
"""Characters before a number in which the word that proves it is looked for."""
_LONGEST = 40
"""Characters of the longest number."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Where personal data stands in a text: ``text[start:end]``, and of which kind."""

    start: int
    end: int
    kind: str


def suspects(texts: Any, kinds: Sequence[Kind] = KINDS) -> dict[int, list[tuple[Kind, int, int]]]:
    """Where to look: by row of an Arrow array of texts, each kind with the line (code points) that can hold it.

    Two compiled passes (RE2): which texts hold a kind's hint at all, and which of their lines. Only those lines are
    looked at by Python.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    found: dict[int, list[tuple[Kind, int, int]]] = {}
    for kind in kinds:
        if not kind.hint:
            for row, size in enumerate(pc.utf8_length(texts).to_pylist()):
                found.setdefault(row, []).append((kind, 0, size))
            continue
        rows = np.flatnonzero(pc.match_substring_regex(texts, kind.hint).to_numpy(zero_copy_only=False))
        if not len(rows):
            continue
        lists = pc.split_pattern(texts.take(pa.array(rows)), "\n")
        lines = lists.flatten()
        hits = np.flatnonzero(pc.match_substring_regex(lines, kind.hint).to_numpy(zero_copy_only=False))
        firsts = np.asarray(lists.offsets)[:-1] - lists.offsets[0].as_py()
        ends = np.cumsum(pc.utf8_length(lines).to_numpy(zero_copy_only=False) + 1)  # of each line, with its newline
        starts = np.concatenate([[0], ends[:-1]])
        owners = np.searchsorted(firsts, hits, side="right") - 1
        for line, owner in zip(hits.tolist(), owners.tolist(), strict=True):
            before = int(starts[firsts[owner]])
            place = kind, int(starts[line]) - before, int(ends[line]) - 1 - before
            found.setdefault(int(rows[owner]), []).append(place)
    return found


def find(text: str, kinds: Sequence[Kind] = KINDS) -> list[Finding]:
    """Personal data of these kinds in a text, in order, none overlapping; the earlier kind has the stretch."""
    return find_at(text, [(kind, 0, len(text)) for kind in kinds])


def find_at(text: str, places: Sequence[tuple[Kind, int, int]]) -> list[Finding]:
    """As `find`, looking for each kind only where a hit may begin: between ``start`` and ``end``."""
    found: list[Finding] = []
    taken: list[tuple[int, int]] = []
    for kind, first, last in places:
        for start, end in _hits(text, kind, first, last):
            at = bisect.bisect(taken, (start, end))
            if (at == 0 or taken[at - 1][1] <= start) and (at == len(taken) or end <= taken[at][0]):
                taken.insert(at, (start, end))
                found.append(Finding(start, end, kind.name))
    return sorted(found, key=lambda finding: finding.start)


def _hits(text: str, kind: Kind, first: int, last: int) -> Iterator[tuple[int, int]]:
    pattern, words, bare, bare_words = kind.compiled()
    for match in pattern.finditer(text, first, last):
        start, end = match.span("value")
        if (words is None or _after(text, start, words)) and kind.proof(match["value"]):
            if kind.unless and re.search(kind.unless, text[max(0, start - _REACH) : start], re.IGNORECASE):
                continue
            yield start, end
    if bare is not None and bare_words is not None:
        proof = kind.bare_proof or kind.proof
        for word in bare_words.finditer(text, first, last):  # numbers shortly behind the word, in its paragraph
            stop = text.find("\n\n", word.end(), word.end() + _REACH)
            stop = word.end() + _REACH if stop < 0 else stop
            for match in bare.finditer(text, word.end(), stop + _LONGEST):
                start, end = match.span("value")
                if start < stop and proof(match["value"]):
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
