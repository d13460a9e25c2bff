"""All that a search reads of a chunk, in one value.

Lance reads every column of every row by itself, at some 15 µs of CPU time each: what the fusion compares of 150 rows
took 11 ms as five columns, and what is shown of the best six 4 ms as ten more. As one value all of it is read once.
The vector is in it although it has a column, for LanceDB to index: 150 MB on disk at 100,000 chunks of 384 dimensions.
Texts stand in it as they are, in UTF-8, so that a search of the files for an erased sentence finds them.
"""

from __future__ import annotations

import struct

from lavra.retrieval.passage import Passage

_HEAD = struct.Struct("<4q")
"""Where the chunk begins and ends; the bytes of its vector and of its sentences', which come next, before its texts."""

_BETWEEN, _NONE = b"\xff", b"\xfe"
"""Between two texts, and in the place of none: bytes that UTF-8 does not have."""


def pack(passage: Passage, analysed: str, vector: bytes, sentences: bytes) -> bytes:
    """What :class:`Record` reads: the passage, its stems joined by spaces, its vector (float32) and its sentences'."""
    first = (passage.chunk_id, passage.document_id, analysed, passage.text)
    texts = (*first, passage.source, passage.title, passage.language, passage.page, *passage.headings)
    written = _BETWEEN.join(_NONE if text is None else text.encode() for text in texts)
    return _HEAD.pack(passage.start, passage.end, len(vector), len(sentences)) + vector + sentences + written


class Record:
    """A chunk as a search sees it; what is shown of the best alone is decoded when it is asked for."""

    __slots__ = ("_end", "_start", "_texts", "analysed", "chunk_id", "document_id", "sentences", "vector")

    def __init__(self, packed: bytes) -> None:
        self._start, self._end, width, size = _HEAD.unpack_from(packed)
        texts_at = _HEAD.size + width + size
        self.vector = packed[_HEAD.size : _HEAD.size + width]
        self.sentences = packed[_HEAD.size + width : texts_at]
        self._texts = packed[texts_at:].split(_BETWEEN)
        self.chunk_id, self.document_id, self.analysed = (text.decode() for text in self._texts[:3])

    def passage(self, score: float = 0.0, features: dict[str, float] | None = None) -> Passage:
        """The passage as it is shown."""
        text, source, title, language, page, *headings = self._texts[3:]
        return Passage(
            chunk_id=self.chunk_id,
            document_id=self.document_id,
            source=source.decode(),
            title=title.decode(),
            text=text.decode(),
            start=self._start,
            end=self._end,
            headings=tuple(heading.decode() for heading in headings),
            page=None if page == _NONE else page.decode(),
            language=language.decode(),
            score=score,
            features=features or {},
        )
