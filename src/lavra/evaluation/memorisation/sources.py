"""Which documents hold a passage: the longest run of words that both have, wherever in the corpus.

Words are compared without case or punctuation, so that a passage is found as it was printed and as a model writes it.
The corpus is read once for any number of passages, document by document; a document that shares at least a run of
``least`` words with one is a source of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lavra.corpus.document import Document

LEAST = 8
"""Words of a run that are no coincidence: six words in a row are said by many, in the same field."""
_UNSPACED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
"""Thai, Lao, kana, Han, Hangul: a character counts as a word, for blanks do not part them as elsewhere."""
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


@dataclass(frozen=True)
class Source:
    """A document that holds part of passage number ``passage``: ``run`` words in a row, of the passage's ``of``;
    ``start`` and ``end`` of that run in the document's text, and its ``page`` and ``headings``."""

    passage: int
    document: str
    source: str
    title: str
    licence: str | None
    run: int
    of: int
    start: int
    end: int
    page: str | None
    headings: tuple[str, ...]

    @property
    def share(self) -> float:
        """Of the passage."""
        return self.run / max(1, self.of)


def find_sources(
    documents: Iterable[Document], passages: Sequence[str], *, least: int = LEAST, most: int = 5
) -> list[list[Source]]:
    """For each passage its sources, the longest run first, at most ``most``. A passage of fewer than ``least`` words is
    looked for as a whole."""
    wanted = [words(passage) for passage in passages]
    grams: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    sizes: set[int] = set()
    for number, of in enumerate(wanted):
        size = min(least, len(of))
        if size:
            sizes.add(size)
            for at in range(len(of) - size + 1):
                grams.setdefault(tuple(of[at : at + size]), []).append((number, at))
    firsts = {gram[0] for gram in grams}
    found: list[list[Source]] = [[] for _ in passages]
    for document in documents:
        matches = list(_WORD.finditer(document.text))
        here = [match[0].casefold() for match in matches]
        best: dict[int, tuple[int, int]] = {}
        for at, word in enumerate(here):
            if word not in firsts:
                continue
            for size in sizes:
                for number, begin in grams.get(tuple(here[at : at + size]), ()):
                    length = _run(here, at, wanted[number], begin)
                    if length > best.get(number, (0, 0))[0]:
                        best[number] = length, at
        for number, (length, at) in best.items():
            start, end = matches[at].start(), matches[at + length - 1].end()
            page, headings = document.place(start)
            found[number].append(
                Source(
                    number, document.id, document.source, document.title, document.licence, length,
                    len(wanted[number]), start, end, page, headings,
                )
            )  # fmt: skip
    return [sorted(sources, key=lambda one: (-one.run, one.source))[:most] for sources in found]


def words(text: str) -> list[str]:
    return [match[0].casefold() for match in _WORD.finditer(text)]


def _run(here: Sequence[str], at: int, passage: Sequence[str], begin: int) -> int:
    length = 0
    while at + length < len(here) and begin + length < len(passage) and here[at + length] == passage[begin + length]:
        length += 1
    return length
