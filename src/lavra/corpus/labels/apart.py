"""What tests hold too: rows whose question is one of a test's, nearly one, or that share many words in a row with one.

A test is a set of the store, or a file: of rows that are examples, what they ask; of any other, its longer texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lavra.corpus.examples.example import Problem
from lavra.corpus.examples.formats import Refused
from lavra.corpus.examples.rows import rows
from lavra.corpus.labels.entry import Entry, plain, read_entries
from lavra.corpus.labels.reading import LeftRow, kind_of, to_entries
from lavra.corpus.labels.repeats import alike
from lavra.corpus.labels.settings import Taking
from lavra.corpus.preferences import Unusable
from lavra.errors import LavraError


def read_tests(places: Mapping[str, Path], settings: Taking) -> dict[str, list[str]]:
    """What each test asks; ``places`` are directories of sets, or files. Raises LavraError for one without items."""
    return {name: _asked(place, settings) for name, place in places.items()}


def _asked(place: Path, settings: Taking) -> list[str]:
    if place.is_dir():
        return [entry.asked for entry in read_entries(place)]
    try:
        found = [row for row in rows(place) if not isinstance(row, Problem)]
    except LavraError:
        found = []  # plain text, or fields in other files: the items' own reader says what is wrong
    asked: list[str] = []
    for where, fields in found:
        kind = kind_of(fields, settings)
        try:
            made, _ = to_entries(fields, kind, where, settings) if kind else ([], "")
        except (Refused, Unusable):
            made = []
        asked += [entry.asked for entry in made]
    if found and len(asked) >= len(found) / 2:
        return asked
    from lavra.corpus.cleaning.evaluation_sets import read_items

    return read_items(place)


def drop_tested(
    entries: Sequence[Entry], tests: Mapping[str, Sequence[str]], settings: Taking
) -> tuple[list[Entry], list[LeftRow]]:
    """The entries that no test holds; and the others, with the item."""
    if not tests or not entries:
        return list(entries), []
    items = [(f"{name}#{number}", text) for name, texts in tests.items() for number, text in enumerate(texts, 1)]
    why: dict[int, tuple[str, str]] = {}
    equal = {plain(text): name for name, text in reversed(items)}
    for row, entry in enumerate(entries):
        if (name := equal.get(plain(entry.asked))) is not None:
            why[row] = "it asks what a test asks", name
    pairs, similarity = alike(
        [*(entry.asked for entry in entries), *(text for _, text in items)], settings, old=len(items)
    )
    for (row, item), value in zip(pairs.tolist(), similarity.tolist(), strict=True):
        if item >= len(entries):
            why.setdefault(row, (f"it asks nearly what a test asks ({value:.0%})", items[item - len(entries)][0]))
    for row, name in _sharing(entries, tests, settings).items():
        why.setdefault(row, (f"it shares {settings.overlap} words in a row with an item of a test", name))
    left = [LeftRow(entries[row].origin, "test", said, name) for row, (said, name) in sorted(why.items())]
    return [entry for row, entry in enumerate(entries) if row not in why], left


def _sharing(entries: Sequence[Entry], tests: Mapping[str, Sequence[str]], settings: Taking) -> dict[int, str]:
    """The item that each row, question or answer, shares words in a row with."""
    if not settings.similarity:
        return {}
    import pyarrow as pa

    from lavra.corpus.contamination import matches, watch
    from lavra.corpus.quality.batch import buffers

    watched = watch(tests, n=settings.overlap)
    texts = pa.array([f"{entry.subject}\n{entry.said}" for entry in entries], pa.large_string())
    counts, first = matches(watched, *buffers(texts))
    found = {}
    for row in np.flatnonzero(counts).tolist():
        name, _, number = watched.names[int(first[row])].rpartition("#")
        found[row] = f"{name}#{int(number) + 1}"
    return found
