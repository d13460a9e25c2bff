"""How surprising each text is to a small model, as CCNet filters pages (Wenzek et al. 2020, section 3.3): what a model
of clean text finds hard to predict is seldom text, and what it finds too easy is seldom written by anybody.

Measured in bits per byte, which do not depend on the tokenizer. CCNet cuts each language into a head, a middle and a
tail of equal size, because languages are not equally easy to a model; so percentiles here are of a language. Nobody
here knows models: the caller brings a function that reads texts. N documents.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lavra.corpus.cleaning.settings import Cleaning
from lavra.corpus.cleaning.stretches import stretches

Score = Callable[[Sequence[str]], NDArray[np.float64]]
"""Bits per byte of texts, NaN where there is nothing to read."""

_FEWEST = 20
"""Documents of a language from which its percentiles mean something; of fewer, only the limits in bits are asked."""
_SHOWN = (1, 10, 33, 50, 67, 90, 99)
_STEP = 0.25


def scored(
    shards: Sequence[Path],
    rows: NDArray[np.int64],
    score: Score,
    work: Path,
    heard: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> NDArray[np.float64]:
    """(M,) bits per byte of the documents ``rows`` (ascending), read from the shards that hold them.

    What is read of a shard is a file of ``work`` that is there whole or not at all, so that what was killed goes on.
    """
    import pyarrow.parquet as parquet

    found, first = [np.zeros(0)], 0
    for number, shard in enumerate(shards):
        count = parquet.read_metadata(shard).num_rows
        here = rows[(rows >= first) & (rows < first + count)] - first
        kept = work / f"{number:06}.bits.npy"
        if len(here):
            bits = _known(kept, here)
            if bits is None:
                bits = _read(shard, here, score)
                partial = kept.with_suffix(".partial")
                with partial.open("wb") as file:
                    np.save(file, np.stack([here.astype(np.float64), bits]), allow_pickle=False)
                os.replace(partial, kept)
            found.append(bits)
        first += count
        heard(number + 1, len(shards), "perplexity")
    return np.concatenate(found)


def _known(kept: Path, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
    if not kept.exists():
        return None
    before, bits = np.load(kept, allow_pickle=False)
    return bits if np.array_equal(before, rows) else None


def _read(shard: Path, rows: NDArray[np.int64], score: Score) -> NDArray[np.float64]:
    import pyarrow as pa

    found = []
    for first, table in stretches([shard], ["text"]):
        here = rows[(rows >= first) & (rows < first + len(table))] - first
        if len(here):
            found.append(score(table["text"].take(pa.array(here)).to_pylist()))
    return np.concatenate(found)


def limits(bits: NDArray[np.float64], languages: Sequence[str], settings: Cleaning) -> dict[str, tuple[float, float]]:
    """The least and the most bits per byte that stay, by language. ``bits`` (N,) is NaN where nothing was read."""
    out: dict[str, tuple[float, float]] = {}
    names = np.array(languages, object)
    for language in sorted(set(languages)):
        here = bits[(names == language) & ~np.isnan(bits)]
        low, high = -np.inf, np.inf
        if len(here) >= _FEWEST:
            low, high = np.percentile(here, settings.perplexity_percentiles)
        least, most = settings.perplexity_least, settings.perplexity_most
        out[language] = (
            float(low if least is None else max(low, least)),
            float(high if most is None else min(high, most)),
        )
    return out


def measured(bits: NDArray[np.float64], languages: Sequence[str], settings: Cleaning) -> dict[str, Any]:
    """What a report says: documents by bits per byte, percentiles by language, and the limits that were drawn."""
    read = ~np.isnan(bits)
    steps: Counter[float] = Counter((np.floor(bits[read] / _STEP) * _STEP).tolist())
    names = np.array(languages, object)
    here = {language: bits[(names == language) & read] for language in sorted(set(languages))}
    drawn = limits(bits, languages, settings)
    return {
        "model": settings.perplexity_model,
        "read": int(read.sum()),
        "histogram": {f"{low:.2f} to {low + _STEP:.2f}": steps[low] for low in sorted(steps)},
        "percentiles": {
            language: {str(at): round(float(np.percentile(values, at)), 4) for at in _SHOWN}
            for language, values in here.items()
            if len(values)
        },
        "limits": {
            language: [round(value, 4) if np.isfinite(value) else None for value in drawn[language]]
            for language, values in here.items()
            if len(values)
        },
    }
