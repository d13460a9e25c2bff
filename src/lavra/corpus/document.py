"""The document: what every reader produces and every later room consumes.

A document is one source file or one record of a file, as plain text, with what an auditor asks about it (licence,
owner, who may read it) and where things stand in it (pages, headings, tables), so that an answer can cite a place
that a person can open.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal

SpanKind = Literal["heading", "page", "table", "code", "slide", "sheet", "record"]
"""What a stretch of a document is. ``heading`` covers the heading's own line; the rest cover their whole extent."""

PUBLIC = "public"
"""The role that everybody has. A document without other roles is readable by all."""


@dataclass(frozen=True, slots=True)
class Span:
    """A named stretch of ``Document.text``; offsets are in code points, end exclusive."""

    kind: SpanKind
    start: int
    end: int
    label: str = ""
    """The heading's title, the page's number as printed or counted from 1, the sheet's name …"""
    level: int = 0
    """1 to 6 for headings, 0 for everything else."""


@dataclass(frozen=True, slots=True)
class Document:
    """One source file or record.

    ``source`` is its stable name inside the corpus: ``<folder name>/<path inside the folder>``, with ``#<record>``
    after it for a record of a file. ``id`` follows from ``source`` alone, so that a changed file keeps its id and
    only its ``hash`` differs.
    """

    source: str
    text: str
    title: str = ""
    format: str = "text"
    language: str = "und"
    """ISO 639-1, or ``und`` when it could not be told."""
    licence: str | None = None
    """An SPDX identifier where there is one."""
    owner: str | None = None
    roles: tuple[str, ...] = (PUBLIC,)
    spans: tuple[Span, ...] = ()
    bytes: int = 0
    """Size of the source in bytes."""
    modified: str | None = None
    """Last modification of the source, ISO 8601, UTC."""
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits that follow from ``source``."""
        return hashlib.sha256(self.source.encode()).hexdigest()[:16]

    def place(self, offset: int) -> tuple[str | None, tuple[str, ...]]:
        """The page (slide, sheet) and the headings, outermost first, under which ``text[offset]`` stands."""
        page: str | None = None
        headings: list[Span] = []
        for span in self.spans:
            if span.start > offset:
                continue
            if span.kind == "heading":
                while headings and headings[-1].level >= span.level:
                    headings.pop()
                headings.append(span)
            elif span.kind in ("page", "slide", "sheet") and offset < span.end:
                page = span.label
        return page, tuple(span.label for span in headings if span.label)

    @property
    def hash(self) -> str:
        """SHA-256 of the text: two documents with one hash are exact duplicates."""
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()
