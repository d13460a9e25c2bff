"""The door: which requests come in at all, and the headers under which answers go out.

A server on one's own machine can be reached by every web page that one's browser opens. Two things stand in the way:

- *DNS rebinding*: a foreign name is made to point at 127.0.0.1, and the browser takes the page and this server for one
  site. So the ``Host`` header must be a name this server knows itself by.
- *Cross-site requests*: a foreign page posts a form or a file. So a request that changes something must come from
  this server's own pages (``Origin``, ``Sec-Fetch-Site``) or from a program, which sends neither.

Then the API key, where there are keys, for every path that is not listed as open; then a limit on the body, counted
while it is read.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lavra.serving.access import identify
from lavra.serving.errors import ApiError, error_response
from lavra.serving.settings import ServeSettings

UPLOAD_PATH = "/api/documents"
OPEN_PATHS = frozenset({"/", "/health", "/health/live", "/health/ready", "/favicon.ico"})
"""What can be had without a key: the empty page, which holds nothing of the documents, and the health checks."""

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine and no other."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_name(netloc: str) -> str:
    """``[::1]:8000`` → ``::1``; ``Example.org:80`` → ``example.org``; empty where it makes no sense."""
    try:
        return (urlsplit(f"//{netloc}").hostname or "").rstrip(".")
    except ValueError:
        return ""


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self.app = app
        self.settings = settings
        self.hosts = {"localhost", "127.0.0.1", "::1"} | set(_names(settings.allowed_hosts))
        # An address cannot be rebound: only names can. So where the server is bound beyond this machine, it may be
        # called by any address it has, and by the machine's own name.
        self.any_address = not is_loopback(settings.host)
        if self.any_address:
            self.hosts |= set(_names([socket.gethostname()]))
        if settings.host not in ("0.0.0.0", "::", ""):
            self.hosts |= set(_names([settings.host.strip("[]")]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        try:
            self._check_host(scope, headers)
            self._check_origin(scope, headers)
            if not (scope["path"] in OPEN_PATHS or scope["path"].startswith("/static/")):
                # In a thread, because a slow hash would hold up everybody's stream.
                authorization = headers.get("authorization")
                scope["lavra.caller"] = await run_in_threadpool(identify, authorization, self.settings)
            limited = self._limit_body(scope, headers, receive)
        except ApiError as error:
            await error_response(error)(scope, receive, send_with_headers)
            return
        await self.app(scope, limited, send_with_headers)

    def _check_host(self, scope: Scope, headers: Headers) -> None:
        if scope["path"].startswith("/health"):
            return  # a balancer asks by whatever address it has, and nothing is told but "ready"
        host = host_name(headers.get("host", ""))
        if host in self.hosts or (self.any_address and _is_address(host)):
            return
        raise ApiError(
            f"This server is not known as '{host}': add the name to allowed_hosts under [serve] in lavra.toml.",
            status=421,
            code="host_not_allowed",
        )

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return
        origin = headers.get("origin")
        netloc = "" if origin is None else _netloc(origin)
        same = origin is None or netloc == headers.get("host", "").lower()
        # A proxy in front may have put its own name for us into Host; the browser's name for us is configured.
        same = same or host_name(netloc) in set(_names(self.settings.allowed_hosts))
        if not same or headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            raise ApiError("A page of another site may not use this server.", status=403, code="origin_not_allowed")

    def _limit_body(self, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        """``receive`` with a limit; a declared length above it is refused before a byte is read."""
        settings = self.settings
        upload = scope["path"] == UPLOAD_PATH
        # The envelope of a multipart upload (boundaries, part headers) comes on top of the file.
        limit = settings.max_upload_bytes + 2**16 if upload else settings.max_request_bytes
        shown = settings.max_upload_bytes if upload else limit
        message = f"The body is larger than {shown / 2**20:.4g} MB, the limit here."
        declared = headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > limit:
            raise ApiError(message, status=413, code="too_large", headers={"Connection": "close"})
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            event = await receive()
            seen += len(event.get("body", b""))
            if seen > limit:
                raise HTTPException(413, message, headers={"Connection": "close"})
            return event

        return limited


def _netloc(origin: str) -> str:
    """``https://a.example:81`` → ``a.example:81``; something that matches nothing for ``null`` and nonsense."""
    try:
        return urlsplit(origin).netloc.lower() or "null"
    except ValueError:
        return "null"


def _names(hosts: Iterable[str]) -> Iterable[str]:
    return (host.lower().strip("[]").rstrip(".") for host in hosts)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
