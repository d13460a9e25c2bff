"""Counts over one document, compiled: its marks, words, paragraphs, lines and n-grams.

Repeated pieces are told by 64-bit hashes in a table that is emptied by a stamp instead of being cleared: two different
pieces with one hash would have to meet within one document. ``out`` is the document's row of figures (`column`);
``keys``, ``stamps``, ``mask`` and ``stamp`` are the table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from lavra.corpus.quality import column
from lavra.corpus.quality.characters import ALPHA, BREAK, SPACE, SYMBOL, TERMINAL
from lavra.corpus.quality.words import BASE, FOLD, SEED, find, piece_hash

_MULTIPLIER, _ROLLING = np.uint64(0xD1342543DE82EF95), np.uint64(0xF1357AEA2E62A9C5)
_LAST_CONTROL, _NEXT_LINE = 0x1F, 0x85
_NEWLINE, _DOT, _HASH, _ELLIPSIS, _DASH, _BULLET = (ord(c) for c in "\n.#…-•")


@njit(nogil=True, cache=True)
def enter(keys: Any, stamps: Any, mask: int, stamp: int, key: Any) -> Any:
    """The slot of ``key``; negative (-1 - slot) where it was not there yet and is now."""
    slot = np.int64((key * _MULTIPLIER) >> np.uint64(20)) & mask
    while stamps[slot] == stamp:
        if keys[slot] == key:
            return slot
        slot = (slot + 1) & mask
    stamps[slot] = stamp
    keys[slot] = key
    return -1 - slot


@njit(nogil=True, cache=True)
def count_marks(codes: Any, total: int, out: Any) -> None:
    """Number signs, newlines and ellipses (one sign, or three dots)."""
    hashes, newlines, ellipses, at = 0, 0, 0, 0
    while at < total:
        code = codes[at]
        if code == _HASH:
            hashes += 1
        elif code == _NEWLINE:
            newlines += 1
        elif code == _ELLIPSIS:
            ellipses += 1
        elif code == _DOT and at + 2 < total and codes[at + 1] == _DOT and codes[at + 2] == _DOT:
            ellipses += 1
            at += 2
        at += 1
    out[column.HASHES], out[column.NEWLINES], out[column.ELLIPSES] = hashes, newlines, ellipses


@njit(nogil=True, cache=True)
def count_words(
    codes: Any, words: int, starts: Any, ends: Any, hashes: Any, prefix: Any, lengths: Any, stops: Any, table: Any,
    keys: Any, stamps: Any, mask: int, stamp: int, out: Any,
) -> None:  # fmt: skip
    """What kind of words there are; ``prefix`` and ``lengths`` (words + 1,) get the rolling hashes and the characters
    of the words before each, of which n-grams are differences."""
    real_words, real_characters, alpha_words, stop_words = 0, 0, 0, 0
    prefix[0], lengths[0] = 0, 0
    for word in range(words):
        a, b = starts[word], ends[word]
        real, alpha = False, False
        for at in range(a, b):
            bits = table[codes[at]]
            real = real or not bits & SYMBOL
            if bits & ALPHA:
                alpha = True
                if real:
                    break
        prefix[word + 1] = prefix[word] * _ROLLING + hashes[word]
        lengths[word + 1] = lengths[word] + (b - a)
        alpha_words += alpha
        if real:
            real_words += 1
            real_characters += b - a
        if find(stops, hashes[word]) >= 0 and enter(keys, stamps, mask, stamp, hashes[word]) < 0:
            stop_words += 1
    out[column.WORDS], out[column.REAL], out[column.REAL_CHARS] = words, real_words, real_characters
    out[column.ALPHA_WORDS], out[column.STOPS] = alpha_words, stop_words


@njit(nogil=True, cache=True)
def stripped(codes: Any, first: int, last: int, table: Any) -> Any:
    """Where ``codes[first:last]`` begins and ends without the white space around it."""
    while first < last and table[codes[first]] & SPACE:
        first += 1
    while last > first and table[codes[last - 1]] & SPACE:
        last -= 1
    return first, last


@njit(nogil=True, cache=True)
def cut_lines(codes: Any, total: int, starts: Any, ends: Any, hashes: Any) -> int:
    """Lines between newlines, empty ones too, with their hashes; how many."""
    lines, start, value = 0, 0, SEED
    for at in range(total):
        code = codes[at]
        if code == _NEWLINE:
            starts[lines], ends[lines], hashes[lines] = start, at, value | np.uint64(1)
            lines, start, value = lines + 1, at + 1, SEED
        else:
            value = (value ^ np.uint64(code)) * BASE
            value ^= value >> FOLD
    starts[lines], ends[lines], hashes[lines] = start, total, value | np.uint64(1)
    return lines + 1


@njit(nogil=True, cache=True)
def count_rows(
    lines: int, starts: Any, ends: Any, hashes: Any, keys: Any, stamps: Any, mask: int, stamp: int, out: Any
) -> None:
    """Pieces between runs of newlines: how many, how many of them came before, and the characters of those. A text that
    begins or ends with a newline has an empty piece there."""
    pieces, again, characters = 0, 0, 0
    for line in range(lines):
        if ends[line] > starts[line] or line == 0 or line == lines - 1:
            pieces += 1
            if enter(keys, stamps, mask, stamp, hashes[line]) >= 0:
                again += 1
                characters += ends[line] - starts[line]
    out[column.ROWS], out[column.DUP_R], out[column.DUP_R_CHARS] = pieces, again, characters


@njit(nogil=True, cache=True)
def count_paragraphs(
    codes: Any, first: int, last: int, lines: int, starts: Any, ends: Any, hashes: Any, keys: Any, stamps: Any,
    mask: int, stamp: int, out: Any,
) -> None:  # fmt: skip
    """As `count_rows`, of the pieces of ``codes[first:last]`` between two newlines or more; the text around it is white
    space. A paragraph's hash is made of its lines'."""
    pieces, again, characters, start, value = 0, 0, 0, first, SEED
    for line in range(lines):
        a, b = max(starts[line], first), min(ends[line], last)
        if ends[line] < first or starts[line] > last or (starts[line] == last and first < last):
            continue
        whole = a == starts[line] and b == ends[line]
        if b > a:
            value = (value ^ (hashes[line] if whole else piece_hash(codes, a, b))) * BASE
            value ^= value >> FOLD
        if b == last or (line + 1 < lines and starts[line + 1] == ends[line + 1] and b > a):
            pieces += 1
            if enter(keys, stamps, mask, stamp, value | np.uint64(1)) >= 0:
                again += 1
                characters += b - start
            value = SEED
            if b == last:
                break
        if b == a:
            start = starts[line + 1]
    out[column.PARAGRAPHS], out[column.DUP_P], out[column.DUP_P_CHARS] = pieces, again, characters


@njit(nogil=True, cache=True)
def count_full_lines(
    codes: Any, lines: int, starts: Any, ends: Any, hashes: Any, short_line: int, table: Any, keys: Any, stamps: Any,
    mask: int, stamp: int, out: Any,
) -> None:  # fmt: skip
    """Lines between newlines that are not blank (FineWeb)."""
    full, terminal, short, repeated = 0, 0, 0, 0
    for line in range(lines):
        a, b = starts[line], ends[line]
        inside = a
        while inside < b and table[codes[inside]] & SPACE:
            inside += 1
        if inside < b:
            full += 1
            terminal += table[codes[b - 1]] & TERMINAL != 0
            short += b - a <= short_line
            if enter(keys, stamps, mask, stamp, hashes[line]) >= 0:
                repeated += b - a
    out[column.FULL], out[column.TERMINAL], out[column.SHORT], out[column.DUP_L_CHARS] = full, terminal, short, repeated


@njit(nogil=True, cache=True)
def _gram(prefix: Any, word: int, n: int, power: Any) -> Any:
    """The hash of ``n`` words from ``word`` on; ``power``: the base of ``prefix`` to the n-th."""
    return prefix[word + n] - prefix[word] * power


@njit(nogil=True, cache=True)
def _power(n: int) -> Any:
    value = np.uint64(1)
    for _ in range(n):
        value *= _ROLLING
    return value


@njit(nogil=True, cache=True)
def most_frequent(
    n: int, words: int, places: Any, many: int, prefix: Any, lengths: Any, keys: Any, stamps: Any, mask: int,
    stamp: int, counts: Any, firsts: Any, slots: Any,
) -> Any:  # fmt: skip
    """Characters of all occurrences of the most frequent n-gram, with a space between words; of equally frequent ones
    the first. ``places[:many]`` are the words at which an (n - 1)-gram begins that comes again: no other place has an
    n-gram that does. Those of n-grams are left in them; returns the characters and how many places are left."""
    best, best_first, left, power = int(words >= n), 0, 0, _power(n)
    for index in range(many):
        word = places[index]
        slots[index] = -1
        if word > words - n:
            continue
        slot = enter(keys, stamps, mask, stamp, _gram(prefix, word, n, power))
        if slot < 0:
            slot = -1 - slot
            counts[slot], firsts[slot] = 0, word
        slots[index] = slot
        counts[slot] += 1
        if counts[slot] > best or (counts[slot] == best and firsts[slot] < best_first):
            best, best_first = counts[slot], firsts[slot]
    for index in range(many):
        if slots[index] >= 0 and counts[slots[index]] > 1:
            places[left] = places[index]
            left += 1
    return (best * (lengths[best_first + n] - lengths[best_first] + n - 1) if best else 0), left


@njit(nogil=True, cache=True)
def covered_again(
    n: int, words: int, places: Any, many: int, prefix: Any, lengths: Any, keys: Any, stamps: Any, mask: int, stamp: int
) -> int:
    """Characters in n-grams that came before; what is counted is not counted again in the next n-gram.
    ``places[:many]`` are the words at which an n-gram can begin that comes again."""
    word, covered, power = 0, 0, _power(n)
    for index in range(many):
        at = places[index]
        if word <= at <= words - n and enter(keys, stamps, mask, stamp, _gram(prefix, at, n, power)) >= 0:
            covered += lengths[at + n] - lengths[at]
            word = at + n
    return covered


@njit(nogil=True, cache=True)
def _breaks_at(codes: Any, at: int, end: int, table: Any) -> int:
    """Length of the line break at ``at`` (`str.splitlines`), or 0."""
    if not table[codes[at]] & BREAK:
        return 0
    return 2 if codes[at] == 13 and at + 1 < end and codes[at + 1] == 10 else 1


@njit(nogil=True, cache=True)
def find_lines(codes: Any, total: int, table: Any, starts: Any, ends: Any) -> int:
    """Lines as `str.splitlines` gives them (Gopher's marks, C4); how many."""
    lines, start, at = 0, 0, 0
    while at < total:
        if _LAST_CONTROL < codes[at] < _NEXT_LINE:  # nearly all
            at += 1
            continue
        skip = _breaks_at(codes, at, total, table)
        if skip:
            starts[lines], ends[lines] = start, at
            lines += 1
            at += skip
            start = at
        else:
            at += 1
    if start < total:
        starts[lines], ends[lines] = start, total
        lines += 1
    return lines


@njit(nogil=True, cache=True)
def count_marked_line(codes: Any, a: int, b: int, out: Any) -> None:
    """Whether the line ``codes[a:b]`` (without white space at its ends) begins with a bullet or ends in an ellipsis."""
    if a < b:
        out[column.BULLETS] += codes[a] == _BULLET or codes[a] == _DASH
        dots = b - a >= 3 and codes[b - 1] == _DOT and codes[b - 2] == _DOT and codes[b - 3] == _DOT
        out[column.ELLIPSIS_LINES] += dots or codes[b - 1] == _ELLIPSIS
