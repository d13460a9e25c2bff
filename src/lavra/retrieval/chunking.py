"""From a document to chunks: pieces small enough to embed whole and large enough to answer from.

The cut follows what the author wrote. A document is divided at its headings; slides and sheets are never joined; a
table or a block of code stays whole unless it alone is over the limit, and is then cut between its rows or lines,
with the table's header row kept beside the pieces that lost it. Long prose inside a section is cut by semchunk (at
the largest white space, then at sentence ends) into pieces of about equal size, and neighbouring sections too small
to stand alone are joined up to the target.

Offsets are exact: ``document.text[chunk.start:chunk.end] == chunk.text``, chunks do not overlap, and every character
that is not blank lies in exactly one of them. What is embedded (:func:`embedding_text`) also names the title and
the headings, which a chunk's own text often leaves unsaid; what is stored and quoted is the text alone.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import semchunk

from lavra.corpus.document import Document, Span
from lavra.errors import LavraError

TokenCounter = Callable[[str], int]
"""Tokens of a text by the embedder's tokenizer, special tokens left out."""


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """Sizes in tokens of the embedder.

    220 keeps a chunk within one or two paragraphs (what an answer quotes) and, with its title and headings, far
    below the 512 tokens that the E5 models read; a table or code block may reach ``limit`` before it is cut.
    """

    target: int = 220
    limit: int = 400

    def __post_init__(self) -> None:
        if not 16 <= self.target <= self.limit:
            raise LavraError(
                f"Chunk sizes target={self.target}, limit={self.limit} cannot be used: "
                "set 16 ≤ target ≤ limit (tokens) under [index] in lavra.toml."
            )


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a document; offsets in code points, end exclusive."""

    id: str
    """Sixteen hexadecimal digits that follow from the document's id, the offsets and the text."""
    document_id: str
    start: int
    end: int
    text: str
    headings: tuple[str, ...] = ()
    """The headings above the chunk, outermost first; of joined sections, those that they share."""
    page: str | None = None
    """Label of the page, slide or sheet on which the chunk begins."""
    context: str = ""
    """The header row of the table that this chunk continues; not part of ``text``."""


@dataclass(frozen=True, slots=True)
class _Section:
    """From one heading or record to the next, inside one slide or sheet."""

    start: int
    end: int
    headings: tuple[str, ...]
    record: bool = False
    """Begins a record, which is complete as it is: joined to its neighbour only where it is a line or two."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch that will not be cut any more, on its way into a chunk."""

    start: int
    end: int
    tokens: int
    section: _Section
    context: str = ""


_DENSE = re.compile(r"\d|[^\w\s]|_")


def estimate_tokens(text: str) -> int:
    """About how many tokens a multilingual unigram vocabulary makes of a text, without running a tokenizer.

    Calibrated on E5's tokenizer over Portuguese, Spanish and English prose (within 10%), tables and code.
    """
    return round(0.21 * len(text.encode("utf-8", "surrogatepass")) + 0.55 * len(_DENSE.findall(text)))


def split(
    document: Document, settings: ChunkSettings | None = None, *, count: TokenCounter | None = None
) -> list[Chunk]:
    """The document's chunks, in order. ``count`` defaults to :func:`estimate_tokens`."""
    settings = settings or ChunkSettings()
    count = count or estimate_tokens
    text = document.text
    pages = sorted((s for s in document.spans if s.kind in ("page", "slide", "sheet")), key=lambda s: s.start)
    page_starts = [page.start for page in pages]

    def page_of(offset: int) -> str | None:
        position = bisect_right(page_starts, offset) - 1
        return pages[position].label or None if position >= 0 and offset < pages[position].end else None

    chunks: list[Chunk] = []
    for section_group in _containers(document):
        for pieces in _pack(_pieces(text, document.spans, section_group, settings, count), settings):
            start, end = _trim(text, pieces[0].start, pieces[-1].end)
            body = text[start:end]
            identity = f"{document.id}\0{start}\0{end}\0{body}".encode("utf-8", "surrogatepass")
            chunks.append(
                Chunk(
                    id=hashlib.sha256(identity).hexdigest()[:16],
                    document_id=document.id,
                    start=start,
                    end=end,
                    text=body,
                    headings=_shared([piece.section.headings for piece in pieces]),
                    page=page_of(start),
                    context=pieces[0].context,
                )
            )
    return chunks


def embedding_text(chunk: Chunk, title: str = "") -> str:
    """What is embedded and analysed for a chunk: title, headings, a continued table's header row, then the text.

    A heading that the chunk's text already begins with, or a title that is the first heading, is not said twice.
    """
    path = [heading for heading in chunk.headings if heading]
    if title and (not path or path[0].casefold() != title.casefold()):
        path.insert(0, title)
    if path and chunk.text.lstrip("#=* ").casefold().startswith(path[-1].casefold()):
        path.pop()
    return "\n".join(part for part in (" › ".join(path), chunk.context, chunk.text) if part)


# --- where a chunk may not reach across -------------------------------------------------------------------------


def _containers(document: Document) -> Iterator[list[_Section]]:
    """Groups of neighbouring sections; chunks never reach from one group into the next."""
    length = len(document.text)
    walls = {0, length}
    for span in document.spans:
        if span.kind in ("slide", "sheet"):
            walls.update((min(span.start, length), min(span.end, length)))
    edges = sorted(walls)
    sections = _sections(document)
    at = 0
    for left, right in pairwise(edges):
        group: list[_Section] = []
        while at < len(sections) and sections[at].start < right:
            section = sections[at]
            group.append(_Section(max(left, section.start), min(right, section.end), section.headings, section.record))
            if section.end > right:
                break
            at += 1
        yield group


def _sections(document: Document) -> list[_Section]:
    """The stretches between headings and records, with the path of headings above each (its own included)."""
    length = len(document.text)
    # What looks like a heading inside code, or a record that is a table's row, divides nothing.
    blocks = _outermost(document.spans, 0, length)
    block_starts = [block.start for block in blocks]

    def inside_block(offset: int) -> bool:
        position = bisect_left(block_starts, offset) - 1
        return position >= 0 and offset < blocks[position].end

    openings = [
        span
        for span in document.spans
        if span.kind in ("heading", "record") and span.start < length and not inside_block(span.start)
    ]
    sections: list[_Section] = []
    path: list[Span] = []
    start, record = 0, False
    for span in sorted(openings, key=lambda span: span.start):
        if span.start > start:
            sections.append(_Section(start, span.start, tuple(heading.label for heading in path), record))
            start = span.start
        record = span.kind == "record"
        if span.kind == "heading":
            while path and path[-1].level >= span.level:
                path.pop()
            path.append(span)
    if start < length:
        sections.append(_Section(start, length, tuple(span.label for span in path), record))
    return sections


# --- what is not cut any more -----------------------------------------------------------------------------------


def _pieces(
    text: str, spans: Iterable[Span], sections: list[_Section], settings: ChunkSettings, count: TokenCounter
) -> Iterator[_Piece]:
    """The uncut pieces of neighbouring sections: prose in about equal parts, tables and code whole where they fit."""
    if not sections:
        return
    blocks = _outermost(spans, sections[0].start, sections[-1].end)
    at = 0
    for section in sections:
        position = section.start
        while position < section.end:
            while at < len(blocks) and blocks[at].end <= position:
                at += 1
            block = blocks[at] if at < len(blocks) and blocks[at].start < section.end else None
            if block is None:
                stop = section.end
            elif block.start > position:
                stop = block.start
            else:
                stop = min(block.end, section.end)
                yield from _block(text, position, stop, block, section, settings, count)
                position = stop
                continue
            yield from _prose(text, position, stop, section, settings, count)
            position = stop


def _outermost(spans: Iterable[Span], left: int, right: int) -> list[Span]:
    """The tables and code blocks that touch [left, right), without those inside another."""
    found: list[Span] = []
    for span in sorted((s for s in spans if s.kind in ("table", "code")), key=lambda s: (s.start, -s.end)):
        if span.end <= left or span.start >= right or (found and span.start < found[-1].end):
            continue
        found.append(span)
    return found


def _prose(
    text: str, start: int, end: int, section: _Section, settings: ChunkSettings, count: TokenCounter
) -> Iterator[_Piece]:
    start, end = _trim(text, start, end)
    if start >= end:
        return
    # A very long section goes through paragraph-sized windows, so that semchunk's memory and time stay linear.
    for left, right in _windows(text, start, end):
        if left >= right:
            continue
        body = text[left:right]
        tokens = count(body)
        if tokens <= settings.target:
            yield _Piece(left, right, tokens, section)
            continue
        # Equal parts: 250 tokens become 125 + 125, not 220 and a rest of 30 that says nothing.
        parts = -(-tokens // settings.target)
        size = min(settings.target, round(1.1 * tokens / parts))
        cuts = [left, *(left + cut for cut in _cuts(body, size, count)), right]
        for cut, following in pairwise(cuts):
            first, last = _trim(text, cut, following)
            if first < last:
                yield _Piece(first, last, count(text[first:last]), section)


def _cuts(body: str, size: int, count: TokenCounter) -> list[int]:
    """Where semchunk would begin its second, third … chunk of a text."""
    found = semchunk.chunk(body, chunk_size=size, token_counter=count, offsets=True, memoize=False)
    offsets = cast(list[tuple[int, int]], found[1])
    return [start for start, _ in offsets[1:]]


_WINDOW = 20_000
"""Characters that semchunk sees at once: some twenty chunks."""


def _windows(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """[start, end) in stretches of about ``_WINDOW`` characters that end at a paragraph, a line, or a space."""
    while end - start > _WINDOW + _WINDOW // 4:
        stop = -1
        for mark in ("\n\n", "\n", ". ", " "):
            stop = text.rfind(mark, start + _WINDOW // 2, start + _WINDOW)
            if stop >= 0:
                stop += len(mark)
                break
        stop = stop if stop > 0 else start + _WINDOW
        yield _trim(text, start, stop)
        start = stop
    yield _trim(text, start, end)


def _block(
    text: str,
    start: int,
    end: int,
    span: Span,
    section: _Section,
    settings: ChunkSettings,
    count: TokenCounter,
) -> Iterator[_Piece]:
    """A table or a code block: whole up to the limit, else in groups of lines up to the target."""
    left, right = _trim(text, start, end)
    if left >= right:
        return
    tokens = count(text[left:right])
    if tokens <= settings.limit:
        yield _Piece(left, right, tokens, section)
        return
    header = text[left : _line_end(text, left, right)].strip() if span.kind == "table" else ""
    if header and count(header) > settings.target // 2:
        header = ""
    room = max(settings.target - count(header), 16) if header else settings.target
    group_start, group_tokens, first = left, 0, True
    position = left
    while position < right:
        line_end = _line_end(text, position, right)
        line_tokens = count(text[position:line_end])
        if group_tokens and group_tokens + line_tokens > room:
            yield from _lines(text, group_start, position, section, "" if first else header, group_tokens)
            group_start, group_tokens, first = position, 0, False
        if line_tokens > settings.limit:  # a row that is a text of its own
            for piece in _prose(text, position, line_end, section, settings, count):
                yield _Piece(piece.start, piece.end, piece.tokens, section, "" if first else header)
                first = False
            group_start, group_tokens = line_end, 0
        else:
            group_tokens += line_tokens
        position = line_end
    yield from _lines(text, group_start, right, section, "" if first else header, group_tokens)


def _lines(text: str, start: int, end: int, section: _Section, context: str, tokens: int) -> Iterator[_Piece]:
    start, end = _trim(text, start, end)
    if start < end:
        yield _Piece(start, end, tokens, section, context)


def _line_end(text: str, start: int, end: int) -> int:
    """Just behind the line that begins at ``start``."""
    found = text.find("\n", start, end)
    return end if found < 0 else found + 1


# --- from pieces to chunks --------------------------------------------------------------------------------------


def _pack(pieces: Iterable[_Piece], settings: ChunkSettings) -> Iterator[list[_Piece]]:
    """Neighbouring pieces together, as long as they stay within the target.

    Inside one section always; across sections only while one of the two is too small to stand alone (a third of
    the target; of records, a tenth), so that a chunk has one subject. A piece with a context (a continued table)
    begins a chunk.
    """
    group: list[_Piece] = []
    tokens = 0
    for piece in pieces:
        fits = bool(group) and tokens + piece.tokens <= settings.target and not piece.context
        if fits and piece.section is not group[-1].section:
            small = settings.target // (10 if piece.section.record else 3)
            fits = tokens <= small or piece.tokens <= small
        if not fits:
            if group:
                yield group
            group, tokens = [], 0
        group.append(piece)
        tokens += piece.tokens
    if group:
        yield group


def _shared(paths: list[tuple[str, ...]]) -> tuple[str, ...]:
    """The headings that all paths begin with."""
    shared: list[str] = []
    for level in zip(*paths, strict=False):
        if any(heading != level[0] for heading in level):
            break
        shared.append(level[0])
    return tuple(shared)


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    """[start, end) without the blanks at its ends; empty at ``end`` when all of it is blank."""
    body = text[start:end]
    start += len(body) - len(body.lstrip())
    return start, max(start, start + len(body.strip()))
