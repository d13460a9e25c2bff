"""A download that survives: what arrived stays on disk, and the next attempt asks only for the rest.

HTTP ranges (RFC 9110, section 14): a partial file's length is the offset of the next request. ``If-Range`` with the
server's validator makes a file that changed in between start over instead of becoming a chimera. The bytes are not
trusted because they arrived; the caller's SHA-256 decides.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lavra.errors import LavraError
from lavra.store.files import hash_file, write_atomically

if TYPE_CHECKING:
    import httpx

Progress = Callable[[int, int | None], None]
"""``progress(done, total)`` in bytes, called often; ``total`` is ``None`` where the server does not say."""

ATTEMPTS = 4
"""Cuts in a row, without one new byte between them, that a pull endures before it gives up."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How this machine reaches the network, as its package installer is configured."""

    certificates: str | None = None
    """A file or directory of certificate authorities; ``None`` is Python's default."""
    client_certificate: str | None = None
    proxy: str | None = None
    timeout: float = 30.0
    """Seconds without a byte after which the connection counts as cut."""


class CannotFetch(Exception):
    """The server answered, and the answer was no: 401, 403, 404 … ``str()`` is a clause for a sentence."""


class _TryAgain(Exception):
    """The server is busy; the next attempt may go better."""


class Unreachable(Exception):
    """No answer at all, or not one more byte after several attempts. ``str()`` is a clause for a sentence."""


def download(
    url: str,
    partial: Path,
    *,
    sha256: str | None = None,
    connection: Connection | None = None,
    progress: Progress | None = None,
    pause: float = 1.0,
) -> None:
    """Bring ``url`` into ``partial``, continuing from the bytes that are already there.

    ``sha256``: what the whole file must have; a file that arrived with another is deleted and asked for once more
    from the start (the part on disk may have been the bad one). ``pause``: seconds before the second attempt; it
    doubles each time.

    Raises ``CannotFetch``, ``Unreachable``, or ``LavraError`` (no space, checksum differs). On every one but the last
    the bytes that arrived stay.
    """
    import httpx

    connection = connection or Connection()
    partial.parent.mkdir(parents=True, exist_ok=True)
    resumed = partial.exists() and partial.stat().st_size > 0
    with httpx.Client(
        follow_redirects=True,
        timeout=connection.timeout,
        verify=_ssl_context(connection),
        proxy=connection.proxy,
        # Compression would make the offsets those of the compressed stream.
        headers={"Accept-Encoding": "identity", "User-Agent": "lavra"},
    ) as client:
        _fetch_all(client, url, partial, progress, pause)
        if sha256 is None or hash_file(partial) == sha256:
            return
        partial.unlink()
        if resumed:
            _fetch_all(client, url, partial, progress, pause)
            if hash_file(partial) == sha256:
                return
            partial.unlink()
    raise LavraError(
        f"{_without_credentials(url)} arrived with another SHA-256 than announced and was deleted; try again, and if "
        "it stays so, do not trust that server"
    )


def _fetch_all(client: httpx.Client, url: str, partial: Path, progress: Progress | None, pause: float) -> None:
    import httpx

    failures = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            if _fetch_rest(client, url, partial, progress):
                partial.with_suffix(partial.suffix + ".validator").unlink(missing_ok=True)
                return
            reason = "the connection was cut"
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise CannotFetch(f"{_without_credentials(url)} is not an address Lavra can download from") from error
        except (httpx.TransportError, _TryAgain) as error:
            reason = str(error) or type(error).__name__
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise LavraError(
                    f"no space is left for {partial.name} under {partial.parent}; free some, and the same command "
                    "continues where this one stopped"
                ) from error
            raise
        after = partial.stat().st_size if partial.exists() else 0
        failures = 1 if after > before else failures + 1
        if failures >= ATTEMPTS:
            raise Unreachable(reason)
        time.sleep(pause * 2 ** (failures - 1))


def _fetch_rest(client: httpx.Client, url: str, partial: Path, progress: Progress | None) -> bool:
    """One request for what is missing; whether the file is whole now."""
    validator_file = partial.with_suffix(partial.suffix + ".validator")
    offset = partial.stat().st_size if partial.exists() else 0
    headers: dict[str, str] = {}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        with contextlib.suppress(OSError):
            headers["If-Range"] = validator_file.read_text("utf-8")
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == 416:
            # Nothing after the offset: the file is whole, or the one on the server is shorter than ours.
            if response.headers.get("content-range", "").endswith(f"/{offset}"):
                return True
            partial.unlink(missing_ok=True)
            return False
        if response.status_code in (408, 425, 429) or response.status_code >= 500:
            raise _TryAgain(f"the server answered HTTP {response.status_code}")
        if response.status_code not in (200, 206):
            raise CannotFetch(f"{_without_credentials(url)} was refused (HTTP {response.status_code})")
        start, total = _extent(response.status_code, response.headers, offset)
        _remember_validator(validator_file, response.headers)
        # Unbuffered, and in the pieces that arrive: what a cut or a kill interrupts is on disk up to the last piece.
        with partial.open("r+b" if partial.exists() else "wb", buffering=0) as file:
            # A 200 to a range request is the whole file again; a 206 from elsewhere than asked cannot be used.
            file.truncate(start)
            file.seek(start)
            done = start
            if progress:
                progress(done, total)
            for piece in response.iter_raw():
                file.write(piece)
                done += len(piece)
                if progress:
                    progress(done, total)
            os.fsync(file.fileno())
    return total is None or done >= total


def _extent(status: int, headers: Mapping[str, str], offset: int) -> tuple[int, int | None]:
    """First byte of this answer and size of the whole file."""
    if status == 206:
        match = re.match(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("content-range", ""))
        if not match or int(match[1]) > offset:
            raise CannotFetch("the server answered a range request with another range")
        return int(match[1]), None if match[2] == "*" else int(match[2])
    length = headers.get("content-length")
    return 0, int(length) if length and length.isdigit() else None


def _remember_validator(file: Path, headers: Mapping[str, str]) -> None:
    """Keep the ETag (a strong one; weak ones are not allowed in If-Range) or the date for the next request."""
    etag = headers.get("etag", "")
    validator = etag if etag and not etag.startswith("W/") else headers.get("last-modified", "")
    if validator:
        write_atomically(file, validator.encode())


def _ssl_context(connection: Connection) -> ssl.SSLContext:
    """Raises ``CannotFetch`` for certificates that cannot be read, which pip may still understand."""
    try:
        return _read_certificates(connection)
    except OSError as error:  # ssl.SSLError is one
        raise CannotFetch(f"the certificates pip is configured with could not be read ({error})") from error


def _read_certificates(connection: Connection) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for authorities in (connection.certificates, os.environ.get("SSL_CERT_FILE")):
        if authorities and Path(authorities).exists():
            directory = Path(authorities).is_dir()
            context.load_verify_locations(
                cafile=None if directory else authorities, capath=authorities if directory else None
            )
    if not context.get_ca_certs():
        # A Python without the system's authorities (some portable builds): the ones that httpx brings.
        import certifi

        context.load_verify_locations(certifi.where())
    if connection.client_certificate:
        context.load_cert_chain(connection.client_certificate)
    return context


def _without_credentials(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)
