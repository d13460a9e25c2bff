"""MinHash signatures (Broder 1997), cut into bands (Leskovec et al., Mining of Massive Datasets, chapter 3).

Two texts that share a share s of their shingles agree in one permutation with probability s, in a band of r with s^r,
and in at least one of b bands with 1 - (1 - s^r)^b. With the default 20 bands of 6 that is .998 at s = .8: what meets
in a band is a *candidate*, and candidates are compared exactly (`shingles.jaccard`), so bands decide how many are
found and never what counts as a duplicate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lavra.corpus.duplicates.shingles import levelled, shingle_hashes, word_hashes
from lavra.corpus.quality.kernels import decode


def found_share(jaccard: float, bands: int, rows: int) -> float:
    """The share of pairs of this similarity that meet in a band: 1 - (1 - s^r)^b."""
    return 1.0 - (1.0 - jaccard**rows) ** bands


def band_keys(
    offsets: NDArray[np.int64], data: NDArray[np.uint8], *, n: int, bands: int, rows: int, seed: int = 1
) -> NDArray[np.uint64]:
    """(N, bands) keys of N texts: two texts with an equal key in a column are candidates. 0: a text without words.

    offsets: (N + 1,) of the texts in ``data`` (bytes of UTF-8); n: words of a shingle.
    """
    draw = np.random.default_rng(seed)
    size = bands * rows
    multipliers = draw.integers(0, 2**64, size, dtype=np.uint64) | np.uint64(1)
    offsets_added = draw.integers(0, 2**64, size, dtype=np.uint64)
    return _keys(offsets, data, n, bands, rows, multipliers, offsets_added, levelled())


@njit(nogil=True, cache=True)
def _keys(offsets: Any, data: Any, n: int, bands: int, rows: int, multipliers: Any, added: Any, level: Any) -> Any:
    documents, size = offsets.shape[0] - 1, bands * rows
    longest = 0
    for row in range(documents):
        longest = max(longest, offsets[row + 1] - offsets[row])
    codes, words = np.empty(longest + 1, np.uint32), np.empty(longest // 2 + 2, np.uint64)
    shingles, signature = np.empty(longest // 2 + 2, np.uint32), np.empty(size, np.uint64)
    keys = np.zeros((documents, bands), np.uint64)
    for row in range(documents):
        total = decode(data, offsets[row], offsets[row + 1], codes)
        count = shingle_hashes(words, word_hashes(codes, total, level, words), n, shingles)
        if count == 0:
            continue
        signature[:] = np.uint64(0xFFFFFFFFFFFFFFFF)
        for at in range(count):
            value = np.uint64(shingles[at])
            # (a x + b) mod 2^64, of which the upper half is a pairwise independent 32-bit hash of a 32-bit x.
            for permutation in range(size):
                signature[permutation] = min(
                    signature[permutation], (multipliers[permutation] * value + added[permutation]) >> np.uint64(32)
                )
        for band in range(bands):
            key = np.uint64(band + 1)
            for step in range(rows):
                key = (key ^ signature[band * rows + step]) * np.uint64(0x9E3779B97F4A7C15)
                key ^= key >> np.uint64(31)
            keys[row, band] = key | np.uint64(1)
    return keys
