"""One pass over a batch of texts: every figure that the rules ask for, from the bytes as Arrow holds them.

The published rules differ in thresholds and agree in what they count; so the counting is done once, by compiled code
over the batch's UTF-8, and the rules (`rules`) compare columns. N documents, C characters, W words, L lines.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lavra.corpus.quality import column
from lavra.corpus.quality.c4 import keeps_line
from lavra.corpus.quality.column import FIGURES
from lavra.corpus.quality.counts import (
    count_full_lines,
    count_marked_line,
    count_marks,
    count_paragraphs,
    count_rows,
    count_words,
    covered_again,
    cut_lines,
    find_lines,
    most_frequent,
    stripped,
)
from lavra.corpus.quality.words import split_words, tables

_TABLES = 16
"""Counts of a document that need a table; each has a stamp of its own."""


def phrases(words: tuple[str, ...]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Lower-case phrases, each beginning with an ASCII sign, to look for in lines: code points, where each begins."""
    assert all(word[0].isascii() for word in words)
    codes = np.array([ord(c) for word in words for c in word], np.uint32)
    return codes, np.cumsum([0, *map(len, words)]).astype(np.int64)


def measure(
    offsets: NDArray[np.int64],
    data: NDArray[np.uint8],
    stops: NDArray[np.uint64],
    unwanted: tuple[NDArray[np.uint32], NDArray[np.int64]],
    *,
    short_line: int = 30,
    min_line_words: int = 3,
    max_word_length: int = 1_000,
    terminal_only: bool = True,
) -> tuple[NDArray[np.float64], NDArray[np.uint8], NDArray[np.int64]]:
    """Figures of N texts, and what C4 keeps of each.

    offsets: (N + 1,) of the texts in ``data`` (bytes of UTF-8); stops: `words.stop_table`; unwanted: phrases whose
    lines C4 drops; ``terminal_only``: C4 keeps only lines that end in a terminal mark.
    Returns (N, len(FIGURES)) figures, and for every line of every text, in order, whether C4 keeps it, with (N + 1,)
    offsets of the texts' lines.
    """
    table, special, parts, units = tables()
    return _measure(
        offsets, data, stops, *unwanted, short_line, min_line_words, max_word_length, terminal_only,
        table, special, parts, units,
    )  # fmt: skip


@njit(nogil=True, cache=True)
def decode(data: Any, start: int, end: int, codes: Any) -> int:
    """Code points of ``data[start:end]``, which is valid UTF-8, into ``codes``; how many."""
    count, at = 0, start
    while at < end:
        byte = data[at]
        if byte < 0x80:
            codes[count] = byte
            at += 1
        elif byte < 0xE0:
            codes[count] = (np.uint32(byte & 0x1F) << 6) | np.uint32(data[at + 1] & 0x3F)
            at += 2
        elif byte < 0xF0:
            codes[count] = (
                (np.uint32(byte & 0x0F) << 12) | (np.uint32(data[at + 1] & 0x3F) << 6) | np.uint32(data[at + 2] & 0x3F)
            )
            at += 3
        else:
            codes[count] = (
                (np.uint32(byte & 0x07) << 18)
                | (np.uint32(data[at + 1] & 0x3F) << 12)
                | (np.uint32(data[at + 2] & 0x3F) << 6)
                | np.uint32(data[at + 3] & 0x3F)
            )
            at += 4
        count += 1
    return count


@njit(nogil=True, cache=True)
def _measure(
    offsets: Any, data: Any, stops: Any, unwanted: Any, unwanted_at: Any, short_line: int, min_line_words: int,
    max_word_length: int, terminal_only: bool, table: Any, special: Any, parts: Any, units: Any,
) -> Any:  # fmt: skip
    documents = offsets.shape[0] - 1
    longest = 0
    for row in range(documents):
        longest = max(longest, offsets[row + 1] - offsets[row])
    room = longest + 2
    codes, cleaned = np.empty(room, np.uint32), np.empty(room, np.uint32)
    starts, ends = np.empty(room, np.int32), np.empty(room, np.int32)
    own_starts, own_ends = np.empty(room, np.int32), np.empty(room, np.int32)
    line_starts, line_ends = np.empty(room, np.int32), np.empty(room, np.int32)
    hashes, line_hashes, prefix = np.empty(room, np.uint64), np.empty(room, np.uint64), np.empty(room + 1, np.uint64)
    lengths = np.empty(room + 1, np.int64)
    size = 64
    while size < 2 * room:
        size *= 2
    keys, stamps = np.empty(size, np.uint64), np.zeros(size, np.int32)
    counts, firsts = np.empty(size, np.int32), np.empty(size, np.int32)
    places, slots = np.empty(room, np.int32), np.empty(room, np.int32)
    initial = np.zeros(128, np.uint8)  # letters that a phrase begins with
    for which in range(2, unwanted_at.shape[0] - 1):
        initial[unwanted[unwanted_at[which]]] = 1
    figures = np.zeros((documents, len(FIGURES)), np.float64)
    kept_at = np.zeros(documents + 1, np.int64)
    kept = np.zeros(offsets[documents] - offsets[0] + documents + 1, np.uint8)
    kept_count = 0
    for row in range(documents):
        out = figures[row]
        total = decode(data, offsets[row], offsets[row + 1], codes)
        out[column.CHARACTERS] = total
        count_marks(codes, total, out)
        words = split_words(codes, 0, total, table, special, parts, units, starts, ends, hashes)
        # A table no larger than the document asks for stays in the cache.
        mask = 63
        while mask + 1 < 2 * (max(words, out[column.NEWLINES]) + 2):
            mask = 2 * mask + 1
        stamp = row * _TABLES + 1  # each count below has a table of its own: the same one under another stamp
        count_words(codes, words, starts, ends, hashes, prefix, lengths, stops, table, keys, stamps, mask, stamp, out)
        first, last = stripped(codes, 0, total, table)
        lines = cut_lines(codes, total, line_starts, line_ends, line_hashes)
        count_paragraphs(
            codes, first, last, lines, line_starts, line_ends, line_hashes, keys, stamps, mask, stamp + 1, out
        )
        count_rows(lines, line_starts, line_ends, line_hashes, keys, stamps, mask, stamp + 2, out)
        count_full_lines(
            codes, lines, line_starts, line_ends, line_hashes, short_line, table, keys, stamps, mask, stamp + 3, out
        )
        # An n-gram that comes again begins where a shorter one does that comes again: each pass looks at fewer places.
        many = words
        for word in range(words):
            places[word] = word
        for n in range(2, 5):
            out[column.TOP_2 + n - 2], many = most_frequent(
                n, words, places, many, prefix, lengths, keys, stamps, mask, stamp + 2 + n, counts, firsts, slots
            )
        for n in range(5, 11):
            out[column.DUP_5 + n - 5] = covered_again(
                n, words, places, many, prefix, lengths, keys, stamps, mask, stamp + 2 + n
            )
        lines = find_lines(codes, total, table, line_starts, line_ends)
        out[column.LINES] = lines
        out[column.C4_LINES] = lines
        first_word = word = 0
        for line in range(lines):
            a, b = stripped(codes, line_starts[line], line_ends[line], table)
            while word < words and starts[word] < b:
                word += 1
            count_marked_line(codes, a, b, out)
            kept[kept_count] = keeps_line(
                codes, a, b, starts, ends, first_word, word - first_word, cleaned, own_starts, own_ends, line_hashes,
                out, unwanted, unwanted_at, initial, min_line_words, max_word_length, terminal_only,
                table, special, parts, units,
            )  # fmt: skip
            kept_count += 1
            first_word = word
        kept_at[row + 1] = kept_count
    return figures, kept[:kept_count], kept_at
