"""Which documents of token files hold a run of tokens: the longest run that each shares with what is asked for.

Every file is read once for any number of queries. Of each place the ``least`` tokens that begin there are hashed, one
look-up in a table tells nearly all places that no query has such tokens, and the others are compared token by token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lavra.tokens.packed import Ids, TokenFiles

_PLACES = 1 << 16  # at a time: what is computed stays in the processor's cache
_TABLE = 20  # bits of a hash that the table goes by; more for many queries
_FACTOR, _ONE, _HALF = np.uint64(0x9E3779B97F4A7C15), np.uint64(1), np.uint64(32)  # Knuth's, for 64 bits

Query = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Run:
    """``length`` tokens of query number ``query`` that stand at ``start`` of document ``source`` (its source id), and
    in the query from ``begin`` on."""

    query: int
    source: int
    start: int
    begin: int
    length: int


def find_runs(files: TokenFiles, queries: Sequence[Query], *, least: int) -> list[list[Run]]:
    """For each query the longest run in each document that has one of ``least`` tokens or more, the longest first; of
    runs alike the first. A shorter query is looked for as a whole.

    Where a query says ``least`` tokens twice, they are compared with the first place that says them; what stands before
    and after them finds the other.
    """
    found: list[dict[int, Run]] = [{} for _ in queries]
    for size in sorted({min(least, len(query)) for query in queries} - {0}):
        group = [number for number, query in enumerate(queries) if min(least, len(query)) == size]
        grams = _Grams([queries[number] for number in group], size)
        for shard, ids in enumerate(files.shards):
            covered: dict[tuple[int, int], int] = {}  # by query and diagonal, where the last run ends
            for place, member, begin in grams.places(ids):
                if place >= covered.get((member, place - begin), 0):
                    number = group[member]
                    run = _run(files, shard, place, number, queries[number], begin)
                    covered[member, place - begin] = place + run.begin + run.length - begin
                    best = found[number].get(run.source)
                    if run.length >= size and (best is None or run.length > best.length):
                        found[number][run.source] = run
    return [sorted(runs.values(), key=lambda run: (-run.length, run.source)) for runs in found]


class _Grams:
    """All runs of ``size`` tokens of some queries, to be looked for."""

    def __init__(self, queries: Sequence[Query], size: int) -> None:
        self.size, self.queries = size, queries
        self.where: dict[int, dict[int, int]] = {}  # by hash, the queries that have it, and where first
        for member, query in enumerate(queries):
            for begin, value in enumerate(_hashes(query, size).tolist()):
                self.where.setdefault(value, {}).setdefault(member, begin)
        self.values = np.array(sorted(self.where), dtype=np.uint64)
        self.shift = np.uint64(64 - max(_TABLE, len(self.values).bit_length() + 4))
        self.table = np.zeros(1 << (64 - int(self.shift)), dtype=bool)
        self.table[self.values >> self.shift] = True

    def places(self, ids: Ids) -> Iterator[tuple[int, int, int]]:
        """Where a run of one of the queries stands in ``ids``: the place, the query, and where in that it begins."""
        for first in range(0, len(ids) - self.size + 1, _PLACES):
            hashes = _hashes(ids[first : first + _PLACES + self.size - 1], self.size)
            likely = np.flatnonzero(self.table[hashes >> self.shift])
            for place in likely[np.isin(hashes[likely], self.values)].tolist():
                run = ids[first + place : first + place + self.size]
                for member, begin in self.where[int(hashes[place])].items():
                    if (self.queries[member][begin : begin + self.size] == run).all():
                        yield first + place, member, begin


def _hashes(ids: Query, size: int) -> npt.NDArray[np.uint64]:
    """A hash of the ``size`` ids from each place on: (len(ids) - size + 1,). Made of the hashes of both halves."""
    if size == 1:
        mixed = (ids.astype(np.uint64) + _ONE) * _FACTOR
    else:
        half, count = size // 2, len(ids) - size + 1
        first = _hashes(ids, half)
        second = first if size == 2 * half else _hashes(ids, size - half)
        mixed = (first[:count] * _FACTOR) ^ second[half : half + count]
    return mixed ^ (mixed >> _HALF)


def _run(files: TokenFiles, shard: int, place: int, number: int, query: Query, begin: int) -> Run:
    """The run around ``place`` of a file and ``begin`` of the query, as far as both agree inside one document."""
    source = int(files.at(shard, np.array([place]))[0])
    start, document = place - int(files.starts[source]), files.ids(source)
    after = _agree(document[start:], query[begin:])
    before = _agree(document[:start][::-1], query[:begin][::-1])
    return Run(number, source, start - before, begin - before, before + after)


def _agree(left: Query, right: Query) -> int:
    """How many of their first tokens are the same."""
    length = min(len(left), len(right))
    same = left[:length] == right[:length]
    return length if same.all() else int(np.argmin(same))
