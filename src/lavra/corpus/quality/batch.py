"""Figures of a batch of texts in one language, from the Arrow array as it is: no Python object a text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lavra.corpus.quality.kernels import measure, phrases
from lavra.corpus.quality.languages import CITATIONS, PLACEHOLDER, SCRIPT, rules_of
from lavra.corpus.quality.words import stop_table


@dataclass(frozen=True)
class Measured:
    """What `measure_texts` found: ``figures`` (N, len(FIGURES)), and text i's j-th line is ``kept[kept_at[i] + j]``."""

    figures: NDArray[np.float64]
    kept: NDArray[np.uint8]
    kept_at: NDArray[np.int64]


def measure_texts(texts: Any, language: str, *, terminal_only: bool = True) -> Measured:
    """The figures of an Arrow array of texts, with the stop words and notices of a language.

    An unknown language has no stop words and no notices: rules about them see none. A missing text is an empty one.
    """
    offsets, data = buffers(texts)
    stops, unwanted = _looked_for(language)
    return Measured(*measure(offsets, data, stops, unwanted, terminal_only=terminal_only))


def buffers(texts: Any) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """(N + 1,) offsets and the bytes of an Arrow array (or chunked array) of strings, without copying the bytes."""
    import pyarrow as pa

    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
        if isinstance(texts, pa.ChunkedArray):
            texts = pa.concat_arrays(texts.chunks) if texts.num_chunks else pa.array([], pa.large_string())
    if texts.null_count:
        texts = texts.fill_null("")
    if texts.type != pa.large_string():
        texts = texts.cast(pa.large_string())
    _, offsets, data = texts.buffers()
    if data is None:
        return np.zeros(len(texts) + 1, np.int64), np.zeros(1, np.uint8)
    places = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return places, np.frombuffer(data, np.uint8)


@cache
def _looked_for(language: str) -> tuple[NDArray[np.uint64], tuple[NDArray[np.uint32], NDArray[np.int64]]]:
    known = rules_of(language)
    stops = stop_table(known.stop_words if known else ())
    return stops, phrases((*CITATIONS, PLACEHOLDER, SCRIPT, *(known.notices if known else ())))
