"""Blocking work on behalf of requests: a bounded queue in front of few worker threads.

A request submits a generator; it runs in a thread, and what it yields arrives in the event loop. Leaving (``cancel``)
is seen by the generator at its next look at ``cancelled``; work that has not begun never does.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from lavra.serving.errors import ApiError

Item = TypeVar("Item")
Produce = Callable[[Callable[[], bool]], Iterator[Item]]
"""Makes the items; is handed ``cancelled``."""


class _End:
    """The last thing in a job's queue."""


class Job(Generic[Item]):
    """One piece of work, seen from the event loop."""

    def __init__(self, queue: WorkQueue, loop: asyncio.AbstractEventLoop) -> None:
        self._queue = queue
        self._loop = loop
        self._cancelled = threading.Event()
        self._items: asyncio.Queue[Item | BaseException | _End] = asyncio.Queue()
        self._future: Future[None] | None = None

    @property
    def ahead(self) -> int:
        """How many must finish before this one begins."""
        return self._queue.ahead_of(self)

    def cancel(self) -> None:
        """Give up: the thread is told, and whoever reads the items sees their end at once."""
        self._cancelled.set()
        if self._future is not None and self._future.cancel():
            self._queue.forget(self)
        self._items.put_nowait(_End())

    async def next(self, timeout: float | None = None) -> Item | None:
        """The next item, None at the end. Raises what the work raised, and ``TimeoutError``."""
        item = await asyncio.wait_for(self._items.get(), timeout)
        if isinstance(item, _End):
            self._items.put_nowait(item)  # so that it stays ended
            return None
        if isinstance(item, BaseException):
            raise item
        return item

    async def __aiter__(self) -> AsyncIterator[Item]:
        while (item := await self.next()) is not None:
            yield item

    def _run(self, produce: Produce[Item]) -> None:
        """In the worker thread."""
        began = time.monotonic()
        try:
            items = produce(self._cancelled.is_set)
            try:
                for item in items:
                    self._put(item)
                    if self._cancelled.is_set():
                        break
            finally:
                # Now, not when the garbage collector comes by: a generator may hold the engine's lock.
                getattr(items, "close", lambda: None)()
        except BaseException as error:  # whatever it is, it belongs to the request, not to the thread
            self._put(error)
        finally:
            self._put(_End())
            self._call(lambda: self._queue.forget(self, seconds=time.monotonic() - began))

    def _put(self, item: Item | BaseException | _End) -> None:
        self._call(lambda: self._items.put_nowait(item))

    def _call(self, function: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone: the server has stopped
            self._loop.call_soon_threadsafe(function)


class WorkQueue:
    """``parallel`` threads, and room for ``waiting`` more jobs; used from one event loop."""

    def __init__(self, name: str, *, parallel: int, waiting: int) -> None:
        self.parallel = parallel
        self.limit = waiting
        self._jobs: list[Job] = []
        self._executor = ThreadPoolExecutor(parallel, thread_name_prefix=f"lavra-{name}")
        self._seconds = 5.0
        """How long a job takes: a moving average, for Retry-After."""

    @property
    def running(self) -> int:
        return min(len(self._jobs), self.parallel)

    @property
    def waiting(self) -> int:
        return max(0, len(self._jobs) - self.parallel)

    def ahead_of(self, job: Job) -> int:
        return max(0, self._jobs.index(job) - self.parallel + 1) if job in self._jobs else 0

    def submit(self, produce: Produce[Item]) -> Job[Item]:
        """Start work, or put it in the queue. Raises ``ApiError`` 429 with ``Retry-After`` where that is full."""
        if len(self._jobs) >= self.parallel + self.limit:
            wait = max(1, math.ceil(self._seconds * len(self._jobs) / self.parallel))
            raise ApiError(
                f"Too many requests are waiting ({self.waiting}); try again in about {wait} seconds.",
                status=429,
                code="queue_full",
                headers={"Retry-After": str(wait)},
            )
        job: Job[Item] = Job(self, asyncio.get_running_loop())
        self._jobs.append(job)
        job._future = self._executor.submit(job._run, produce)
        return job

    def forget(self, job: Job, *, seconds: float | None = None) -> None:
        if job in self._jobs:
            self._jobs.remove(job)
        if seconds is not None:
            self._seconds += 0.2 * (seconds - self._seconds)

    def close(self) -> None:
        """Cancel everything; threads end at their next look."""
        for job in list(self._jobs):
            job.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)
