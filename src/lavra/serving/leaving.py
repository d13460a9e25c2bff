"""When the client goes, its work is given up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from fastapi import Request

from lavra.serving.work import Job


@contextlib.contextmanager
def cancelled_on_leaving(request: Request, job: Job[Any]) -> Iterator[None]:
    """Cancels the job when the client disconnects, and in any case at the end of the block.

    The request's body must have been read: what is received from now on can only be its end.
    """

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        job.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()
        job.cancel()
