"""Headings of a PDF: its outline where it has one, else the lines that are set larger than the text.

A PDF does not say what is a heading. An outline does, and its entries are looked up on their pages. Most office
exports have none; there, a short line whose letters are at least 15% larger than the size most of the text is set in
is one, its level following from the sizes in use. Lines that come back on several pages are running headers. Bold
lines of the text's own size are not taken: they are as often emphasis.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lavra.corpus.document import Span
from lavra.corpus.parts import one_line

_LARGER = 1.15
_LONGEST = 150
_MOST = 0.3  # where more than this is large, size says nothing (slides, posters)
_REPEATED = 3
_LEVELS = 4
_DOTTED = re.compile(r"(?:[.…] ?){4}")  # a line of a table of contents


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a page: where it is in the document's text, and the size of its letters (0: not known)."""

    page: int
    start: int
    end: int
    text: str
    size: float


def from_outline(entries: Sequence[tuple[str, int, int | None]], lines: Sequence[Line]) -> list[Span]:
    """The entries (title, depth, page) that are found as a line of their page, numbered or not."""
    pages: dict[int, list[Line]] = {}
    for line in lines:
        pages.setdefault(line.page, []).append(line)
    used: set[int] = set()
    spans = []
    for title, depth, page in entries:
        wanted = _key(title)
        for line in pages.get(page, []) if page is not None and wanted else []:
            key = _key(line.text)
            numbered = key.endswith(wanted) and len(key) < len(wanted) + 12
            if line.start not in used and numbered:
                used.add(line.start)
                spans.append(Span("heading", line.start, line.end, label=title, level=min(depth + 1, 6)))
                break
    return spans


def from_sizes(lines: Sequence[Line]) -> list[Span]:
    """The lines that are set larger than the text; those that follow each other in one size are one heading."""
    amounts: Counter[float] = Counter()
    for line in lines:
        amounts[line.size] += len(line.text)
    total = sum(amounts.values())
    if not total:
        return []
    body = amounts.most_common(1)[0][0]
    if body <= 0:
        return []
    repeated = {key for key, count in Counter(_key(line.text) for line in lines).items() if count >= _REPEATED}
    large = [line for line in lines if line.size >= _LARGER * body and _key(line.text) not in repeated]
    if sum(len(line.text) for line in large) > _MOST * total:
        return []
    groups: list[list[Line]] = []
    for line in large:
        last = groups[-1][-1] if groups else None
        if last and last.page == line.page and last.end + 1 == line.start and last.size == line.size:
            groups[-1].append(line)
        else:
            groups.append([line])
    found = []
    for group in groups:
        label = one_line(" ".join(line.text for line in group))
        if len(label) <= _LONGEST and sum(map(str.isalpha, label)) >= 2 and not _DOTTED.search(label):
            found.append((group, label))
    sizes = sorted({group[0].size for group, _ in found}, reverse=True)
    return [
        Span("heading", group[0].start, group[-1].end, label=label, level=min(sizes.index(group[0].size) + 1, _LEVELS))
        for group, label in found
    ]


def _key(line: str) -> str:
    return "".join(filter(str.isalnum, line.casefold()))
