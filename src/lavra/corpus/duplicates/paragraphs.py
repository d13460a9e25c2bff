"""Paragraphs that stand in several documents: told by their words, and kept in one of them.

A paragraph is what stands between blank lines. Two are the same where their words are (however the lines are broken),
capitals, marks and numbers included: what is removed stands elsewhere word by word. 64-bit hashes are compared; of a
thousand million paragraphs, three in a hundred corpora would hold one pair mistaken for each other.

N documents, P paragraphs of enough words.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lavra.corpus.quality.characters import SPACE, character_table
from lavra.corpus.quality.kernels import decode

_MIX = np.uint64(0x9E3779B97F4A7C15)
_MIX_2 = np.uint64(0xBF58476D1CE4E5B9)
_NEWLINE = 10

Places = tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def paragraphs(offsets: NDArray[np.int64], data: NDArray[np.uint8], *, words: int) -> Places:
    """The paragraphs of ``words`` words or more of N texts.

    offsets: (N + 1,) of the texts in ``data`` (bytes of UTF-8). Returns (P,) hashes, (P,) bytes, (P,) where each
    begins and (P,) ends (code points of its text), and (N + 1,) where each text's paragraphs begin among them.
    """
    return _paragraphs(offsets, data, words, character_table())


@njit(nogil=True, cache=True)
def _paragraphs(offsets: Any, data: Any, least: int, table: Any) -> Any:
    documents, longest = offsets.shape[0] - 1, 0
    for row in range(documents):
        longest = max(longest, offsets[row + 1] - offsets[row])
    codes = np.empty(longest + 1, np.uint32)
    room = (offsets[documents] - offsets[0]) // (2 * least) + documents + 1  # a word takes a letter and a space
    hashes, sizes = np.empty(room, np.uint64), np.empty(room, np.int64)
    begins, stops = np.empty(room, np.int64), np.empty(room, np.int64)
    ends = np.zeros(documents + 1, np.int64)
    count = 0
    for row in range(documents):
        total = decode(data, offsets[row], offsets[row + 1], codes)
        value, words, size, until, begin, stop = np.uint64(0), 0, 0, 0, 0, -1
        inside, blank = False, True
        for at in range(total + 1):
            if at == total or codes[at] == _NEWLINE:
                if not blank:
                    stop, until = at, size
                if (blank or at == total) and stop >= 0:  # a blank line, or the end: the paragraph is over
                    if words >= least:
                        value = (value ^ (value >> np.uint64(30))) * _MIX_2
                        hashes[count], sizes[count] = value ^ (value >> np.uint64(27)), until
                        begins[count], stops[count] = begin, stop
                        count += 1
                    value, words, stop = np.uint64(0), 0, -1
                size += 1
                if stop < 0:
                    begin, size = at + 1, 0
                inside, blank = False, True
                continue
            code = codes[at]
            size += 1 + (code >= 0x80) + (code >= 0x800) + (code >= 0x10000)
            if table[code] & SPACE:
                inside = False
                continue
            blank = False
            if not inside:
                value = (value ^ np.uint64(32)) * _MIX
                value ^= value >> np.uint64(32)
                words += 1
                inside = True
            value = (value ^ np.uint64(code)) * _MIX
            value ^= value >> np.uint64(32)
        ends[row + 1] = count
    return hashes[:count].copy(), sizes[:count].copy(), begins[:count].copy(), stops[:count].copy(), ends


def kept_elsewhere(
    hashes: NDArray[np.uint64],
    sizes: NDArray[np.int64],
    ends: NDArray[np.int64],
    readers: NDArray[np.int64],
    totals: NDArray[np.int64],
    order: NDArray[np.int64],
    left: float,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Which document keeps each paragraph that another one loses, and (N,) which documents lose too much to stay.

    hashes, sizes (bytes) and ends as `paragraphs` gives them; readers: (N,) who may read a document, as a number, for
    only documents of the same readers stand in for each other; totals: (N,) bytes of the texts; order: rows of the
    documents that are to stay, the one that keeps what it shares first; left: the share of a document that has to stay.
    Returns (P,) rows, -1 where a paragraph stays where it is. A document that does not stay keeps nothing from others.
    """
    mixed = (readers.astype(np.uint64) + np.uint64(1)) * _MIX
    _, names = np.unique(hashes ^ np.repeat(mixed, np.diff(ends)), return_inverse=True)
    return _kept_elsewhere(names.astype(np.int64), sizes, ends, totals, order, left)


@njit(nogil=True, cache=True)
def _kept_elsewhere(names: Any, sizes: Any, ends: Any, totals: Any, order: Any, left: float) -> Any:
    owners = np.full(names.shape[0], -1, np.int64)
    kept_by = np.full(names.shape[0], -1, np.int64)
    thin = np.zeros(totals.shape[0], np.bool_)
    for row in order:
        lost = 0
        for at in range(ends[row], ends[row + 1]):
            kept_by[at] = owners[names[at]]
            if kept_by[at] >= 0:
                lost += sizes[at]
        thin[row] = lost > 0 and totals[row] - lost < left * totals[row]
        if not thin[row]:
            for at in range(ends[row], ends[row + 1]):
                if kept_by[at] < 0:
                    owners[names[at]] = row
    return kept_by, thin
