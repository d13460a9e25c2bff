"""What a document consists of, for making questions: paragraphs, lists, tables, each under its heading.

Works on the text and the spans of every reader: Markdown's marks are taken off where a piece is shown
(:func:`clean`), offsets stay those of ``Document.text``.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from lavra.assistants.sentences import sentences
from lavra.corpus.document import Document, Span

_ITEM = re.compile(r"[ \t]*(?:[-*•–]|\d{1,2}[.)]|[a-z]\)|[IVX]{1,5} ?[-–])[ \t]+(?=\S)")
_BLANK = re.compile(r"\n[ \t]*\n")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_MARKS = re.compile(r"\*\*|__|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w)|`|^#{1,6}\s+", re.MULTILINE)
_CELLS = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, a list item, a table row's whole table, or code; offsets in the document's text."""

    kind: Literal["paragraph", "item", "table", "code"]
    start: int
    end: int
    text: str
    """As it stands there, an item's bullet left out."""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading ("" before the first), the headings above it, and the blocks below it."""

    heading: str
    level: int
    above: tuple[str, ...]
    blocks: tuple[Block, ...]


def listed(text: str) -> frozenset[str]:
    """The words of a list."""
    return frozenset(text.split())


def clean(text: str) -> str:
    """Text on one line, without Markdown's marks."""
    return " ".join(_MARKS.sub("", _LINK.sub(r"\1", text)).split())


def sections(document: Document) -> list[Section]:
    """The document's sections in order."""
    headings = sorted((s for s in document.spans if s.kind == "heading"), key=lambda s: s.start)
    walls = sorted((s for s in document.spans if s.kind in ("table", "code")), key=lambda s: (s.start, -s.end))
    headings = [h for h in headings if not any(w.start <= h.start < w.end for w in walls)]
    found: list[Section] = []
    path: list[Span] = []
    edges = [0, *(h.start for h in headings), len(document.text)]
    for number, (start, end) in enumerate(itertools.pairwise(edges)):
        heading = headings[number - 1] if number else None
        if heading:
            path = [other for other in path if other.level < heading.level]
        above = tuple(clean(other.label) for other in path)
        body = max(start, heading.end) if heading else start
        blocks = tuple(_blocks(document.text, body, end, walls))
        found.append(Section(clean(heading.label) if heading else "", heading.level if heading else 0, above, blocks))
        if heading:
            path.append(heading)
    return found


def _blocks(text: str, start: int, end: int, walls: list[Span]) -> Iterator[Block]:
    at = start
    for wall in walls:
        if wall.end <= at or wall.start >= end:
            continue
        yield from _prose(text, at, wall.start)
        stop = min(wall.end, end)
        yield Block("table" if wall.kind == "table" else "code", wall.start, stop, text[wall.start : stop])
        at = stop
    yield from _prose(text, at, end)


def _prose(text: str, start: int, end: int) -> Iterator[Block]:
    edges = [start]
    for match in _BLANK.finditer(text, start, end):
        edges += [match.start(), match.end()]
    edges.append(end)
    for left, right in zip(edges[::2], edges[1::2], strict=True):
        yield from _paragraph(text, left, right)


def _paragraph(text: str, start: int, end: int) -> Iterator[Block]:
    """A paragraph, cut where a line begins a list item."""
    cuts, line = [start], start
    while line < end:
        stop = text.find("\n", line, end)
        stop = end if stop < 0 else stop + 1
        if line > start and _ITEM.match(text, line, end):
            cuts.append(line)
        line = stop
    for left, right in zip(cuts, [*cuts[1:], end], strict=True):
        bullet = _ITEM.match(text, left, right)
        body = bullet.end() if bullet else left
        piece = text[body:right]
        body, right = body + len(piece) - len(piece.lstrip()), body + len(piece.rstrip())
        if body < right:
            yield Block("item" if bullet else "paragraph", body, right, text[body:right])


def said(block: Block) -> list[tuple[int, int]]:
    """The sentences of a block, as offsets in the document."""
    return [(block.start + start, block.start + end) for start, end in sentences(block.text)]


def table(block: Block) -> list[list[str]]:
    """The cells of a table's rows, the header first; [] where it is no plain table of one header and two columns."""
    found = []
    for line in block.text.strip().split("\n"):
        cells = [cell.strip() for cell in (_CELLS.split(line.strip().strip("|")) if "|" in line else line.split("\t"))]
        if all(re.fullmatch(r":?-{2,}:?", cell) for cell in cells):
            continue
        found.append([clean(cell.replace("\\|", "|")) for cell in cells])
    width = len(found[0]) if found else 0
    return found if width >= 2 and all(len(row) == width for row in found) else []


def table_lines(block: Block) -> list[tuple[int, int]]:
    """Offsets of the table's lines in the document, rules between header and rows left out."""
    found, at = [], block.start
    for line in block.text.split("\n"):
        if line.strip() and not re.fullmatch(r"[\s|:-]+", line):
            lead = len(line) - len(line.lstrip())
            found.append((at + lead, at + len(line.rstrip())))
        at += len(line) + 1
    return found


_ARTICLES = listed("""the a an o os as um uma uns umas el la los las un una unos unas lo all both most many""")


class Names:
    """Which words of a document are names: written with a capital inside sentences, never without."""

    def __init__(self, text: str) -> None:
        self._small = Counter(re.findall(r"\b[^\W\d_A-ZÀ-Þ]\w*", text))
        inside = re.findall(r"(?<=[a-zà-ÿ0-9,;] )([A-ZÀ-Þ]\w*)", text)
        self._large = Counter(inside)

    def proper(self, word: str) -> bool:
        """Whether a word that begins with a capital keeps it inside a sentence."""
        bare = word.strip("“”\"'’‘()[]")
        if not bare or not bare[0].isupper():
            return True
        if (bare.isupper() and len(bare) > 1) or any(c.isupper() for c in bare[1:]) or any(c.isdigit() for c in bare):
            return True
        return self._large[bare] > 0 and self._small[bare.lower()] == 0

    def common(self, word: str) -> bool:
        """Whether a word that begins a sentence is known to be no name: an article, or written small elsewhere."""
        small = word.strip("“”\"'’‘()[]").lower()
        return small in _ARTICLES or self._small[small] > 0

    def inside(self, phrase: str) -> str:
        """A phrase that began a sentence, as it stands inside one."""
        first, _, rest = phrase.partition(" ")
        return (
            phrase
            if self.proper(first) or not self.common(first)
            else f"{first[:1].lower()}{first[1:]}{' ' if rest else ''}{rest}"
        )
