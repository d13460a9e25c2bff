"""Traps into documents: each copy is a paragraph of its own, at a place drawn from all places of all documents.

Meeus et al. (2024) repeat a trap inside one book. Here documents are of any length, so copies are spread: places where
a paragraph may stand (after an empty line, at the end; not inside tables, code or headings) are all equally likely.
Only documents in the register's language get traps. The documents in the workspace's own corpus stay as they are.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from lavra.corpus.document import Document
from lavra.corpus.traps.making import stream
from lavra.corpus.traps.register import Register
from lavra.errors import LavraError

_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
_CLOSED = ("table", "code", "heading")


@dataclass(frozen=True)
class Places:
    """How many places each document has, by id, those without one left out."""

    counts: Mapping[str, int]

    @classmethod
    def of(cls, documents: Iterable[Document], language: str) -> Places:
        """Raises LavraError where no document is in ``language``."""
        counts = {document.id: len(places(document)) for document in documents if document.language == language}
        if not counts:
            raise LavraError(
                f"no document of the corpus is in {language!r}, the language of the traps: make others with --language."
            )
        return cls(counts)


def places(document: Document) -> list[int]:
    """Offsets at which a paragraph may be put: before a paragraph, and at the end."""
    closed = [(span.start, span.end) for span in document.spans if span.kind in _CLOSED]
    found = [match.end() for match in _PARAGRAPH.finditer(document.text) if match.end() < len(document.text)]
    return [at for at in found if not any(start < at < end for start, end in closed)] + [len(document.text)]


def draw_documents(register: Register, places: Places) -> list[Counter[str]]:
    """For each entry of the register, how many copies go into which document; none for a twin."""
    ids = list(places.counts)
    ends = list(accumulate(places.counts[id] for id in ids))
    draw = stream(register.secret, "documents")
    found = []
    for entry in register.entries:
        copies = entry.level if entry.inserted else 0
        found.append(Counter(ids[bisect_right(ends, draw.randrange(ends[-1]))] for _ in range(copies)))
    return found


def inject(documents: Iterable[Document], register: Register) -> Iterator[Document]:
    """Each of ``documents`` with the traps that the register says it has."""
    texts: dict[str, list[str]] = {}
    for entry in register.entries:
        for id, copies in entry.documents.items():
            texts.setdefault(id, []).extend([entry.text] * copies)
    for document in documents:
        given = texts.get(document.id)
        yield insert(document, given, stream(register.secret, "places", document.id)) if given else document


def insert(document: Document, texts: Sequence[str], draw: random.Random) -> Document:
    """The document with each of ``texts`` as a paragraph at a place of its own; spans stay on what they name."""
    open_places = places(document)
    order = list(texts)
    draw.shuffle(order)
    at_places = sorted(draw.choice(open_places) for _ in order)
    pieces: list[str] = []
    moved: list[tuple[int, int]] = []  # the old offset, and by how much everything from there on moves
    last = shift = 0
    for at, text in zip(at_places, order, strict=True):
        pieces.append(document.text[last:at])
        piece = f"{text}\n\n" if at < len(document.text) else f"\n\n{text}"
        pieces.append(piece)
        shift += len(piece)
        moved.append((at, shift))
        last = at
    pieces.append(document.text[last:])
    offsets, shifts = [at for at, _ in moved], [0, *(by for _, by in moved)]

    def start(offset: int) -> int:
        return offset + shifts[bisect_right(offsets, offset)]

    def end(offset: int) -> int:  # what ends where a paragraph is put ends before it
        return offset + shifts[bisect_left(offsets, offset)]

    spans = tuple(replace(span, start=start(span.start), end=end(span.end)) for span in document.spans)
    return replace(document, text="".join(pieces), spans=spans)
