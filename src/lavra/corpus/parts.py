"""What a reader makes of a file: text with named stretches, and what the file says about itself.

Offsets are only right if nothing changes the text afterwards, so the text is normalised here, piece by piece, as it
is written (`TextBuilder`), or whole before anything is located in it (`normalise`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from lavra.corpus.document import Span, SpanKind


class Unreadable(Exception):
    """A file that cannot be read: ``kind`` is one word for the report, ``reason`` a sentence for a person."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


@dataclass(slots=True)
class Parts:
    """One document as its reader saw it. The last five are the file's own claims, which sources may overrule."""

    text: str
    spans: tuple[Span, ...] = ()
    title: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    record: str = ""
    """Name of the record inside its file; empty where the file is one document."""
    licence: str | None = None
    owner: str | None = None
    roles: tuple[str, ...] | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot be read, in a file whose other records can."""

    record: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Inner:
    """A record whose content has a format of its own (a page of the web, a message): a reader has yet to read it."""

    kind: str
    data: bytes
    about: Parts
    """The record's name, metadata and title, which hold for what the reader makes of it; its text is empty."""

    def parts(self, made: Parts) -> Parts:
        """What the reader made, with what the record says about it."""
        about = self.about
        made.record = about.record
        made.title = about.title or made.title
        # Of reservations the page's own word goes before the header's (TDM Reservation Protocol).
        own = {key: value for key, value in made.metadata.items() if key.startswith("tdm_")}
        made.metadata = {**made.metadata, **about.metadata, **own}
        for claim in ("licence", "owner", "roles", "language"):
            if getattr(made, claim) is None:
                setattr(made, claim, getattr(about, claim))
        return made


Record = Parts | BadRecord | Inner


_NEWLINES = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_REMOVED = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\ufeff\ufffe\uffff]")
_SURROGATES = re.compile("[\ud800-\udfff]")


def normalise(text: str) -> str:
    """The form all text has in a corpus: NFC, ``\\n`` for every line end, no control characters.

    Removed besides control characters (tab and newline stay): soft hyphens, byte order marks and the two
    noncharacters. Lone surrogates become U+FFFD, so that the result is always valid UTF-8. Idempotent.
    """
    text = _NEWLINES.sub("\n", text)
    if not text.isprintable():  # newlines are not printable either: this spares one-line texts only
        text = _REMOVED.sub("", text)
        text = _SURROGATES.sub("\ufffd", text)
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    return text


_SPACES = re.compile(r"[\s\u200b]+")


def one_line(text: str) -> str:
    """``text`` normalised, with every run of white space as one blank."""
    return _SPACES.sub(" ", normalise(text)).strip()


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as a Markdown table, the first row as its header; empty where there is no text at all."""
    cleaned = [[one_line(cell).replace("|", "\\|") for cell in row] for row in rows]
    cleaned = [row for row in cleaned if any(row)]
    if not cleaned:
        return ""
    width = max(len(row) - next((i for i, cell in enumerate(reversed(row)) if cell), 0) for row in cleaned)
    lines = ["| " + " | ".join([*row[:width], *[""] * (width - len(row))]) + " |" for row in cleaned]
    lines.insert(1, "|" + " --- |" * width)
    return "\n".join(lines)


class TextBuilder:
    """Writes a text piece by piece and remembers where things stand in it.

    Every piece is normalised and stripped before it is appended, and pieces are parted by newlines, with which
    nothing composes: the whole is therefore normalised too, and ``text[span.start:span.end]`` is what was written.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._open: list[list[int]] = []
        self._last_gap = ""
        self.length = 0
        self.spans: list[Span] = []

    def write(self, text: str, *, gap: str = "\n\n", keep_indent: bool = False) -> tuple[int, int] | None:
        """Append ``text`` after ``gap`` (newlines); its offsets, or None where nothing is left of it."""
        text = normalise(text)
        text = text.strip("\n").rstrip() if keep_indent else text.strip()
        if not text.strip():
            return None
        if self.length:
            self._pieces.append(gap)
            self.length += len(gap)
        start = self.length
        for mark in self._open:
            if mark[0] < 0:
                mark[0] = start
        self._pieces.append(text)
        self.length += len(text)
        return start, self.length

    def heading(self, text: str, level: int) -> None:
        """A heading on a line of its own."""
        title = one_line(text)
        if place := self.write(title):
            self.spans.append(Span("heading", *place, label=title, level=min(max(level, 1), 6)))

    def block(self, kind: SpanKind, text: str, label: str = "") -> None:
        """A stretch with a span of its own: a code block, a table already in Markdown."""
        if place := self.write(text, keep_indent=kind == "code"):
            self.spans.append(Span(kind, *place, label=label))

    def table(self, rows: Sequence[Sequence[str]], label: str = "") -> None:
        """A table, as Markdown."""
        self.block("table", markdown_table(rows), label)

    @contextmanager
    def within(self, kind: SpanKind, label: str) -> Iterator[None]:
        """What is written inside the ``with`` gets a span; nothing written, no span."""
        mark = [-1]
        self._open.append(mark)
        try:
            yield
        finally:
            self._open.remove(mark)
            if mark[0] >= 0:
                self.spans.append(Span(kind, mark[0], self.length, label=one_line(label)))

    def parts(self, *, title: str = "", metadata: dict[str, str] | None = None) -> Parts:
        """What was written; the title falls back to the first heading."""
        spans = ordered(self.spans)
        title = one_line(title) or next((span.label for span in spans if span.kind == "heading"), "")
        return Parts("".join(self._pieces), spans, title, metadata or {})


def ordered(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Spans by where they start, the longer first: an outer one stands before what it contains."""
    return tuple(sorted(spans, key=lambda span: (span.start, -span.end, span.kind)))
