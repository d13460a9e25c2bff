"""Contamination: documents that hold items of evaluation sets, found by n-grams of words (13 by default, as for GPT-3).

Words are levelled as for near-duplicates (case, accents, marks, numbers), so that an exam question is found through
its typesetting. An item of fewer than n words is looked for whole, from ``_SHORTEST`` words on: less than that is a
phrase that anybody may write. I items, G n-grams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lavra.corpus.duplicates.shingles import levelled, word_hashes
from lavra.corpus.quality.kernels import decode

_SHORTEST = 8
_DISTINCT = 5
"""Different words that an n-gram needs to tell anything: rows of numbers are in every table, all numbers being one."""
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Watched:
    """The n-grams of evaluation items, to look for in documents."""

    names: tuple[str, ...]
    """Of the items: ``<set>#<item>``."""
    n: int
    keys: NDArray[np.uint64]
    """(table,) hashes of n-grams, open addressing, 0 where free."""
    items: NDArray[np.int64]
    """(table,) the first item that has the n-gram."""
    widths: NDArray[np.int64]
    """The different lengths of n-gram that are looked for."""


def watch(sets: Mapping[str, Sequence[str]], *, n: int = 13) -> Watched:
    """What to look for: the n-grams of every item of every set (``{name: texts}``)."""
    names: list[str] = []
    hashes: list[NDArray[np.uint64]] = []
    owners: list[NDArray[np.int64]] = []
    widths: set[int] = set()
    for name, texts in sets.items():
        for number, text in enumerate(texts):
            words = _words(text)
            if len(words) < min(n, _SHORTEST):
                continue
            width = min(n, len(words))
            grams = _grams(words, width)
            grams = grams[_telling(words, width)]
            if not len(grams):
                continue
            hashes.append(grams)
            owners.append(np.full(len(grams), len(names), np.int64))
            widths.add(width)
            names.append(f"{name}#{number}")
    flat = np.concatenate(hashes) if hashes else np.zeros(0, np.uint64)
    size = 1 << (max(64, 3 * len(flat)) - 1).bit_length()
    keys, items = np.zeros(size, np.uint64), np.zeros(size, np.int64)
    _fill(keys, items, flat, np.concatenate(owners) if owners else np.zeros(0, np.int64))
    return Watched(tuple(names), n, keys, items, np.array(sorted(widths), np.int64))


def matches(
    watched: Watched, offsets: NDArray[np.int64], data: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(N,) how many watched n-grams each text holds, and (N,) the item of the first of them (-1: none)."""
    return _matches(watched.keys, watched.items, watched.widths, offsets, data, levelled())


def _words(text: str) -> NDArray[np.uint64]:
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    out = np.empty(len(codes) // 2 + 2, np.uint64)
    return out[: word_hashes(codes, len(codes), levelled(), out)]


@njit(nogil=True, cache=True)
def _gram(words: Any, first: int, width: int) -> Any:
    value = np.uint64(width)
    for step in range(width):
        value = (value ^ words[first + step]) * _MIX
        value ^= value >> np.uint64(29)
    return value | np.uint64(1)


@njit(nogil=True, cache=True)
def _grams(words: Any, width: int) -> Any:
    out = np.empty(words.shape[0] - width + 1, np.uint64)
    for first in range(out.shape[0]):
        out[first] = _gram(words, first, width)
    return out


def _telling(words: NDArray[np.uint64], width: int) -> NDArray[np.bool_]:
    """Which n-grams have enough different words."""
    windows = np.sort(np.lib.stride_tricks.sliding_window_view(words, width), axis=1)
    different: NDArray[np.bool_] = (windows[:, 1:] != windows[:, :-1]).sum(axis=1) + 1 >= _DISTINCT
    return different


@njit(nogil=True, cache=True)
def _fill(keys: Any, items: Any, flat: Any, owners: Any) -> None:
    mask = keys.shape[0] - 1
    for index in range(flat.shape[0]):
        slot = np.int64((flat[index] >> np.uint64(20)) & np.uint64(mask))
        while keys[slot] != 0 and keys[slot] != flat[index]:
            slot = (slot + 1) & mask
        if keys[slot] == 0:
            keys[slot] = flat[index]
            items[slot] = owners[index]


@njit(nogil=True, cache=True)
def _matches(keys: Any, items: Any, widths: Any, offsets: Any, data: Any, level: Any) -> Any:
    documents, mask, longest = offsets.shape[0] - 1, keys.shape[0] - 1, 0
    for row in range(documents):
        longest = max(longest, offsets[row + 1] - offsets[row])
    codes, words = np.empty(longest + 1, np.uint32), np.empty(longest // 2 + 2, np.uint64)
    counts, first = np.zeros(documents, np.int64), np.full(documents, -1, np.int64)
    for row in range(documents):
        count = word_hashes(codes, decode(data, offsets[row], offsets[row + 1], codes), level, words)
        for width in widths:
            for at in range(count - width + 1):
                key = _gram(words, at, width)
                slot = np.int64((key >> np.uint64(20)) & np.uint64(mask))
                while keys[slot] != 0:
                    if keys[slot] == key:
                        counts[row] += 1
                        if first[row] < 0:
                            first[row] = items[slot]
                        break
                    slot = (slot + 1) & mask
    return counts, first
