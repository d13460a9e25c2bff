"""Words of a text, as the published rules count them: a compiled splitter after spaCy's English tokenizer.

The rules (Gopher, FineWeb) speak of words, and their reference code takes spaCy's: text is cut at white space, marks
are taken off both ends of each piece, contractions come apart ("do", "n't"), and what is left is cut at a few marks
between letters ("well-known" is three). A threshold like "mean length of a word" moves with every one of these, which
is why a plain split at white space decides differently on one document of a hundred.

Everything here runs inside numba, over code points. C characters, W words.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lavra.corpus.quality.characters import (
    ALPHA,
    CURRENCY,
    DIGIT,
    HYPHEN,
    ICON,
    LOWER,
    QUOTE,
    SPACE,
    SPLIT,
    UPPER,
    character_table,
)

BASE = np.uint64(0x9E3779B97F4A7C15)
SEED, FOLD = np.uint64(0xCBF29CE484222325), np.uint64(29)
_LONGEST_SPECIAL = 12
_DOT, _PLUS, _MINUS, _ELLIPSIS, _SLASH, _COLON, _AT = (ord(c) for c in ".+-…/:@")
_APOSTROPHES = (ord("'"), ord("’"))
_PREFIXES = tuple(ord(c) for c in "§%=—–")
_DASHES = (ord("—"), ord("–"))


@cache
def _english() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("english.toml").read_text(encoding="utf-8"))


@cache
def _special() -> dict[str, tuple[int, ...]]:
    """Pieces that come apart in their own way: the lengths of the words of each."""
    pieces: dict[str, tuple[int, ...]] = {}
    english = _english()

    def add(*words: str) -> None:
        pieces["".join(words)] = tuple(map(len, words))

    def both(word: str, ends: tuple[str, ...]) -> None:
        for first in (word, word.title()):
            add(first, *ends)
            add(first, *(end.replace("'", "") for end in ends))

    for group in english["contractions"]:
        for word in group["words"]:
            for end in group["ends"]:
                both(word, ("'m", "a") if end == "'ma" else tuple(f"'{part}" for part in end.split("'")[1:]))
    for verb in english["negated"]:
        both(verb, ("n't",))
        both(verb, ("n't", "'ve"))
    for verb in english["negated_only"]:
        both(verb, ("n't",))
    for verb in english["with_have"]:
        both(verb, ("'ve",))
    for hour in range(1, 13):
        for half in ("a.m.", "am", "p.m.", "pm"):
            add(str(hour), half)
    for first, second in english["pairs"]:
        add(first, second)
    for word in english["whole"]:
        add(word)
    for letter in "abcdefghijklmnopqrstuvwxyzäöü":
        add(f"{letter}.")
    for word in english["not_split"]:
        pieces.pop(word, None)
        pieces.pop(word.title(), None)
    for word in list(pieces):  # typographic apostrophes are the same contractions
        if "'" in word and word.strip("'"):
            pieces.setdefault(word.replace("'", "’"), pieces[word])
    return pieces


@cache
def special_table() -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Open addressing: (N,) hashes, zero where free, and (N, 3) lengths of words."""
    pieces = _special()
    size = 1 << (4 * len(pieces) - 1).bit_length()
    keys, lengths = np.zeros(size, np.uint64), np.zeros((size, 3), np.int32)
    for piece, parts in pieces.items():
        codes = np.array([ord(c) for c in piece], np.uint32)
        key = piece_hash(codes, 0, len(codes))
        slot = int(key) & (size - 1)
        while keys[slot] != 0:
            slot = (slot + 1) & (size - 1)
        keys[slot] = key
        lengths[slot, : len(parts)] = parts
    return keys, lengths


@cache
def unit_hashes() -> NDArray[np.uint64]:
    """Sorted hashes of what may follow a number without a space: units of measure."""
    return np.sort(np.array([_hash(unit) for unit in _english()["units"]], np.uint64))


@cache
def stop_table(words: tuple[str, ...]) -> NDArray[np.uint64]:
    """Open addressing: (N,) hashes of stop words, zero where free."""
    keys = np.zeros(max(64, 1 << (8 * len(words)).bit_length()), np.uint64)
    for word in words:
        slot = _hash(word) & (len(keys) - 1)
        while keys[slot] != 0:
            slot = (slot + 1) & (len(keys) - 1)
        keys[slot] = _hash(word)
    return keys


def _hash(word: str) -> int:
    codes = np.array([ord(c) for c in word], np.uint32)
    return int(piece_hash(codes, 0, len(codes)))


@njit(nogil=True, cache=True)
def piece_hash(codes: Any, start: int, end: int) -> Any:
    """64 bits of ``codes[start:end]``, never zero."""
    value = SEED
    for at in range(start, end):
        value = (value ^ np.uint64(codes[at])) * BASE
        value ^= value >> FOLD
    return value | np.uint64(1)


@njit(nogil=True, cache=True)
def find(keys: Any, key: Any) -> Any:
    """The slot of ``key`` in a table of open addressing, or -1."""
    mask = keys.shape[0] - 1
    slot = np.int64(key & np.uint64(mask))
    while keys[slot] != 0:
        if keys[slot] == key:
            return slot
        slot = (slot + 1) & mask
    return -1


@njit(nogil=True, cache=True)
def has(ordered: Any, key: Any) -> bool:
    """Whether ``key`` is in the sorted array."""
    at = np.searchsorted(ordered, key)
    return at < ordered.shape[0] and ordered[at] == key


@njit(nogil=True, cache=True)
def _special_at(codes: Any, start: int, end: int, special: Any) -> int:
    return find(special, piece_hash(codes, start, end)) if end - start < _LONGEST_SPECIAL else -1


@njit(nogil=True, cache=True)
def _prefix(codes: Any, start: int, end: int, table: Any) -> int:
    first = codes[start]
    bits = table[first]
    if bits & (SPLIT | QUOTE | CURRENCY | ICON):
        return 1
    if first in _PREFIXES:
        return 1
    if first == _PLUS:
        return 0 if start + 1 < end and table[codes[start + 1]] & DIGIT else 1
    if first == _DOT:
        at = start
        while at < end and codes[at] == _DOT:
            at += 1
        return at - start if at - start > 1 else 0
    return 0


@njit(nogil=True, cache=True)
def _suffix(codes: Any, start: int, end: int, table: Any, units: Any) -> int:
    last = codes[end - 1]
    bits = table[last]
    before = codes[end - 2] if end - start > 1 else 0
    if last == _DOT:
        if before == _DOT:
            at = end
            while at > start and codes[at - 1] == _DOT:
                at -= 1
            return end - at
        if end - start < 2:
            return 0
        around = table[before]
        if around & (DIGIT | QUOTE | SPLIT) or (around & LOWER and around & ALPHA):
            return 1
        if before in (0x25, 0xB2, _MINUS, _PLUS, 0x28, 0x3F, 0x3A, 0x29):
            return 1
        if around & UPPER and end - start > 2 and table[codes[end - 3]] & UPPER:
            return 1
        return 0
    if bits & (SPLIT | QUOTE | ICON) or last in _DASHES:
        return 1
    if (last == 0x73 or last == 0x53) and before in _APOSTROPHES:
        return 2
    if end - start < 2:
        return 0
    if (last == _PLUS or bits & CURRENCY) and table[before] & DIGIT:
        return 1
    for length in range(1, 5):  # a unit after a digit
        at = end - length
        if at - 1 < start:
            break
        if table[codes[at - 1]] & DIGIT:
            return length if has(units, piece_hash(codes, at, end)) else 0
    return 0


@njit(nogil=True, cache=True)
def _is_url(codes: Any, start: int, end: int, table: Any) -> bool:
    """Whether the piece reads like an address: [scheme://][user@]host.domain[:port][/path]."""
    at = start
    for here in range(start, end - 2):
        if codes[here] == _COLON and codes[here + 1] == _SLASH and codes[here + 2] == _SLASH:
            at = here + 3
            break
    stop = end
    for here in range(at, end):
        if codes[here] in (_SLASH, 0x3F, 0x23):
            stop = here
            break
    for here in range(at, stop):
        if codes[here] == _AT:
            at = here + 1
    for here in range(at, stop):
        if codes[here] == _COLON:
            if not 2 <= stop - here - 1 <= 5:
                return False
            for digit in range(here + 1, stop):
                if not table[codes[digit]] & DIGIT:
                    return False
            stop = here
            break
    dots, label, dot = 0, 0, -1
    for here in range(at, stop):
        code = codes[here]
        if code == _DOT:
            if label == 0 or codes[here - 1] in (_MINUS, 0x5F):
                return False
            dots, label, dot = dots + 1, 0, here
        elif table[code] & (ALPHA | DIGIT) or (code in (_MINUS, 0x5F) and label > 0) or code >= 0xA1:
            label += 1
        else:
            return False
    if dots == 0 or label < 2 or label > 63:
        return False
    numbers = True
    for here in range(dot + 1, stop):
        if not (table[codes[here]] & LOWER and table[codes[here]] & ALPHA):
            numbers = False
    if numbers:
        return True
    if dots != 3:
        return False
    for here in range(at, stop):  # a numeric address (numba compiles no generators)  # noqa: SIM110
        if not (table[codes[here]] & DIGIT or codes[here] == _DOT):
            return False
    return True


@njit(nogil=True, cache=True)
def _infix(codes: Any, at: int, start: int, end: int, table: Any) -> int:
    """Length of the mark between two parts of a word that begins at ``at``, or 0."""
    code = codes[at]
    bits = table[code]
    if bits & ICON or code == _ELLIPSIS:
        return 1
    if code == _DOT and at + 1 < end and codes[at + 1] == _DOT:
        stop = at
        while stop < end and codes[stop] == _DOT:
            stop += 1
        return stop - at
    if at == start or at + 1 >= end:
        return 0
    left, right = table[codes[at - 1]], table[codes[at + 1]]
    if code in (_PLUS, _MINUS, 0x2A, 0x5E) and left & DIGIT and (right & DIGIT or codes[at + 1] == _MINUS):
        return 1
    if code == _DOT:
        return 1 if (left & (LOWER | QUOTE)) and (right & (UPPER | QUOTE)) else 0
    if code == 0x2C:
        return 1 if left & ALPHA and right & ALPHA else 0
    if bits & HYPHEN and left & (ALPHA | DIGIT):
        stop = at + 1
        while stop < end and stop - at < 3 and codes[stop] == code and code in (_MINUS, 0x2014):
            stop += 1
        return stop - at if stop < end and table[codes[stop]] & ALPHA else 0
    if code in (_COLON, 0x3C, 0x3E, 0x3D, _SLASH) and left & (ALPHA | DIGIT) and right & ALPHA:
        return 1
    return 0


@njit(nogil=True, cache=True)
def _is_closing(code: Any, bits: Any, before: Any) -> bool:
    """Whether a mark after letters, the last of which is a ``before``, is a word of its own: `_suffix` in short."""
    if code == _DOT:
        return before & LOWER != 0
    return bits & (SPLIT | QUOTE | ICON) != 0 or code in _DASHES


@njit(nogil=True, cache=True)
def split_words(
    codes: Any, begin: int, finish: int, table: Any, special: Any, parts: Any, units: Any, starts: Any, ends: Any,
    hashes: Any,
) -> int:  # fmt: skip
    """Words of ``codes[begin:finish]`` into ``starts``, ``ends`` and ``hashes`` (W,), in order; how many."""
    count, at = 0, begin
    while at < finish:
        while at < finish and table[codes[at]] & SPACE:
            at += 1
        if at == finish:
            break
        stop = at
        every = stem = np.uint16(0xFFFF)
        value = stem_value = SEED
        while stop < finish:
            bits = table[codes[stop]]
            if bits & SPACE:
                break
            stem, stem_value = every, value
            every &= bits
            value = (value ^ np.uint64(codes[stop])) * BASE
            value ^= value >> FOLD
            stop += 1
        value |= np.uint64(1)
        found = find(special, value) if stop - at < _LONGEST_SPECIAL else -1
        if every & ALPHA and found < 0:  # letters alone, which most pieces are
            starts[count], ends[count], hashes[count] = at, stop, value
            count += 1
        elif (
            stem & ALPHA
            and found < 0
            and stop - at > 1
            and _is_closing(codes[stop - 1], table[codes[stop - 1]], table[codes[stop - 2]])
            and (stop - 1 - at >= _LONGEST_SPECIAL or find(special, stem_value | np.uint64(1)) < 0)
        ):  # letters and a mark, which most of the others are
            starts[count], ends[count], hashes[count] = at, stop - 1, stem_value | np.uint64(1)
            starts[count + 1], ends[count + 1] = stop - 1, stop
            hashes[count + 1] = piece_hash(codes, stop - 1, stop)
            count += 2
        else:
            before = count
            count = _split_piece(codes, at, stop, found, table, special, parts, units, starts, ends, count)
            for word in range(before, count):
                hashes[word] = piece_hash(codes, starts[word], ends[word])
        at = stop
    return count


@njit(nogil=True, cache=True)
def _split_piece(
    codes: Any,
    start: int,
    end: int,
    found: int,
    table: Any,
    special: Any,
    parts: Any,
    units: Any,
    starts: Any,
    ends: Any,
    count: int,
) -> int:
    """Words of one piece between white space; ``found`` is its place among the special ones, or -1."""
    tail = end  # suffixes are written last, from here on
    while found < 0 and start < end:
        before, after = _prefix(codes, start, end, table), 0
        if before:
            starts[count], ends[count] = start, start + before
            count += 1
            start += before
            if start == end:
                break
            found = _special_at(codes, start, end, special)
            if found >= 0:
                break
        after = _suffix(codes, start, end, table, units)
        end -= after
        if before == 0 and after == 0:
            break
        if start < end:
            found = _special_at(codes, start, end, special)
    if found >= 0:
        at = start
        for part in range(3):
            if parts[found, part]:
                starts[count], ends[count] = at, at + parts[found, part]
                at += parts[found, part]
                count += 1
    elif start < end:
        if not _is_url(codes, start, end, table):
            at = origin = start
            while at < end:
                length = _infix(codes, at, origin, end, table)
                if length and at > start:
                    starts[count], ends[count] = start, at
                    starts[count + 1], ends[count + 1] = at, at + length
                    count += 2
                    start = at + length
                at += max(length, 1)
        if start < end:
            starts[count], ends[count] = start, end
            count += 1
    # The suffixes, from the innermost to the end: each is found again from the right, which gives them in order.
    while end < tail:
        stop = end + 1
        if codes[end] == _DOT:
            while stop < tail and codes[stop] == _DOT:
                stop += 1
        elif codes[end] in _APOSTROPHES and stop < tail and codes[stop] in (0x73, 0x53) and stop + 1 == tail:
            stop += 1
        elif table[codes[end]] & ALPHA:
            while stop < tail and (table[codes[stop]] & ALPHA or codes[stop] in (_SLASH, 0xB2, 0xB3)):
                stop += 1
        starts[count], ends[count] = end, stop
        count += 1
        end = stop
    return count


@cache
def tables() -> tuple[NDArray[np.uint16], NDArray[np.uint64], NDArray[np.int32], NDArray[np.uint64]]:
    """What `split_words` looks up: characters, special pieces with their parts, units."""
    keys, lengths = special_table()
    return character_table(), keys, lengths, unit_hashes()


def words_of(text: str) -> list[str]:
    """The words of a text."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    starts, ends = np.empty(len(codes) + 2, np.int32), np.empty(len(codes) + 2, np.int32)
    table, special, parts, units = tables()
    hashes = np.empty(len(codes) + 2, np.uint64)
    count = split_words(codes, 0, len(codes), table, special, parts, units, starts, ends, hashes)
    return [text[a:b] for a, b in zip(starts[:count].tolist(), ends[:count].tolist(), strict=True)]
