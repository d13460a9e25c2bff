"""Texts as sets of shingles: hashes of every n words in a row, after case, accents, marks and numbers are levelled.

What is levelled is what differs between two copies of one text: capitals, diacritics lost in an export, punctuation,
dates and counters (a number is ``0``). N documents, S shingles.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lavra.corpus.quality.characters import SYMBOL, character_table
from lavra.corpus.quality.kernels import decode

_SPACE, _ZERO, _GONE = 32, 48, 0
_MIX = np.uint64(0x9E3779B97F4A7C15)
_MIX_2 = np.uint64(0xBF58476D1CE4E5B9)


@cache
def levelled() -> NDArray[np.uint32]:
    """(1114112,) every code point's stand-in: lower case without diacritics; 32 for marks and space, 0 for nothing."""
    table = np.arange(0x110000, dtype=np.uint32)
    symbols = character_table() & SYMBOL
    for code in range(0x323B0):
        char = chr(code)
        if symbols[code] or char.isspace():
            table[code] = _SPACE
            continue
        category = unicodedata.category(char)
        if category == "Nd":
            table[code] = _ZERO
        elif category == "Mn":
            table[code] = _GONE
        else:
            base = unicodedata.normalize("NFD", char.lower())
            table[code] = ord(base[0])
    return table


@njit(nogil=True, cache=True)
def _mixed(value: Any) -> Any:
    value = (value ^ (value >> np.uint64(30))) * _MIX_2
    return value ^ (value >> np.uint64(27))


@njit(nogil=True, cache=True)
def word_hashes(codes: Any, count: int, level: Any, out: Any) -> int:
    """Hashes of the levelled words of ``codes[:count]`` into ``out``; how many. A run of digits is one zero."""
    words, value, inside, digit = 0, np.uint64(0), False, False
    for at in range(count):
        code = level[codes[at]]
        if code == 0:
            continue
        if code == 32:
            if inside:
                out[words] = _mixed(value)
                words += 1
            value, inside, digit = np.uint64(0), False, False
            continue
        if code == 48:
            if digit:
                continue
            digit = True
        else:
            digit = False
        value = (value ^ np.uint64(code)) * _MIX
        value ^= value >> np.uint64(32)
        inside = True
    if inside:
        out[words] = _mixed(value)
        words += 1
    return words


@njit(nogil=True, cache=True)
def shingle_hashes(words: Any, count: int, n: int, out: Any) -> int:
    """32-bit hashes of every ``n`` of ``words[:count]`` in a row into ``out``; of all of them where they are fewer."""
    if count == 0:
        return 0
    width = min(n, count)
    for first in range(count - width + 1):
        value = np.uint64(0)
        for step in range(width):
            value = (value ^ words[first + step]) * _MIX
            value ^= value >> np.uint64(29)
        out[first] = np.uint32(_mixed(value) >> np.uint64(32))
    return count - width + 1


@njit(nogil=True, cache=True)
def _sets(offsets: Any, data: Any, rows: Any, n: int, level: Any) -> Any:
    longest = 0
    room = 0
    for row in rows:
        size = offsets[row + 1] - offsets[row]
        longest = max(longest, size)
        room += size // 2 + 1
    codes, words = np.empty(longest + 1, np.uint32), np.empty(longest // 2 + 2, np.uint64)
    flat, ends = np.empty(room, np.uint32), np.zeros(rows.shape[0] + 1, np.int64)
    used = 0
    for index in range(rows.shape[0]):
        row = rows[index]
        total = decode(data, offsets[row], offsets[row + 1], codes)
        count = shingle_hashes(words, word_hashes(codes, total, level, words), n, flat[used:])
        part = np.sort(flat[used : used + count])
        unique = 0
        for at in range(count):
            if at == 0 or part[at] != part[at - 1]:
                flat[used + unique] = part[at]
                unique += 1
        used += unique
        ends[index + 1] = used
    return flat[:used].copy(), ends


def shingle_sets(
    offsets: NDArray[np.int64], data: NDArray[np.uint8], rows: NDArray[np.int64], n: int
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Sorted, different shingles of some documents behind each other, and (rows + 1,) where each one's begin."""
    return _sets(offsets, data, rows, n, levelled())


@njit(nogil=True, cache=True)
def jaccard(flat: Any, ends: Any, left: Any, right: Any) -> Any:
    """(E,) shared shingles of each pair of sets over all of both; 0 where both are empty."""
    out = np.zeros(left.shape[0], np.float64)
    for edge in range(left.shape[0]):
        a, a_end = ends[left[edge]], ends[left[edge] + 1]
        b, b_end = ends[right[edge]], ends[right[edge] + 1]
        total, shared = (a_end - a) + (b_end - b), 0
        while a < a_end and b < b_end:
            if flat[a] == flat[b]:
                shared += 1
                a += 1
                b += 1
            elif flat[a] < flat[b]:
                a += 1
            else:
                b += 1
        if total:
            out[edge] = shared / (total - shared)
    return out
