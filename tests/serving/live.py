"""A real uvicorn on a real port, in a thread, and patience."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from lavra.serving.app import create_app
from lavra.serving.serve import bind
from lavra.serving.settings import ServeSettings


@contextlib.contextmanager
def serving(services: Any, settings: ServeSettings | None = None) -> Iterator[str]:
    """The address of a server over ``services``."""
    listener: socket.socket = bind("127.0.0.1", 0)
    config = uvicorn.Config(
        create_app(services, settings), log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    try:
        yield address
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
        assert not thread.is_alive(), "the server did not stop"


def eventually(claim: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether a claim becomes true in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if claim():
            return True
        time.sleep(0.02)
    return claim()
