"""An embedder for tests of the index's mechanics: each word a fixed random direction, a text the sum of its words.

Deterministic over processes, thousands of texts a second, and close where words are shared. Tests of what is *found*
use a real model.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np


class HashingEmbedder:
    name = "hashing"

    def __init__(self, dimension: int = 64, sha256: str = "ab" * 32) -> None:
        self.dimension = dimension
        self.sha256 = sha256
        self.embedded = 0
        """Texts embedded so far, questions left out."""

    def documents(self, texts: Sequence[str]) -> np.ndarray:
        self.embedded += len(texts)
        return self.queries(texts)

    def queries(self, texts: Sequence[str]) -> np.ndarray:
        sums = [
            sum((_direction(word, self.dimension) for word in _words(text)), _direction("", self.dimension))
            for text in texts
        ]
        matrix = np.asarray(sums, dtype=np.float32).reshape(len(texts), self.dimension)
        return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


@lru_cache(maxsize=1 << 16)
def _direction(word: str, dimension: int) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(dimension, dtype=np.float32)
