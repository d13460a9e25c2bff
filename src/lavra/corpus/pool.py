"""Worker processes for untrusted files: one file at a time each, under limits of time and memory.

``multiprocessing``'s pools lose the work when a worker dies and start the user's script again in every child. These
are plain child processes with pipes (`worker`), started when the first file comes: a folder without PDFs starts none.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lavra
from lavra.corpus.document import Span
from lavra.corpus.parts import BadRecord, Parts, Unreadable
from lavra.corpus.settings import ReadSettings
from lavra.corpus.worker import READY

_START = "import sys; sys.path.append(sys.argv[1]); from lavra.corpus.worker import main; main()"

_SECONDS_TO_START = 120


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker made of a file."""

    kind: str
    bytes: int
    sha256: str
    documents: list[Parts | BadRecord]


class Pool:
    """Reads files in worker processes. A context manager: leaving it ends them all."""

    def __init__(self, settings: ReadSettings) -> None:
        self._settings = settings
        self._threads: ThreadPoolExecutor | None = None
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        with self._lock:
            for worker in self._all:
                worker.kill()
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)

    def submit(self, kind: str, name: str, *, path: Path | None = None, data: bytes = b"") -> Future[Answer]:
        """Start reading a file by path, or bytes; the future raises `Unreadable`."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._settings.processes(), thread_name_prefix="lavra-reader")
        return self._threads.submit(self._read, kind, name, path, data)

    def _read(self, kind: str, name: str, path: Path | None, data: bytes) -> Answer:
        worker = self._take()
        try:
            answer = worker.ask(self._request(kind, name, path, len(data)) + data, self._settings)
        except BaseException:
            self._drop(worker)
            raise
        if answer.get("exhausted"):
            self._drop(worker)
        else:
            with self._lock:
                self._idle.append(worker)
        if "skipped" in answer:
            raise Unreadable(*answer["skipped"])
        documents = [_document(fields) for fields in answer["documents"]]
        return Answer(answer["kind"], answer["bytes"], answer["sha256"], documents)

    def stream(
        self, kind: str, path: Path, within: Callable[[int], None] = lambda at: None
    ) -> Iterator[tuple[Parts | BadRecord, int, str]]:
        """The records of a file of many, read in a worker one after the other: see `readers.stream_records`.

        ``within`` is told where in the file the worker is, in bytes.

        Raises `Unreadable` where the rest cannot be read, also where the worker dies of it.
        """
        worker = self._take()
        whole = False
        try:
            request = self._request(kind, path.name, path, 0, stream=True)
            while "documents" in (answer := worker.ask(request, self._settings)):
                request = b""
                for fields in answer["documents"]:
                    size, digest = fields.pop("bytes"), fields.pop("sha256")
                    yield _document(fields), size, digest
                if isinstance(at := answer.get("at"), int):
                    within(at)
            whole = not answer.get("exhausted")
        finally:  # one that is left in the middle would go on sending
            if whole:
                with self._lock:
                    self._idle.append(worker)
            else:
                self._drop(worker)
        if "skipped" in answer:
            raise Unreadable(*answer["skipped"])

    def _request(self, kind: str, name: str, path: Path | None, size: int, *, stream: bool = False) -> bytes:
        settings = {k: v for k, v in asdict(self._settings).items() if isinstance(v, (int, float)) or v is None}
        request = {"kind": kind, "name": name, "path": None if path is None else str(path), "size": size}
        return json.dumps({**request, "stream": stream, "settings": settings}).encode() + b"\n"

    def _take(self) -> _Worker:
        with self._lock:
            if self._closed:
                raise Unreadable("interrupted", "reading was stopped")
            if self._idle:
                return self._idle.pop()
            worker = _Worker()
            self._all.add(worker)
            return worker

    def _drop(self, worker: _Worker) -> None:
        worker.kill()
        with self._lock:
            self._all.discard(worker)


class _Worker:
    """One child process."""

    def __init__(self) -> None:
        where = str(Path(lavra.__file__).parents[1])
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, where],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self._ready = False

    def kill(self) -> None:
        """End the process at once; harmless if it is gone."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def ask(self, request: bytes, settings: ReadSettings) -> dict[str, Any]:
        """Send a request, or nothing, and wait for an answer. Raises `Unreadable`, kind ``timeout`` or ``crashed``."""
        if not self._ready:
            self._wait_until_ready(settings)
        deadline = time.monotonic() + settings.seconds_per_file
        # A text takes up to four bytes a character; spans, and titles as ASCII JSON, besides.
        largest = settings.max_text_megabytes * 4_000_000 + 64_000_000
        with selectors.DefaultSelector() as selector:
            selector.register(self._out, selectors.EVENT_READ)
            if request:
                selector.register(self._in, selectors.EVENT_WRITE)
            exchange = _Exchange(selector, memoryview(request), deadline)
            size = int.from_bytes(self._received(8, exchange, settings), "big")
            if size > largest:
                raise _too_large()
            answer: dict[str, Any] = json.loads(self._received(size, exchange, settings))
            documents = [fields for fields in answer.get("documents", ()) if "text" in fields]
            sizes = [fields["text"] for fields in documents]
            if not all(isinstance(size, int) and size >= 0 for size in sizes) or sum(sizes) > largest:
                raise _too_large()
            for fields, size in zip(documents, sizes, strict=True):
                fields["text"] = self._received(size, exchange, settings).decode("utf-8", "surrogatepass")
        return answer

    def _received(self, size: int, exchange: _Exchange, settings: ReadSettings) -> bytearray:
        """``size`` bytes of the answer; what is left of the request is sent meanwhile."""
        data = bytearray()
        while len(data) < size:
            left = exchange.deadline - time.monotonic()
            if left <= 0:
                raise _timeout(settings)
            for key, _ in exchange.selector.select(left):
                try:
                    if key.fd == self._in:
                        exchange.unsent = exchange.unsent[os.write(self._in, exchange.unsent[: 1 << 20]) :]
                        if not exchange.unsent:
                            exchange.selector.unregister(self._in)
                        continue
                    piece = os.read(self._out, min(size - len(data), 1 << 20))
                except BlockingIOError:
                    continue
                except OSError:
                    raise self._died(settings) from None
                if not piece:
                    raise self._died(settings)
                data += piece
        return data

    def _wait_until_ready(self, settings: ReadSettings) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._out, selectors.EVENT_READ)
            if not selector.select(_SECONDS_TO_START):
                raise Unreadable("crashed", f"the process to read it did not start within {_SECONDS_TO_START} s")
        try:
            if os.read(self._out, 1) != READY:
                raise self._died(settings)
        except OSError:
            raise self._died(settings) from None
        self._ready = True

    def _died(self, settings: ReadSettings) -> Unreadable:
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = 0
        if code == -signal.SIGALRM:
            return _timeout(settings)
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Unreadable(
            "crashed",
            f"the process that read it ended ({how}): the file is damaged or needs more than "
            f"{settings.worker_megabytes:,} MiB of memory (`worker_megabytes`)",
        )


@dataclass(slots=True)
class _Exchange:
    """A request and its answer under way."""

    selector: selectors.BaseSelector
    unsent: memoryview
    deadline: float


def _too_large() -> Unreadable:
    return Unreadable("too_large", "its text is larger than `max_text_megabytes` allows")


def _timeout(settings: ReadSettings) -> Unreadable:
    return Unreadable(
        "timeout", f"reading it took longer than {settings.seconds_per_file:g} s: raise `seconds_per_file`"
    )


def _document(fields: dict[str, Any]) -> Parts | BadRecord:
    if "bad" in fields:
        return BadRecord(*fields["bad"])
    fields["spans"] = tuple(Span(**span) for span in fields["spans"])
    if fields["roles"] is not None:
        fields["roles"] = tuple(fields["roles"])
    return Parts(**fields)
