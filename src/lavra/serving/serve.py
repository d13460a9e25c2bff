"""Run the server: find a port, say the address, stop cleanly."""

from __future__ import annotations

import contextlib
import errno
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn

from lavra.errors import LavraError
from lavra.serving.app import create_app
from lavra.serving.guard import is_loopback
from lavra.serving.services import Services
from lavra.serving.settings import ServeSettings

TRIES = 20
"""Ports tried from the one that was asked for."""

log = logging.getLogger("lavra.serving")


def bind(host: str, port: int) -> socket.socket:
    """A listening socket on ``port`` or the next free one. Raises ``LavraError`` where there is none."""
    if not 0 <= port < 65536:
        raise LavraError(f"{port} is no port: give --port a number from 1 to 65535, or 0 for any that is free.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    last = min(port + TRIES, 65536) if port else 1
    for candidate in range(port, last):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host.strip("[]"), candidate))
            listener.listen(128)
            return listener
        except OSError as error:
            listener.close()
            if error.errno in (errno.EADDRNOTAVAIL,) or isinstance(error, socket.gaierror):
                raise LavraError(
                    f"This machine has no address '{host}': give another --host, 127.0.0.1 for this machine alone."
                ) from error
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
    raise LavraError(f"Ports {port} to {last - 1} are all taken or not allowed: give another --port.")


def address_of(listener: socket.socket) -> str:
    """What to type into a browser on this machine."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class _Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's own, but a signal that has stopped the server is not raised once more: it was obeyed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run(
    services: Services,
    host: str | None = None,
    port: int | None = None,
    *,
    settings: ServeSettings | None = None,
    on_ready: Callable[[str], None] | None = None,
    insecure: bool = False,
) -> None:
    """Serve until Ctrl-C or SIGTERM; then answers in flight get ``settings.shutdown_seconds`` to finish.

    ``host`` and ``port`` stand above the settings. ``on_ready`` is called with the address once requests are taken;
    its port is not the one asked for where that was taken. Raises ``LavraError`` for a host beyond this machine
    without keys, unless ``insecure`` says that this is meant, and where no port is free.
    """
    settings = settings or ServeSettings()
    update = {"host": host or settings.host, "port": settings.port if port is None else port}
    settings = settings.model_copy(update=update)
    if not (is_loopback(settings.host) or settings.keys or insecure):
        raise LavraError(
            f"Serving on {settings.host} would open the documents to the whole network: add keys under [serve] in "
            "lavra.toml, or say --insecure if that is meant."
        )
    with contextlib.closing(bind(settings.host, settings.port)) as listener:
        address = address_of(listener)
        if settings.port and listener.getsockname()[1] != settings.port:
            log.warning("Port %d is taken; serving on %d instead.", settings.port, listener.getsockname()[1])
        config = uvicorn.Config(
            create_app(services, settings),
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=settings.shutdown_seconds,
        )
        server = _Server(config, lambda: on_ready(address) if on_ready else None)
        server.run(sockets=[listener])
