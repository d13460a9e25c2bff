"""C4's decisions about a line (Raffel et al. 2020, section 2.2), compiled: whether it is kept, and its sentences."""

from __future__ import annotations

from typing import Any

from numba import njit

from lavra.corpus.quality import column
from lavra.corpus.quality.characters import PUNCTUATION, SPACE, STOP
from lavra.corpus.quality.words import split_words

_DOT, _CLOSING = ord("."), ord("]")
_ENDS = tuple(ord(c) for c in ".?!\"'")


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
def _sentences(codes: Any, starts: Any, ends: Any, first_word: int, count: int, table: Any) -> int:
    """Sentences of a line of ``count`` words: one more at each word that follows a terminal mark."""
    sentences, seen = 1 if count else 0, False
    for word in range(first_word, first_word + count):
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
def keeps_line(
    codes: Any, a: int, b: int, starts: Any, ends: Any, first_word: int, split: int, cleaned: Any, own_starts: Any,
    own_ends: Any, hashes: Any, out: Any, unwanted: Any, unwanted_at: Any, initial: Any, min_line_words: int,
    max_word_length: int, terminal_only: bool, table: Any, special: Any, parts: Any, units: Any,
) -> int:  # fmt: skip
    """Whether C4 keeps the line ``codes[a:b]`` (without white space at its ends); counts its sentences.

    The order is C4's: "lorem ipsum" and a bracket condemn the document only in a line that was not dropped before.
    ``unwanted`` begins with two marks of citations, then "lorem ipsum", "javascript" and the notices. Of the document's
    words, where they start and end, ``split`` are the line's, from ``first_word`` on; a line without its citations is
    split anew, into ``own_starts`` and ``own_ends``.
    """
    if terminal_only and (a == b or (codes[b - 1] not in _ENDS and codes[b - 1] != _CLOSING)):
        return 0  # most lines of most texts: nothing else has to be looked at
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
        if size == 0 or cleaned[size - 1] not in _ENDS:
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
        out[column.LOREM] = 1
        return 0
    if script:
        return 0
    if curly:
        out[column.CURLY] = 1
        return 0
    if notice:
        return 0
    if size == b - a:
        out[column.C4_SENTENCES] += _sentences(codes, starts, ends, first_word, split, table)
    else:
        count = split_words(cleaned, 0, size, table, special, parts, units, own_starts, own_ends, hashes)
        out[column.C4_SENTENCES] += _sentences(cleaned, own_starts, own_ends, 0, count, table)
    out[column.C4_KEPT] += 1
    out[column.C4_CHARS] += size
    return 1
