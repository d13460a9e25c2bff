"""Rows that say the same again, and rows that contradict each other, within files and between them.

*Exact*: subject and what is said of it are equal once case, white space and spelling of characters are levelled.
*Contradiction*: the subject is equal and what is said of it is not: another answer, another label, the other of two
answers preferred. *Near*: subjects are alike by Jaccard over shingles, and so are answers (labels are equal). Three
things keep apart what only looks alike: lines that both rows have are taken out and the rest is compared again (two
questions about one text are two questions), numbers must be the same (two sums are two sums), and a short answer must
be equal.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from lavra.corpus.labels.entry import Entry, Kind, plain
from lavra.corpus.labels.reading import LeftRow
from lavra.corpus.labels.settings import Taking
from lavra.errors import LavraError

_NUMBER = re.compile(r"\d+")
_WORDS_OF_SHORT = 8
Pairs = NDArray[np.int64]


def drop_exact(entries: Sequence[Entry], kind: Kind) -> tuple[list[Entry], list[LeftRow]]:
    """The entries that say something for the first time and contradict no other; and the others.

    Of answers to one instruction the first stays, as where a model is tuned; of labels and preferences that contradict
    each other none does, for nothing says which one is right.
    """
    first: dict[str, Entry] = {}
    seen: dict[tuple[str, str], Entry] = {}
    said: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        said[entry.keys[0]].add(entry.keys[1])
    kept: list[Entry] = []
    left: list[LeftRow] = []
    for entry in entries:
        subject, answer = entry.keys
        if (subject, answer) in seen:
            left.append(LeftRow(entry.origin, "exact", "it repeats another row", seen[subject, answer].origin))
            continue
        seen[subject, answer] = entry
        if len(said[subject]) == 1:
            kept.append(entry)
        elif kind == "instructions":
            if subject in first:
                left.append(LeftRow(entry.origin, "contradiction", _OTHERWISE, first[subject].origin))
            else:
                kept.append(first.setdefault(subject, entry))
        else:
            other = first.setdefault(subject, entry)
            left.append(LeftRow(entry.origin, "contradiction", _BOTH[kind], "" if other is entry else other.origin))
    return kept, left


_OTHERWISE = "it asks what another row asks and answers otherwise"
_BOTH = {
    "classes": "the same text has another label elsewhere, and nothing says which is right",
    "preferences": "the same answers are judged otherwise elsewhere, and nothing says which is right",
    "pairs": "the same pair has another score elsewhere, and nothing says which is right",
}


def drop_near(entries: Sequence[Entry], settings: Taking) -> tuple[list[Entry], list[LeftRow]]:
    """The entries that are not nearly the same as an earlier one; and the others."""
    from lavra.corpus.duplicates.clusters import components

    pairs, similarity = alike([entry.subject for entry in entries], settings)
    labelled = [bool(entry.labels) for entry in entries]
    same = np.array(
        [
            entries[a].keys[1] == entries[b].keys[1] or not (labelled[a] or _apart(entries[a].said, entries[b].said))
            for a, b in pairs.tolist()
        ],
        bool,
    )
    open_ = np.flatnonzero(same & np.array([entries[a].keys[1] != entries[b].keys[1] for a, b in pairs.tolist()], bool))
    if len(open_):  # long answers that are not equal: alike, then
        said = [entry.said for entry in entries]
        same[open_] = _jaccard(said, pairs[open_], settings) >= settings.similarity
    pairs, similarity = pairs[same], similarity[same]
    labels = components(len(entries), pairs)
    known = {(a, b): value for (a, b), value in zip(pairs.tolist(), similarity.tolist(), strict=True)}
    kept, left = [], []
    for row, (entry, first) in enumerate(zip(entries, labels.tolist(), strict=True)):
        if first == row:
            kept.append(entry)
            continue
        value = known.get((first, row))
        how = f"{value:.0%}" if value is not None else "by way of others"
        left.append(
            LeftRow(entry.origin, "near", f"it is nearly the same as another row ({how})", entries[first].origin)
        )
    return kept, left


def _apart(one: str, other: str) -> bool:
    """Short answers are different where they are not equal; of long ones Jaccard decides."""
    return min(len(one.split()), len(other.split())) < _WORDS_OF_SHORT or numbers(one) != numbers(other)


def alike(texts: Sequence[str], settings: Taking, *, old: int = 0) -> tuple[Pairs, NDArray[np.float64]]:
    """(E, 2) rows of texts that are nearly the same, the smaller first, and how alike each pair is.

    Of the last ``old`` texts none is compared with another of them. Raises LavraError where a library is not there.
    """
    if not texts or not settings.similarity:
        return np.zeros((0, 2), np.int64), np.zeros(0)
    require("looking for near-duplicates")
    from lavra.corpus.duplicates.clusters import find_candidates
    from lavra.corpus.duplicates.minhash import band_keys

    keys = band_keys(*_column(texts), n=settings.shingle_words, bands=settings.bands, rows=settings.rows)
    pairs = find_candidates(keys)
    pairs = pairs[pairs[:, 0] < len(texts) - old]
    similarity = _jaccard(texts, pairs, settings)
    stays = similarity >= settings.similarity
    pairs, similarity = pairs[stays], similarity[stays]
    counted = [numbers(texts[a]) == numbers(texts[b]) for a, b in pairs.tolist()]
    stays = np.array(counted, bool)
    pairs, similarity = pairs[stays], similarity[stays]
    rests = [rest for a, b in pairs.tolist() for rest in _rests(texts[a], texts[b])]
    both = np.arange(len(rests), dtype=np.int64).reshape(-1, 2)
    stays = np.array([plain(rests[a]) == plain(rests[b]) for a, b in both.tolist()], bool)
    stays |= _jaccard(rests, both, settings) >= settings.similarity
    return pairs[stays], similarity[stays]


def numbers(text: str) -> list[str]:
    return sorted(_NUMBER.findall(text))


def _rests(one: str, other: str) -> tuple[str, str]:
    """Both texts without the lines that they share."""
    lines, others = one.split("\n"), other.split("\n")
    common = set(lines) & set(others)
    first, second = ("\n".join(line for line in side if line not in common) for side in (lines, others))
    return first, second


def _jaccard(texts: Sequence[str], pairs: Pairs, settings: Taking) -> NDArray[np.float64]:
    from lavra.corpus.duplicates.shingles import jaccard, shingle_sets

    if not len(pairs):
        return np.zeros(0)
    rows = np.unique(pairs)
    flat, ends = shingle_sets(*_column([texts[row] for row in rows]), np.arange(len(rows)), settings.shingle_words)
    found: NDArray[np.float64] = jaccard(
        flat, ends, np.searchsorted(rows, pairs[:, 0]), np.searchsorted(rows, pairs[:, 1])
    )
    return found


def _column(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    import pyarrow as pa

    from lavra.corpus.quality.batch import buffers

    return buffers(pa.array(texts, pa.large_string()))


def require(what: str, *modules: str) -> None:
    """Raises LavraError, saying what to install, where one of ``modules`` is not there."""
    for module in modules or ("numba", "scipy"):
        try:
            import_module(module)
        except ImportError as error:
            raise LavraError(f"{what} needs {error.name}: install it with  pip install 'lavra[corpus]'.") from None


def matrix_of(files: Sequence[str], left: Sequence[LeftRow]) -> dict[str, dict[str, int]]:
    """How many rows of each file repeat a row of each: ``{file: {file: rows}}``."""
    found: dict[str, dict[str, int]] = {name: {} for name in files}
    for one in left:
        if one.like and one.stage in ("exact", "near"):
            rows = found[_file(one.origin)]
            rows[_file(one.like)] = rows.get(_file(one.like), 0) + 1
    return {name: rows for name, rows in found.items() if rows}


def _file(origin: str) -> str:
    return origin.rpartition(":")[0]
