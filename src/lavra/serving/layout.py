"""A document's text as blocks for reading: headings, paragraphs, tables, pages, and the cited stretch marked.

Offsets stay those of ``Document.text`` throughout, so a mark is exactly what a citation points at. A long document is
cut into parts, of which one is shown; the cut falls between blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from lavra.corpus.document import Document, Span

BlockKind = Literal["heading", "text", "table", "code", "page"]

PART = 40_000
"""Code points of a part: a second's reading for a browser, an hour's for a person."""

LONGEST = 8_000
"""A paragraph beyond this (a text without line breaks) is cut."""

PLACES = ("page", "slide", "sheet", "record")
BLANK_LINE = re.compile(r"\n[ \t\r]*\n\s*")


@dataclass(frozen=True, slots=True)
class Block:
    """One paragraph, heading, table … or the beginning of a page (then without text)."""

    kind: BlockKind
    start: int
    end: int
    level: int = 0
    label: str = ""
    """Of a page, slide, sheet or record: its number or name."""
    place: str = ""
    """Of those, which it is."""
    pieces: tuple[tuple[str, bool], ...] = ()
    """The text, in stretches that are cited or not."""


@dataclass(frozen=True, slots=True)
class Part:
    """What is shown of a document."""

    blocks: tuple[Block, ...]
    number: int
    """From 1."""
    count: int


def lay_out(document: Document, *, start: int = 0, end: int = 0, part: int | None = None) -> Part:
    """The part with ``[start, end)`` in it, marked; or the part of that number."""
    blocks = list(_blocks(document))
    parts: list[list[Block]] = [[]]
    began = 0
    for block in blocks:
        if block.end - began > PART and parts[-1]:
            parts.append([])
            began = block.start
        parts[-1].append(block)
    if part is None:
        holding = [i for i, held in enumerate(parts) if any(b.start <= start < max(b.end, 1) for b in held)]
        number = holding[0] if holding else 0
    else:
        number = min(max(part, 1), len(parts)) - 1
    shown = tuple(_marked(block, document.text, start, end) for block in parts[number])
    return Part(shown, number + 1, len(parts))


def _blocks(document: Document) -> Iterator[Block]:
    """In the order of the text. A span that overlaps one before it is left out: it is shown as plain text."""
    text = document.text
    pages = sorted((span for span in document.spans if span.kind in PLACES), key=lambda span: span.start)
    solid = sorted(
        (span for span in document.spans if span.kind in ("heading", "table", "code") and span.end > span.start),
        key=lambda span: (span.start, -span.end),
    )
    turned = 0

    def turn(until: int) -> Iterator[Block]:
        nonlocal turned
        while turned < len(pages) and pages[turned].start <= until:
            page = pages[turned]
            yield Block("page", page.start, page.start, label=page.label, place=page.kind)
            turned += 1

    def prose(start: int, end: int) -> Iterator[Block]:
        """Paragraphs of ``[start, end)``, cut where a page begins within."""
        cuts = [page.start for page in pages[turned:] if start < page.start < end]
        for left, right in zip([start, *cuts], [*cuts, end], strict=True):
            for begin, stop in _paragraphs(text, left, right):
                yield from turn(begin)
                yield Block("text", begin, stop)

    position = 0
    for span in solid:
        if span.start < position or span.end > len(text):
            continue
        yield from prose(position, span.start)
        yield from turn(span.start)
        yield _solid(span, text)
        position = span.end
    yield from prose(position, len(text))
    yield from turn(len(text))


def _solid(span: Span, text: str) -> Block:
    start, end = _trim(text, span.start, span.end)
    if span.kind != "heading":
        return Block("table" if span.kind == "table" else "code", start, end)
    # A Markdown heading's own signs are not for reading.
    while start < end and text[start] in "# \t":
        start += 1
    return Block("heading", start, end, level=min(max(span.level, 1), 6))


def _paragraphs(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    for match in [*BLANK_LINE.finditer(text, start, end), None]:
        left, right = _trim(text, start, match.start() if match else end)
        while right - left > LONGEST:
            yield left, left + LONGEST
            left += LONGEST
        if left < right:
            yield left, right
        start = match.end() if match else end


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    """Without white space around; of the first line's indentation, which code needs, nothing is lost."""
    while end > start and text[end - 1].isspace():
        end -= 1
    first = start
    while first < end and text[first].isspace():
        first += 1
    line = text.rfind("\n", start, first) + 1
    return (line or (first if start == first else start)), end


def _marked(block: Block, text: str, start: int, end: int) -> Block:
    if block.kind == "page":
        return block
    left, right = max(block.start, start), min(block.end, end)
    cuts = [(block.start, left, False), (left, right, True), (right, block.end, False)]
    if left >= right:
        cuts = [(block.start, block.end, False)]
    pieces = tuple((text[a:b], mark) for a, b, mark in cuts if a < b)
    return Block(block.kind, block.start, block.end, block.level, block.label, block.place, pieces)
