"""What the shards of a cleaning say, gathered for the decisions over all documents: keys and names, never texts.

One shard after the other and column by column, so that a million documents are arrays and shared strings rather than a
million dictionaries. N documents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lavra.corpus.cleaning.batch import TIMED
from lavra.corpus.cleaning.deciding import Facts, Old
from lavra.corpus.cleaning.settings import Cleaning
from lavra.corpus.cleaning.stretches import stretches
from lavra.corpus.storage import FILE_NAME

_NAMES = ("licence", "language", "modified", "_overlapped", "_opted_out")
"""Columns of few different values, or of few values at all: equal ones are one string in memory."""


def facts_of(shards: Sequence[Path]) -> tuple[Facts, dict[str, Any]]:
    """What is known of every document besides its text, and the sums of what was changed, found and spent."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    wanted = [
        *("source", *_NAMES, "roles", "_confidence", "_broken", "_personal", "_hash", "_keys", "_changes"),
        *("_seconds", "_bytes", "_size", "_paragraphs", "_paragraph_sizes"),
    ]
    sources: list[str] = []
    hashes: list[bytes] = []
    names: dict[str, list[Any]] = {name: [] for name in _NAMES}
    roles: list[tuple[str, ...]] = []
    broken: list[list[str]] = []
    keys: list[NDArray[np.uint64]] = []
    paragraphs, paragraph_sizes = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    held, sizes = [np.zeros(1, np.int64)], [np.zeros(0, np.int64)]
    confidences, personal, characters = [np.zeros(0, np.float32)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    found: Counter[str] = Counter()
    changes: Counter[str] = Counter()
    seconds = np.zeros(len(TIMED))
    shared: dict[Any, Any] = {}
    for shard in shards:
        table = parquet.read_table(shard, columns=wanted).combine_chunks()
        if not len(table):
            continue
        sources += table["source"].to_pylist()
        hashes += [bytes.fromhex(value) for value in table["_hash"].to_pylist()]
        for name, values in names.items():
            values += [shared.setdefault(value, value) for value in table[name].to_pylist()]
        readers = (tuple(sorted(row)) for row in table["roles"].to_pylist())
        roles += [shared.setdefault(row, row) for row in readers]
        rules = table["_broken"].to_pylist()
        broken += [shared.setdefault(("broken", *row), row) for row in rules]
        confidences.append(table["_confidence"].to_numpy().astype(np.float32))
        characters.append(table["_bytes"].to_numpy().astype(np.int64))
        keys.append(_flat(table["_keys"]).reshape(len(table), -1))
        kinds, counts, ends = _entries(table["_personal"])
        sizes.append(table["_size"].to_numpy())
        paragraphs.append(_flat(table["_paragraphs"]))
        paragraph_sizes.append(_flat(table["_paragraph_sizes"]))
        held.append(pa.compute.list_value_length(table["_paragraphs"]).to_numpy().astype(np.int64))
        personal.append(np.diff(np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])[ends]))
        for kind, count in zip(kinds, counts.tolist(), strict=True):
            found[kind] += count
        changes.update(_entries(table["_changes"])[0])
        seconds += _flat(table["_seconds"]).reshape(-1, len(TIMED)).sum(axis=0)
    facts = Facts(
        sources=sources,
        licences=names["licence"],
        languages=names["language"],
        confidences=np.concatenate(confidences),
        broken=broken,
        personal=np.concatenate(personal),
        hashes=hashes,
        roles=roles,
        keys=np.concatenate(keys) if keys else np.zeros((0, 0), np.uint64),
        overlapped=names["_overlapped"],
        characters=np.concatenate(characters),
        modified=names["modified"],
        opted_out=names["_opted_out"],
        sizes=np.concatenate(sizes),
        paragraphs=np.concatenate(paragraphs),
        paragraph_sizes=np.concatenate(paragraph_sizes),
        paragraph_ends=np.cumsum(np.concatenate(held)),
    )
    spent = dict(zip(TIMED, seconds.tolist(), strict=True))
    return facts, {"personal": found, "changes": changes, "seconds": spent}


def _flat(column: Any) -> NDArray[Any]:
    """The values of all lists of a column, behind each other."""
    import pyarrow as pa

    flat = pa.compute.list_flatten(column)
    flat = flat.combine_chunks() if isinstance(flat, pa.ChunkedArray) else flat
    values: NDArray[Any] = flat.to_numpy(zero_copy_only=False)
    return values


def _entries(column: Any) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Keys and values of all maps of a column, behind each other, and (rows + 1,) where each row's begin."""
    kinds: list[str] = []
    values: list[NDArray[np.int64]] = []
    ends = [np.zeros(1, np.int64)]
    for chunk in column.chunks:
        here = chunk.offsets.to_numpy().astype(np.int64)
        kinds += chunk.keys.slice(here[0], here[-1] - here[0]).to_pylist()
        values.append(chunk.items.slice(here[0], here[-1] - here[0]).to_numpy().astype(np.int64))
        ends.append(here[1:] - here[0] + ends[-1][-1])
    return kinds, np.concatenate([np.zeros(0, np.int64), *values]), np.concatenate(ends)


def old_of(against: Mapping[str, Path], settings: Cleaning) -> Old:
    """Keys of the documents of other corpora."""
    from lavra.corpus.duplicates.minhash import band_keys
    from lavra.corpus.quality.batch import buffers

    sources: list[str] = []
    roles: list[tuple[str, ...]] = []
    keys = [np.zeros((0, settings.bands), np.uint64)]
    for name, corpus in against.items():
        for _, table in stretches([corpus / FILE_NAME], ["source", "roles", "text"]):
            sources += [f"{name}:{source}" for source in table["source"].to_pylist()]
            roles += [tuple(sorted(values)) for values in table["roles"].to_pylist()]
            offsets, data = buffers(table["text"])
            keys.append(band_keys(offsets, data, n=settings.shingle_words, bands=settings.bands, rows=settings.rows))
    return Old(sources, roles, np.concatenate(keys))


def shingles_of(
    shards: Sequence[Path], rows: NDArray[np.int64], words: int
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Shingle sets of some documents, read from the shards that hold them."""
    from lavra.corpus.duplicates.shingles import shingle_sets
    from lavra.corpus.quality.batch import buffers

    parts, sizes = [np.zeros(0, np.uint32)], [np.zeros(1, np.int64)]
    for first, table in stretches(shards, ["text"]):
        here = rows[(rows >= first) & (rows < first + len(table))] - first
        if len(here):
            flat, ends = shingle_sets(*buffers(table["text"]), here, words)
            parts.append(flat)
            sizes.append(np.diff(ends))
    return np.concatenate(parts), np.cumsum(np.concatenate(sizes))
