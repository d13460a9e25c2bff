"""Paragraphs taken out of documents: the text, the places in it, and its hash."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lavra.corpus.document import Span

_SPAN = ("kind", "start", "end", "label", "level")
_BLANK = re.compile(r"\s*")


def without_paragraphs(table: Any, goes: NDArray[np.bool_], ends: NDArray[np.int64], words: int) -> Any:
    """``table`` (N documents with ``text``, ``spans`` and ``_hash``) without the paragraphs that go.

    goes: (P,) of the paragraphs of ``words`` words or more, ends: (N + 1,) where each document's begin among them.
    Only documents that lose something are touched.
    """
    import pyarrow as pa

    from lavra.corpus.duplicates.paragraphs import paragraphs
    from lavra.corpus.normalising import apply, move
    from lavra.corpus.quality.batch import buffers

    many = np.concatenate([np.zeros(1, np.int64), np.cumsum(goes)])[ends]
    rows = np.flatnonzero(np.diff(many))
    if not len(rows):
        return table
    some = table.select(["text", "spans"]).take(pa.array(rows))
    _, _, begins, stops, places = paragraphs(*buffers(some["text"]), words=words)
    texts, spans = [], []
    for at, (row, document) in enumerate(zip(rows.tolist(), some.to_pylist(), strict=True)):
        here = slice(places[at], places[at + 1])
        edits = _edits(document["text"], begins[here], stops[here], goes[ends[row] : ends[row + 1]])
        texts.append(apply(document["text"], edits))
        moved = move([Span(**span) for span in document["spans"] or ()], edits)
        spans.append([{name: getattr(span, name) for name in _SPAN} for span in moved])
    hashes = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in texts]
    picked = np.arange(len(table))
    picked[rows] = len(table) + np.arange(len(rows))
    for name, values in (("text", texts), ("spans", spans), ("_hash", hashes)):
        index = table.schema.get_field_index(name)
        kind = table.schema.field(index).type
        both = pa.chunked_array([*table[name].chunks, pa.array(values, kind)], kind).combine_chunks()
        table = table.set_column(index, table.schema.field(index), both.take(pa.array(picked)))
    return table


def _edits(
    text: str, begins: NDArray[np.int64], stops: NDArray[np.int64], goes: NDArray[np.bool_]
) -> list[tuple[int, int, str]]:
    """What takes the paragraphs out, each with the blank lines behind it; the last one with those before it."""
    edits: list[tuple[int, int, str]] = []
    for begin, stop in zip(begins[goes].tolist(), stops[goes].tolist(), strict=True):
        if edits and edits[-1][1] == begin:  # so does the one before
            begin, _, _ = edits.pop()
        behind = _BLANK.match(text, stop).end()  # type: ignore[union-attr]
        if behind == len(text):
            begin = len(text[:begin].rstrip())
        else:
            behind = text.rfind("\n", stop, behind) + 1  # the next one keeps its indentation
        edits.append((begin, behind, ""))
    return edits
