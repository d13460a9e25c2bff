"""Many strings in many bytes, in one pass: is any of these sentences still in this file?

A sentence is looked for as the bytes that it may have been written as: UTF-8, UTF-16 in both orders, Windows-1252,
and escaped as JSON and HTML escape it. Every form is known by eight bytes from its middle; a pass hashes the eight
bytes at every offset of the data into a table of bits (a Bloom filter with one hash) and compares in full only where
the bit is set. The cost is a few nanoseconds a byte however many sentences there are.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

WIDTH = 8
_BITS = 22
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing (Knuth, vol. 3, 6.4)
_SHIFT = np.uint64(64 - _BITS)


def forms(sentence: str) -> set[bytes]:
    """The byte strings that a sentence may have been stored as; under eight bytes they say nothing and are left out."""
    text = sentence.encode("utf-8", "replace").decode()
    written = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], html.escape(text)}
    found = {form.encode() for form in written}
    found |= {text.encode("utf-16-le"), text.encode("utf-16-be")}
    try:
        found.add(text.encode("cp1252"))
    except UnicodeEncodeError:
        pass
    return {form for form in found if len(form) >= WIDTH}


class Needles:
    """Byte strings to look for, prepared once."""

    def __init__(self, sentences: Iterable[str]) -> None:
        self._by_anchor: dict[int, list[tuple[bytes, int]]] = {}
        self._bits = np.zeros(1 << _BITS, dtype=bool)
        self.longest = 0
        for form in {form for sentence in sentences for form in forms(sentence)}:
            offset = (len(form) - WIDTH) // 2
            anchor = int.from_bytes(form[offset : offset + WIDTH], "little")
            self._by_anchor.setdefault(anchor, []).append((form, offset))
            self._bits[_hash(np.array([anchor], dtype=np.uint64))] = True
            self.longest = max(self.longest, len(form))

    def __bool__(self) -> bool:
        return bool(self._by_anchor)

    def within(self, data: bytes | memoryview) -> bool:
        """Whether any of them is in ``data``."""
        view = memoryview(data)
        for phase in range(WIDTH):
            count = (len(view) - phase) // WIDTH
            if count <= 0:
                break
            windows = np.frombuffer(view, dtype="<u8", count=count, offset=phase)
            for hit in np.flatnonzero(self._bits[_hash(windows)]).tolist():
                position = phase + hit * WIDTH
                for form, offset in self._by_anchor.get(int(windows[hit]), ()):
                    start = position - offset
                    if start >= 0 and view[start : start + len(form)] == form:
                        return True
        return False


def _hash(windows: np.ndarray) -> Any:
    return (windows * _FACTOR) >> _SHIFT
