"""Texts of unequal lengths in rows of equal length, so that nearly nothing computed is padding.

Best fit: the longest text first, each into the row that it leaves the least room in (Johnson et al. 1974; Krell et al.
2021, Efficient Sequence Packing without Cross-contamination; Ding et al. 2024, Fewer Truncations Improve Language
Modeling). Texts are not split unless that is asked for (streams of pre-training are cut), and a packed text sees only
itself, by its segment.

Only lengths matter, and there are at most T of them: texts of one length are placed together, so that a million texts
are placed in a second.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from lavra.errors import LavraError
from lavra.objectives.objective import IGNORE, PADDING

Integers = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Example:
    """A tokenised text: ``ids`` (n,), ``weights`` (n,) of each token as a target (0: not learned; None: all 1), and
    ``source``, whose text it is (a number that means something to the caller).

    The first token is never a target, for nothing predicts it.
    """

    ids: Integers
    weights: npt.NDArray[np.floating] | None = None
    source: int = 0

    @property
    def places(self) -> int:
        """How many places of a row it takes: its last token is a target only."""
        return len(self.ids) - 1

    @property
    def learns(self) -> bool:
        """Whether any of its targets counts."""
        return self.places > 0 and (self.weights is None or bool((np.asarray(self.weights)[1:] > 0).any()))


@dataclass(frozen=True)
class Row:
    """Packed texts, all (T,): ``ids``; ``targets``, shifted, IGNORE where nothing is learned; ``weights`` of targets,
    0 where ignored; ``segments``, texts from 1 and 0 for padding; ``sources``, of each place, -1 for padding."""

    ids: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    segments: npt.NDArray[np.int32]
    sources: npt.NDArray[np.int64]


class Rows(Sequence[Row], ABC):
    """Rows that are made when they are asked for, by their number."""

    @abstractmethod
    def row(self, number: int) -> Row:
        """One row; ``number`` is one of those that there are, from 0."""

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self.row(number) for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.row(index % len(self))


class PackedRows(Rows):
    """Rows of ``length`` places that hold every example once; a row is made when it is asked for.

    ``padding``: the share of places that hold no token. Raises LavraError for an example that is longer than a row.
    """

    def __init__(self, examples: Sequence[Example], length: int, *, padding_id: int = 0) -> None:
        self.examples, self.length, self.padding_id = examples, length, padding_id
        lengths = np.fromiter((example.places for example in examples), dtype=np.int64, count=len(examples))
        if len(lengths) and lengths.min() < 1:
            raise LavraError(f"example {int(lengths.argmin())} has fewer than two tokens, which teach nothing; drop it")
        if len(lengths) and lengths.max() > length:
            raise LavraError(
                f"example {int(lengths.argmax())} has {int(lengths.max()) + 1} tokens, more than the {length + 1} of a "
                "row and its last target; make rows longer, or ask for long examples to be cut"
            )
        row_of = best_fit(lengths, length)
        self._order = np.argsort(row_of, kind="stable")
        count = int(row_of.max()) + 1 if len(row_of) else 0
        self._starts = np.searchsorted(row_of[self._order], np.arange(count + 1))
        self.tokens = int(lengths.sum())
        self.sizes = np.full(count, length, dtype=np.int64)
        """What each row costs, for the loader."""
        squares = float((lengths.astype(np.float64) ** 2).sum())
        self.mean_context = squares / max(1, self.tokens)
        """Tokens of the text that a token stands in, on average over tokens: what attention costs."""

    @property
    def padding(self) -> float:
        places = len(self) * self.length
        return 1 - self.tokens / places if places else 0.0

    def members(self, row: int) -> Integers:
        """Which examples a row holds, in their order."""
        return self._order[self._starts[row] : self._starts[row + 1]]

    def __len__(self) -> int:
        return len(self._starts) - 1

    def row(self, number: int) -> Row:
        return make_row([self.examples[i] for i in self.members(number)], self.length, self.padding_id)


def make_row(examples: Sequence[Example], length: int, padding_id: int = 0) -> Row:
    """``examples`` one after another in a row of ``length`` places."""
    row = Row(
        ids=np.full(length, padding_id, dtype=np.int64),
        targets=np.full(length, IGNORE, dtype=np.int64),
        weights=np.zeros(length, dtype=np.float32),
        segments=np.full(length, PADDING, dtype=np.int32),
        sources=np.full(length, -1, dtype=np.int64),
    )
    at = 0
    for number, example in enumerate(examples, 1):
        place = slice(at, at + example.places)
        targets = np.asarray(example.ids[1:], dtype=np.int64)
        weights = np.ones(len(targets), np.float32) if example.weights is None else np.asarray(example.weights)[1:]
        row.ids[place] = example.ids[:-1]
        row.targets[place] = np.where(weights > 0, targets, IGNORE)
        row.weights[place] = np.maximum(weights, 0)
        row.segments[place] = number
        row.sources[place] = example.source
        at = place.stop
    return row


def best_fit(lengths: Integers, room: int) -> npt.NDArray[np.int64]:
    """The row of each item, (N,), for items of ``lengths`` between 1 and ``room`` in rows of ``room`` places.

    The longest items first, each into the row with the least room that still takes it, as if one by one; but items of
    one length go into all rows with the same room at once.
    """
    order = np.argsort(-lengths, kind="stable")  # longest first; equal ones in their order
    row_of = np.empty(len(lengths), dtype=np.int64)
    open_rows: dict[int, list[npt.NDArray[np.int64]]] = {}  # by the room they have left
    nonempty = 0  # bit r: there are rows with room r left
    rows = at = 0

    def keep(numbers: npt.NDArray[np.int64], left: int) -> None:
        nonlocal nonempty
        if left and len(numbers):
            open_rows.setdefault(left, []).append(numbers)
            nonempty |= 1 << left

    values, counts = np.unique(lengths, return_counts=True)
    for size, count in zip(values[::-1].tolist(), counts[::-1].tolist(), strict=True):
        items, at = order[at : at + count], at + count
        while len(items):
            fitting = nonempty >> size
            if fitting:
                left = size + (fitting & -fitting).bit_length() - 1  # the least room that is enough
                numbers = np.concatenate(open_rows.pop(left))
                nonempty ^= 1 << left
            else:
                left = room
                wanted = -(-len(items) // (room // size))
                numbers, rows = np.arange(rows, rows + wanted), rows + wanted
            # The tightest row takes the next item as long as it can, and stays the tightest: it is filled up first.
            each = left // size
            used = min(len(numbers), -(-len(items) // each))
            taken = min(len(items), used * each)
            row_of[items[:taken]] = np.repeat(numbers[:used], each)[:taken]
            last = taken - (used - 1) * each  # in the last row used
            keep(numbers[: used - 1], left - each * size)
            keep(numbers[used - 1 : used], left - last * size)
            keep(numbers[used:], left)
            items = items[taken:]
    return row_of


def cut(examples: Sequence[Example], length: int, *, tail: bool = True) -> Iterator[Example]:
    """Examples that fit a row of ``length`` places: a longer one in pieces, whose first token is the last one of the
    piece before, so that every target is learned once; with ``tail`` False only its beginning is kept."""
    for example in examples:
        for start in range(0, max(1, example.places), length):
            piece = slice(start, start + length + 1)
            weights = None if example.weights is None else example.weights[piece]
            yield Example(example.ids[piece], weights, example.source)
            if not tail:
                break


def stream(examples: Sequence[Example], length: int) -> Iterator[Row]:
    """Rows filled to the last place with texts one after another, cut wherever a row ends: what pre-training on a
    large corpus does. The last row is padded. A piece sees only itself."""
    held: list[Example] = []
    room = length
    for example in examples:
        start = 0
        while start < example.places:
            taken = min(room, example.places - start)
            piece = slice(start, start + taken + 1)
            weights = None if example.weights is None else example.weights[piece]
            held.append(Example(example.ids[piece], weights, example.source))
            start, room = start + taken, room - taken
            if not room:
                yield make_row(held, length)
                held, room = [], length
    if held:
        yield make_row(held, length)
