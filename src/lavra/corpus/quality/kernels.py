"""One pass over a batch of texts: every figure that the rules ask for, from the bytes as Arrow holds them.

The published rules differ in thresholds and agree in what they count; so the counting is done once, by compiled code
over the batch's UTF-8, and the rules (`rules`) compare columns. N documents, C characters, W words, L lines.

Repeated pieces are told by 64-bit hashes in a table that is emptied by a stamp instead of being cleared: two different
pieces with one hash would have to meet within one document.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lavra.corpus.quality.characters import ALPHA, BREAK, PUNCTUATION, SPACE, STOP, SYMBOL, TERMINAL
from lavra.corpus.quality.words import find, piece_hash, split_words, tables

FIGURES = (
    *("characters", "words", "real_words", "real_characters", "alpha_words", "stop_words"),
    *("hashes", "ellipses", "lines", "bullet_lines", "ellipsis_lines", "newlines"),
    *("paragraphs", "dup_paragraphs", "dup_paragraph_chars", "rows", "dup_rows", "dup_row_chars"),
    *("top_2", "top_3", "top_4", "dup_5", "dup_6", "dup_7", "dup_8", "dup_9", "dup_10"),
    *("full_lines", "terminal_lines", "short_lines", "dup_line_chars"),
    *("c4_lines", "c4_kept", "c4_sentences", "lorem_ipsum", "curly_bracket", "c4_characters"),
)
"""Columns of `measure`. ``rows`` are lines with blank ones joined (Gopher), ``full_lines`` lines that are not blank
(FineWeb), ``real_words`` words with something besides marks, ``c4_kept`` lines that C4 keeps."""

_AT = {name: index for index, name in enumerate(FIGURES)}
_CHARACTERS, _WORDS, _REAL, _REAL_CHARS, _ALPHA_WORDS, _STOPS = range(6)
_HASHES, _ELLIPSES, _LINES, _BULLETS, _ELLIPSIS_LINES, _NEWLINES = range(6, 12)
_PARAGRAPHS, _DUP_P, _DUP_P_CHARS, _ROWS, _DUP_R, _DUP_R_CHARS = range(12, 18)
_TOP_2, _DUP_5 = _AT["top_2"], _AT["dup_5"]
_FULL, _TERMINAL, _SHORT, _DUP_L_CHARS = range(_AT["full_lines"], _AT["full_lines"] + 4)
_C4_LINES, _C4_KEPT, _C4_SENTENCES, _LOREM, _CURLY, _C4_CHARS = range(_AT["c4_lines"], _AT["c4_lines"] + 6)

_MULTIPLIER, _ROLLING = np.uint64(0xD1342543DE82EF95), np.uint64(0xF1357AEA2E62A9C5)
_NEWLINE, _DOT, _HASH, _ELLIPSIS, _DASH, _BULLET = (ord(c) for c in "\n.#…-•")
_C4_ENDS = tuple(ord(c) for c in ".?!\"'")


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
def _enter(keys: Any, stamps: Any, mask: int, stamp: int, key: Any) -> Any:
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
def _breaks_at(codes: Any, at: int, end: int, table: Any) -> int:
    """Length of the line break at ``at`` (`str.splitlines`), or 0."""
    if not table[codes[at]] & BREAK:
        return 0
    return 2 if codes[at] == 13 and at + 1 < end and codes[at + 1] == 10 else 1


@njit(nogil=True, cache=True)
def _starts_with(codes: Any, at: int, end: int, phrase: Any, begin: int, finish: int) -> bool:
    if finish - begin > end - at:
        return False
    for step in range(finish - begin):
        code = codes[at + step]
        if 65 <= code <= 90:
            code += 32
        if code != phrase[begin + step]:
            return False
    return True


@njit(nogil=True, cache=True)
def _without_citations(codes: Any, start: int, end: int, phrase: Any, marks: Any, out: Any) -> int:
    """``codes[start:end]`` without "[1]", "[edit]", "[citation needed]", into ``out``; how many."""
    count, at = 0, start
    while at < end:
        skip = 0
        if codes[at] == 91:
            stop = at + 1
            while stop < end and 48 <= codes[stop] <= 57:
                stop += 1
            if stop < end and codes[stop] == 93:
                skip = stop + 1 - at
            else:
                for which in range(2):
                    begin, finish = marks[which], marks[which + 1]
                    same = finish - begin <= end - at
                    step = 0
                    while same and step < finish - begin:
                        same = codes[at + step] == phrase[begin + step]
                        step += 1
                    if same:
                        skip = finish - begin
        if skip:
            at += skip
        else:
            out[count] = codes[at]
            count, at = count + 1, at + 1
    return count


@njit(nogil=True, cache=True)
def _sentences(codes: Any, starts: Any, ends: Any, count: int, table: Any) -> int:
    """Sentences of a line of ``count`` words: one more at each word that follows a terminal mark."""
    sentences, seen = 1 if count else 0, False
    for word in range(count):
        first = codes[starts[word]]
        stop = ends[word] - starts[word] == 1 and table[first] & STOP != 0
        if stop:
            seen = True
        elif seen:
            marks = True
            for at in range(starts[word], ends[word]):
                marks = marks and table[codes[at]] & PUNCTUATION != 0
            if not marks:
                sentences += 1
                seen = False
    return sentences


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
    line_starts, line_ends = np.empty(room, np.int32), np.empty(room, np.int32)
    hashes, line_hashes, prefix = np.empty(room, np.uint64), np.empty(room, np.uint64), np.empty(room + 1, np.uint64)
    lengths = np.empty(room + 1, np.int64)
    size = 64
    while size < 2 * room:
        size *= 2
    keys, stamps = np.empty(size, np.uint64), np.zeros(size, np.int32)
    counts, firsts = np.empty(size, np.int32), np.empty(size, np.int32)
    stamp = 0
    power = np.ones(11, np.uint64)
    for step in range(1, 11):
        power[step] = power[step - 1] * _ROLLING
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
        out[_CHARACTERS] = total
        # Marks and newlines.
        at = 0
        while at < total:
            code = codes[at]
            if code == _HASH:
                out[_HASHES] += 1
            elif code == _NEWLINE:
                out[_NEWLINES] += 1
            elif code == _ELLIPSIS:
                out[_ELLIPSES] += 1
            elif code == _DOT and at + 2 < total and codes[at + 1] == _DOT and codes[at + 2] == _DOT:
                out[_ELLIPSES] += 1
                at += 2
            at += 1
        words = split_words(codes, 0, total, table, special, parts, units, starts, ends, hashes)
        out[_WORDS] = words
        # A table no larger than the document asks for stays in the cache.
        mask = 63
        while mask + 1 < 2 * (max(words, out[_NEWLINES]) + 2):
            mask = 2 * mask + 1
        stamp += 1
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
            out[_ALPHA_WORDS] += alpha
            if real:
                out[_REAL] += 1
                out[_REAL_CHARS] += b - a
            if find(stops, hashes[word]) >= 0 and _enter(keys, stamps, mask, stamp, hashes[word]) < 0:
                out[_STOPS] += 1
        # Paragraphs (two or more newlines) of the text without white space at its ends.
        first, last = 0, total
        while first < last and table[codes[first]] & SPACE:
            first += 1
        while last > first and table[codes[last - 1]] & SPACE:
            last -= 1
        stamp += 1
        start = at = first
        while at <= last:
            run = at
            while run < last and codes[run] == _NEWLINE:
                run += 1
            if at == last or run - at >= 2:
                out[_PARAGRAPHS] += 1
                if _enter(keys, stamps, mask, stamp, piece_hash(codes, start, at)) >= 0:
                    out[_DUP_P] += 1
                    out[_DUP_P_CHARS] += at - start
                start = run
                if at == last:
                    break
            at = max(run, at + 1)
        # Rows (one or more newlines) of the text as it is.
        stamp += 1
        start = at = 0
        while at <= total:
            run = at
            while run < total and codes[run] == _NEWLINE:
                run += 1
            if at == total or run > at:
                out[_ROWS] += 1
                if _enter(keys, stamps, mask, stamp, piece_hash(codes, start, at)) >= 0:
                    out[_DUP_R] += 1
                    out[_DUP_R_CHARS] += at - start
                start = run
                if at == total:
                    break
            at = max(run, at + 1)
        # Lines between newlines that are not blank (FineWeb).
        stamp += 1
        start = 0
        for at in range(total + 1):
            if at < total and codes[at] != _NEWLINE:
                continue
            blank = True
            for inside in range(start, at):
                if not table[codes[inside]] & SPACE:
                    blank = False
                    break
            if not blank:
                out[_FULL] += 1
                out[_TERMINAL] += table[codes[at - 1]] & TERMINAL != 0
                out[_SHORT] += at - start <= short_line
                if _enter(keys, stamps, mask, stamp, piece_hash(codes, start, at)) >= 0:
                    out[_DUP_L_CHARS] += at - start
            start = at + 1
        # n-grams: the most frequent of 2, 3 and 4 words, and what is covered by repeated ones of 5 to 10.
        for n in range(2, 5):
            stamp += 1
            best, best_first = 0, 0
            for word in range(words - n + 1):
                key = prefix[word + n] - prefix[word] * power[n]
                slot = _enter(keys, stamps, mask, stamp, key)
                if slot < 0:
                    slot = -1 - slot
                    counts[slot], firsts[slot] = 0, word
                counts[slot] += 1
                if counts[slot] > best or (counts[slot] == best and firsts[slot] < best_first):
                    best, best_first = counts[slot], firsts[slot]
            if best:
                out[_TOP_2 + n - 2] = best * (lengths[best_first + n] - lengths[best_first] + n - 1)
        for n in range(5, 11):
            stamp += 1
            word, covered = 0, 0
            while word < words - n + 1:
                key = prefix[word + n] - prefix[word] * power[n]
                if _enter(keys, stamps, mask, stamp, key) >= 0:
                    covered += lengths[word + n] - lengths[word]
                    word += n
                else:
                    word += 1
            out[_DUP_5 + n - 5] = covered
        # Lines as `str.splitlines` gives them (Gopher's marks, C4).
        lines, start, at = 0, 0, 0
        while at < total:
            skip = _breaks_at(codes, at, total, table)
            if skip:
                line_starts[lines], line_ends[lines] = start, at
                lines += 1
                at += skip
                start = at
            else:
                at += 1
        if start < total:
            line_starts[lines], line_ends[lines] = start, total
            lines += 1
        out[_LINES] = lines
        out[_C4_LINES] = lines
        for line in range(lines):
            a, b = line_starts[line], line_ends[line]
            while a < b and table[codes[a]] & SPACE:
                a += 1
            while b > a and table[codes[b - 1]] & SPACE:
                b -= 1
            if a < b:
                out[_BULLETS] += codes[a] == _BULLET or codes[a] == _DASH
                dots = b - a >= 3 and codes[b - 1] == _DOT and codes[b - 2] == _DOT and codes[b - 3] == _DOT
                out[_ELLIPSIS_LINES] += dots or codes[b - 1] == _ELLIPSIS
            kept[kept_count] = _c4(
                codes, a, b, cleaned, starts, ends, line_hashes, out, unwanted, unwanted_at, initial,
                min_line_words, max_word_length, terminal_only, table, special, parts, units,
            )  # fmt: skip
            kept_count += 1
        kept_at[row + 1] = kept_count
    return figures, kept[:kept_count], kept_at


@njit(nogil=True, cache=True)
def _c4(
    codes: Any, a: int, b: int, cleaned: Any, starts: Any, ends: Any, hashes: Any, out: Any, unwanted: Any,
    unwanted_at: Any, initial: Any, min_line_words: int, max_word_length: int, terminal_only: bool,
    table: Any, special: Any, parts: Any, units: Any,
) -> int:  # fmt: skip
    """Whether C4 keeps the line ``codes[a:b]`` (without white space at its ends); counts its sentences.

    The order is C4's: "lorem ipsum" and a bracket condemn the document only in a line that was not dropped before.
    ``unwanted`` begins with two marks of citations, then "lorem ipsum", "javascript" and the notices.
    """
    words, run, longest = 0, 0, 0
    for at in range(a, b):
        if table[codes[at]] & SPACE:
            run = 0
        else:
            if run == 0:
                words += 1
            run += 1
            longest = max(longest, run)
    if max_word_length >= 0 and longest > max_word_length:
        return 0
    size = _without_citations(codes, a, b, unwanted, unwanted_at, cleaned)
    if terminal_only:
        if size == 0 or cleaned[size - 1] not in _C4_ENDS:
            return 0
        if size >= 3 and cleaned[size - 1] == _DOT and cleaned[size - 2] == _DOT and cleaned[size - 3] == _DOT:
            return 0
    if words < min_line_words:
        return 0
    lorem, script, curly, notice = False, False, False, False
    for at in range(size):
        code = cleaned[at]
        if code == 123:
            curly = True
        if 65 <= code <= 90:
            code += 32
        if code > 127 or not initial[code]:
            continue
        for which in range(2, unwanted_at.shape[0] - 1):
            begin = unwanted_at[which]
            if code == unwanted[begin] and _starts_with(cleaned, at, size, unwanted, begin, unwanted_at[which + 1]):
                lorem = lorem or which == 2
                script = script or which == 3
                notice = notice or which > 3
    if lorem:
        out[_LOREM] = 1
        return 0
    if script:
        return 0
    if curly:
        out[_CURLY] = 1
        return 0
    if notice:
        return 0
    count = split_words(cleaned, 0, size, table, special, parts, units, starts, ends, hashes)
    out[_C4_SENTENCES] += _sentences(cleaned, starts, ends, count, table)
    out[_C4_KEPT] += 1
    out[_C4_CHARS] += size
    return 1
