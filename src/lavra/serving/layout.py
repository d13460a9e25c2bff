"""A document's text as blocks for reading: headings, paragraphs, tables, pages, and the cited stretch marked.

Offsets stay those of ``Document.text`` throughout, so a mark is exactly what a citation points at. A long document is
cut into parts, of which one is shown; the cut falls between blocks. What stretches a block's text has is in ``runs``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from lavra.corpus.document import Document, Span
from lavra.serving.runs import Piece, cells, pieces

BlockKind = Literal["heading", "text", "item", "table", "code", "page"]

PART = 40_000
"""Code points of a part: a second's reading for a browser, an hour's for a person."""

LONGEST = 8_000
"""A paragraph beyond this (a text without line breaks) is cut."""

PLACES = ("page", "slide", "sheet", "record")
BLANK_LINE = re.compile(r"\n[ \t\r]*\n\s*")
ITEM = re.compile(r"^[ \t]*(?:[-*•]|\d{1,3}[.)])[ \t]+", re.MULTILINE)
INDENTED = re.compile(r"\n[ \t]+\S")
FENCE = re.compile(r"^(```+|~~~+)[^\n]*\n|\n?[ \t]*(```+|~~~+)[ \t]*$")


@dataclass(frozen=True, slots=True)
class Block:
    """One paragraph, heading, list item, table … or the beginning of a page (then without text)."""

    kind: BlockKind
    start: int
    end: int
    level: int = 0
    label: str = ""
    """Of a page, slide, sheet or record: its number or name; of a list item: its number or bullet."""
    place: str = ""
    """Of pages and their like, which it is."""
    pieces: tuple[Piece, ...] = ()
    rows: tuple[tuple[tuple[Piece, ...], ...], ...] = ()
    """Of a table: its cells, the header first. Empty where the table is not written as one: then ``pieces``."""


@dataclass(frozen=True, slots=True)
class Part:
    """What is shown of a document."""

    blocks: tuple[Block, ...]
    number: int
    """From 1."""
    count: int


def lay_out(document: Document, *, start: int = 0, end: int = 0, part: int | None = None) -> Part:
    """The part with ``[start, end)`` in it, marked; or the part of that number."""
    parts: list[list[Block]] = [[]]
    began = 0
    for block in _blocks(document):
        if block.end - began > PART and parts[-1]:
            parts.append([])
            began = block.start
        parts[-1].append(block)
    if part is None:
        holding = [i for i, held in enumerate(parts) if held and held[0].start <= start]
        number = holding[-1] if holding else 0
    else:
        number = min(max(part, 1), len(parts)) - 1
    shown = [_filled(block, document, start, end) for block in parts[number]]
    return Part(tuple(_nested(_without_title(shown, document.title))), number + 1, len(parts))


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
            if page.label:
                yield Block("page", page.start, page.start, label=page.label, place=page.kind)
            turned += 1

    def prose(start: int, end: int) -> Iterator[Block]:
        """Paragraphs of ``[start, end)``, cut where a page begins within."""
        cuts = [page.start for page in pages[turned:] if start < page.start < end]
        for left, right in zip([start, *cuts], [*cuts, end], strict=True):
            for block in _paragraphs(text, left, right):
                yield from turn(block.start)
                yield block

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
    """A heading without Markdown's own signs, a code block without its fences, a table."""
    start, end = _trim(text, span.start, span.end)
    if span.kind == "table":
        return Block("table", start, end)
    if span.kind == "code":
        if fence := FENCE.match(text[start:end]):
            start += fence.end()
            closing = FENCE.search(text[start:end])
            end = start + closing.start() if closing else end
        return Block("code", start, end)
    while start < end and text[start] in "# \t":
        start += 1
    return Block("heading", start, end, level=min(max(span.level, 1), 6))


def _paragraphs(text: str, start: int, end: int) -> Iterator[Block]:
    """Between blank lines; a list's items apart."""
    for blank in [*BLANK_LINE.finditer(text, start, end), None]:
        stop = blank.start() if blank else end
        items = list(ITEM.finditer(text, start, stop))
        cuts = [item.start() for item in items]
        marks = [None, *items]
        for left, right, mark in zip([start, *cuts], [*cuts, stop], marks, strict=True):
            yield from _paragraph(text, mark.end() if mark else left, right, mark[0].strip() if mark else "")
        start = blank.end() if blank else end


def _paragraph(text: str, start: int, end: int, marker: str) -> Iterator[Block]:
    left, right = _trim(text, start, end)
    kind: BlockKind = "item" if marker else "text"
    label = "•" if marker and marker[0] in "-*•" else marker
    while right - left > LONGEST:
        yield Block(kind, left, left + LONGEST, label=label)
        left += LONGEST
    if left < right:
        yield Block(kind, left, right, label=label)


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    """Without white space around, but with the first line's indentation."""
    while end > start and text[end - 1].isspace():
        end -= 1
    first = start
    while first < end and text[first].isspace():
        first += 1
    return text.rfind("\n", start, first) + 1 or start, end


def _filled(block: Block, document: Document, start: int, end: int) -> Block:
    """The block with its text, ``[start, end)`` marked."""
    if block.kind == "page":
        return block
    markdown = document.format in ("markdown", "html") and block.kind != "code"
    cited = (start, end)
    if block.kind == "table" and (table := cells(document.text, block.start, block.end)):
        rows = tuple(
            tuple(pieces(document.text, left, right, cited, markdown=markdown) for left, right in row) for row in table
        )
        return replace(block, rows=rows)
    # In plain text, an indented line after a long one is rather a table's than a paragraph's.
    unwrap = block.kind == "item" or (
        block.kind == "text" and not INDENTED.search(document.text, block.start, block.end)
    )
    return replace(block, pieces=pieces(document.text, block.start, block.end, cited, markdown=markdown, unwrap=unwrap))


def _without_title(blocks: list[Block], title: str) -> list[Block]:
    """Without a first heading that says the title again: the reader shows that already."""
    for index, block in enumerate(blocks[:2]):
        if block.kind == "heading" and not any(piece.cited for piece in block.pieces):
            said = "".join(piece.text for piece in block.pieces)
            if said.strip() == title.strip():
                return blocks[:index] + blocks[index + 1 :]
    return blocks


def _nested(blocks: list[Block]) -> Iterator[Block]:
    """Headings one level below the one they stand under, whatever levels the author skipped (WCAG technique H42)."""
    above: list[int] = []
    for block in blocks:
        if block.kind != "heading":
            yield block
            continue
        while above and above[-1] >= block.level:
            above.pop()
        above.append(block.level)
        yield replace(block, level=len(above))
