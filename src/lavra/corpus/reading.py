"""From paths to documents, in order, whatever the files are like.

Formats with complicated parsers go to worker processes as soon as they are met; the others are read here when their
turn comes. Results come out in the order of the walk, so that the same folder always gives the same corpus.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from lavra.corpus import readers
from lavra.corpus.assembly import Assembly
from lavra.corpus.continuing import Place
from lavra.corpus.detect import HEAD_BYTES, HEAVY, STREAMED, detect
from lavra.corpus.document import Document
from lavra.corpus.opening import open_file
from lavra.corpus.packing import BZIP2_BLOCK, packing
from lavra.corpus.parts import Unreadable
from lavra.corpus.pool import Answer, Pool
from lavra.corpus.reached import Progress, Told, size_of
from lavra.corpus.remembering import Remembered
from lavra.corpus.settings import ReadSettings
from lavra.corpus.sources import FILE_NAME, Sources
from lavra.corpus.streaming import stream_file
from lavra.corpus.walking import Found, Skipped, os_skipped, safe_name, walk
from lavra.errors import LavraError

__all__ = ["Root", "Skipped", "label_roots", "read_bytes", "read_paths", "read_roots"]


_LIGHT_BYTES = 4_000_000
"""Above this a text format goes to a worker too: its time is bounded there and other files need not wait."""
_WINDOW = 256
_BYTES_UNDER_WAY = 64_000_000
"""Of files that workers read or have read: what they made of them is in memory until its turn comes."""


@dataclass(frozen=True, slots=True)
class Root:
    """A folder or file to read, and its name in the corpus."""

    label: str
    path: Path


def label_roots(paths: Sequence[Path], known: Mapping[str, str] | None = None) -> tuple[list[Root], list[Skipped]]:
    """Give every root a name of its own: its folder's, with the parent's before it where that is taken.

    ``known`` are the labels and absolute paths of an earlier corpus: the same path keeps its label, another path does
    not get it. A root inside another root is left out, and said. Raises `LavraError` for a path that is not there.
    """
    known = dict(known or {})
    labels = {path: label for label, path in known.items()}
    absolute: list[Path] = []
    called: dict[Path, str] = {}
    for path in paths:
        if not os.path.lexists(path):
            raise LavraError(f"{path} does not exist: name a folder or file that does")
        resolved = Path(os.path.realpath(path))
        if resolved not in absolute:
            absolute.append(resolved)
            called[resolved] = Path(os.path.abspath(path)).name  # a link's own name, not its target's
    roots, skipped = [], []
    for path in absolute:
        outer = next((other for other in absolute if other in path.parents), None)
        if outer is not None:
            skipped.append(Skipped(safe_name(path.name), "nested", f"it lies inside {outer}, which is read whole"))
            continue
        label = labels.get(str(path))
        if label is None:
            name = safe_name(called[path]) or "root"
            parent = safe_name(path.parent.name)
            candidates = iter([name, *([f"{parent}-{name}"] if parent else [])])
            number = 2
            label = next(candidates)
            while label in known:
                label = next(candidates, f"{name}-{number}")
                number += 1
        known[label] = str(path)
        roots.append(Root(label, path))
    return roots, skipped


def read_paths(
    roots: Sequence[Path], settings: ReadSettings, *, progress: Progress | None = None
) -> Iterator[Document | Skipped]:
    """Read every file below ``roots``; what cannot be read is yielded as `Skipped` and the rest goes on.

    Raises `LavraError` where a root does not exist or a ``lavra-sources.toml`` cannot be understood.
    """
    labelled, skipped = label_roots(roots)
    yield from skipped
    with closing(read_roots(labelled, settings, Counter(), progress=progress)) as items:
        for _, item in items:
            yield item


def read_roots(
    roots: Sequence[Root],
    settings: ReadSettings,
    ignored: Counter[str],
    *,
    progress: Progress | None = None,
    place: Place | None = None,
    names: Remembered[int] | None = None,
    documents: int = 0,
) -> Generator[tuple[str, Document | Skipped], None, None]:
    """`read_paths` for labelled roots, each item with its root's label; ``ignored`` counts what is passed over.

    Reading begins at ``place``, which moves on with what has been taken whole; ``names`` are those of records before
    it in the same file, ``documents`` how many were read before it.
    """
    place = place or Place()
    passed, records = place.entries, place.records
    told = Told(progress, documents)
    if progress is not None:
        told.count(entry for root in roots for entry in walk(root.path, root.label, settings, Counter()))
    done = 0
    with Pool(settings) as pool:
        for root in roots:
            for task in _in_order(root, settings, ignored, pool, passed):
                told.begin(task.entry.source, task.size)
                if passed:
                    done, passed = done + 1, passed - 1
                    continue
                told.now()
                if records and task.assembly is not None and task.entry.source == place.source and names is not None:
                    task.assembly = replace(task.assembly, names=names)
                else:
                    place.records = 0
                records = 0
                place.source = task.entry.source
                for item in task.results(settings, pool, place, told.within):
                    told.documents += isinstance(item, Document)
                    yield root.label, item
                done += 1
                place.entries, place.records, place.source = done, 0, ""
    told.end()


def read_bytes(
    filename: str, data: bytes, settings: ReadSettings, *, root: str = "uploads"
) -> list[Document | Skipped]:
    """Read an uploaded file, in a worker process whatever its format; its source is ``<root>/<file name>``."""
    name = safe_name(PurePosixPath(filename.replace("\\", "/")).name) or "unnamed"
    source = f"{root}/{name}"
    if name == FILE_NAME:
        return [Skipped(source, "unsupported", "a file of this name says who may read what: it cannot be uploaded")]
    if not data:
        return [Skipped(source, "empty", "the file is empty")]
    found = Found(Path(name), source, len(data), datetime.now(UTC).timestamp())
    try:
        kind = detect(name, data[: HEAD_BYTES + (BZIP2_BLOCK if packing(data[:16]) == "bzip2" else 0)])
        if kind not in ("zip", "ole") and len(data) > settings.megabytes(kind) * 1_000_000:
            raise readers.too_large(kind, len(data), settings.megabytes(kind))
        with Pool(settings) as pool:
            answer = pool.submit(kind, name, data=data).result()
    except Unreadable as error:
        return [Skipped(source, error.kind, error.reason)]
    return list(Assembly(found, Sources(None), settings).documents(answer))


def _in_order(root: Root, settings: ReadSettings, ignored: Counter[str], pool: Pool, passed: int) -> Iterator[_Task]:
    """Each entry of the walk, the first ``passed`` as they are. Heavy files are begun early, a few a worker ahead."""
    folder = root.path if root.path.is_dir() else root.path.parent
    sources = Sources(folder)
    waiting: deque[_Task] = deque()
    in_flight = size = 0
    for number, entry in enumerate(walk(root.path, root.label, settings, ignored)):
        if number < passed:
            yield _Task(entry, None, size_of(entry))
            continue
        task = _Task(entry, Assembly(entry, sources, settings) if isinstance(entry, Found) else None, size_of(entry))
        if isinstance(entry, Found):
            sources.check(entry.path)
            task.begin(pool, settings)
            in_flight += task.future is not None
            size += task.size if task.future is not None else 0
        waiting.append(task)
        while len(waiting) > _WINDOW or in_flight > 3 * settings.processes() or size > _BYTES_UNDER_WAY:
            task = waiting.popleft()
            if task.future is not None:
                in_flight, size = in_flight - 1, size - task.size
            yield task
    while waiting:
        yield waiting.popleft()


@dataclass(slots=True)
class _Task:
    """One entry of the walk on its way to documents."""

    entry: Found | Skipped
    assembly: Assembly | None
    size: int
    kind: str = ""
    future: Future[Answer] | None = None

    def begin(self, pool: Pool, settings: ReadSettings) -> None:
        """Look at the file's head; send it to a worker if it is heavy."""
        found = self.entry
        assert isinstance(found, Found)
        try:
            descriptor = open_file(found.path)
            try:
                head = os.read(descriptor, HEAD_BYTES)
                if packing(head) == "bzip2":
                    head += os.read(descriptor, BZIP2_BLOCK)
            finally:
                os.close(descriptor)
            self.kind = detect(found.path.name, head)
            limit = (
                max(map(settings.megabytes, HEAVY)) if self.kind in ("zip", "ole") else settings.megabytes(self.kind)
            )
            if found.size > limit * 1_000_000:
                raise readers.too_large(self.kind, found.size, limit)
        except OSError as error:
            self.entry = os_skipped(found.source, error)
        except Unreadable as error:
            self.entry = Skipped(found.source, error.kind, error.reason)
        else:
            heavy = self.kind in HEAVY or self.kind in ("zip", "ole") or found.size > _LIGHT_BYTES
            if heavy and self.kind not in STREAMED:
                self.future = pool.submit(self.kind, found.path.name, path=found.path)

    def results(
        self, settings: ReadSettings, pool: Pool, place: Place, within: Callable[[int], None]
    ) -> Iterator[Document | Skipped]:
        """The documents, read now unless a worker has; of a file of records those behind ``place``, and ``within``
        is told how many of its bytes are read."""
        if isinstance(self.entry, Skipped):
            yield self.entry
            return
        found, assembly = self.entry, self.assembly
        assert assembly is not None
        try:
            if self.future is not None:
                yield from assembly.documents(self.future.result())
            elif self.kind in STREAMED:
                yield from stream_file(found, self.kind, assembly, settings, pool, place, within)
            else:
                with os.fdopen(open_file(found.path), "rb") as file:
                    data = file.read(settings.megabytes(self.kind) * 1_000_000 + 1)
                kind, parts = readers.read(self.kind, data, found.path.name, settings)
                yield from assembly.documents(Answer(kind, len(data), hashlib.sha256(data).hexdigest(), parts))
        except OSError as error:
            yield os_skipped(found.source, error)
        except Unreadable as error:
            yield Skipped(found.source, error.kind, error.reason)
