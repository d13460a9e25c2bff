"""Files of records, read one record after the other: they may be larger than memory.

A record whose content has a format of its own (a page out of a crawl, a message) goes to a worker process, as a file
of that format would, and a few are under way at a time; documents come out in the order of the file all the same.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace

from lavra.corpus import readers
from lavra.corpus.assembly import Assembly
from lavra.corpus.continuing import Place
from lavra.corpus.document import Document
from lavra.corpus.opening import open_file
from lavra.corpus.parts import BadRecord, Inner, Parts, Record, Unreadable
from lavra.corpus.pool import Answer, Pool
from lavra.corpus.settings import ReadSettings
from lavra.corpus.walking import Found, Skipped

_BYTES_UNDER_WAY = 64_000_000
IN_WORKERS = frozenset({"parquet"})
"""Formats read by libraries that a damaged file can bring down, and the process with them."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A record on its way to a document."""

    record: Parts | BadRecord | Inner
    size: int
    digest: str
    future: Future[Answer] | None

    def parts(self) -> list[Parts | BadRecord]:
        if not isinstance(self.record, Inner):
            return [self.record]
        assert self.future is not None
        try:
            made = self.future.result().documents
        except Unreadable as error:
            return [BadRecord(self.record.about.record, error.kind, error.reason)]
        return [parts if isinstance(parts, BadRecord) else self.record.parts(parts) for parts in made]


def stream_file(
    found: Found,
    kind: str,
    assembly: Assembly,
    settings: ReadSettings,
    pool: Pool,
    place: Place,
    within: Callable[[int], None] = lambda at: None,
) -> Iterator[Document | Skipped]:
    """The documents of a file of format ``kind`` (one of `detect.STREAMED`), in its order.

    Of the records that ``place`` says are done only the frames are read; it moves on with those that are. ``within`` is
    told where in the file the reading is, in bytes.

    Raises `Unreadable` where the file as a whole cannot be read further; what came before it has been yielded.
    """
    waiting: deque[_Waiting] = deque()
    anything = place.records > 0
    done = place.records
    stopped: Unreadable | None = None
    with os.fdopen(open_file(found.path), "rb") as file:
        records: Iterator[tuple[Record, int, str]] = (
            pool.stream(kind, found.path, within)
            if kind in IN_WORKERS
            else readers.stream_records(kind, file, settings)
        )
        while True:
            try:
                record, size, digest = next(records)
            except StopIteration:
                break
            except Unreadable as error:
                stopped = error
                break
            anything = True
            if kind not in IN_WORKERS:
                within(file.tell())
            if done:
                done -= 1
                continue
            future = None
            if isinstance(record, Inner):
                future = pool.submit(record.kind, found.path.name, data=record.data)
                record = replace(record, data=b"")
            waiting.append(_Waiting(record, size, digest, future))
            while waiting and (
                waiting[0].future is None
                or len(waiting) > 3 * settings.processes()
                or sum(one.size for one in waiting) > _BYTES_UNDER_WAY
            ):
                yield from _documents(waiting.popleft(), kind, assembly)
                place.records += 1
        while waiting:
            yield from _documents(waiting.popleft(), kind, assembly)
            place.records += 1
    if stopped is not None:
        raise stopped
    if not anything:
        raise Unreadable("empty", "there is no record in it")


def _documents(one: _Waiting, kind: str, assembly: Assembly) -> Iterator[Document | Skipped]:
    return assembly.documents(Answer(kind, one.size, one.digest, one.parts()))
