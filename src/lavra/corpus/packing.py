"""Compressed files as streams: gzip, bzip2, xz and zstd, bounded, and going on after damage where the format allows.

A gzip, bzip2 or xz file may be many members one after the other (Common Crawl writes one a record). A member that is
damaged is told once, by `Damaged`, and reading goes on at the next one: the libraries' own readers end there and lose
the rest of the file. What grows without reason is stopped: deflate reaches 1,032:1 on zeros, honest text stays far
below 250:1.
"""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Protocol

from lavra.corpus.parts import Unreadable

_CHUNK = 1 << 18
_HARMLESS = 100_000_000
"""What is unpacked before its ratio is looked at."""
_RATIO = 250
_MAX_DAMAGES = 1_000
_SIGNATURES = (
    ("gzip", re.compile(rb"\x1f\x8b\x08[\x00-\x1f]")),
    ("bzip2", re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")),
    ("xz", re.compile(rb"\xfd7zXZ\x00")),
    ("zstd", re.compile(rb"\x28\xb5\x2f\xfd")),
)
BZIP2_BLOCK = 1_000_000
"""Bytes within which its first block ends: before that bzip2 unpacks to nothing."""
_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zstd")
_ERRORS = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)


class Stream(Protocol):
    """What readers of records need of a file."""

    def read(self, size: int, /) -> bytes: ...

    def readline(self, limit: int, /) -> bytes: ...


class Damaged(Unreadable):
    """A stretch of a stream that cannot be unpacked; the stream goes on behind it, if there is anything."""


def packing(head: bytes) -> str | None:
    """The compression of a file that begins with ``head``, or None."""
    return next((name for name, signature in _SIGNATURES if signature.match(head)), None)


def inner_name(name: str) -> str | None:
    """A compressed file's name without what says that it is compressed; None where it does not say so."""
    path = PurePosixPath(name)
    return name[: -len(path.suffix)] if path.suffix.lower() in _SUFFIXES else None


def head_of(head: bytes) -> bytes:
    """What the first bytes of a compressed file unpack to, as far as they go (at most 64 kB)."""
    how = packing(head)
    try:
        if how == "zstd":
            import pyarrow as pa

            return bytes(pa.CompressedInputStream(pa.BufferReader(head), "zstd").read(len(head)))
        return b"" if how is None else _decompressor(how).decompress(head, 65_536)
    except _ERRORS:
        return b""


def unpacked(data: bytes, limit: int, what: str) -> bytes:
    """The whole content of a compressed file. Raises `Unreadable` where it is damaged or over ``limit`` bytes."""
    import io

    stream = open_stream(io.BytesIO(data))
    content = stream.read(limit + 1)
    if len(content) > limit:
        raise Unreadable(
            "too_large",
            f"its {len(data) / 1e6:,.1f} MB unpack to more than {limit / 1e6:,.0f} MB, the limit for {what} files: "
            "raise `max_megabytes` to read it, or split it",
        )
    return content


def open_stream(file: BinaryIO) -> Stream:
    """A file as its content, unpacked where it is compressed."""
    start = file.read(16)
    how = packing(start)
    if how is None and file.seekable():
        file.seek(0)
        return file
    return Unpacked(file, how or "", start)


class Unpacked:
    """The content of a compressed file, piece by piece; memory holds a line or a piece and one chunk."""

    def __init__(self, file: BinaryIO, how: str, start: bytes = b"") -> None:
        self._file, self._how, self._raw = file, how, start
        self._given = b""
        self._member: Any = None
        self._in = len(start)
        self._out = self._member_in = self._member_out = self._damages = 0
        self._buffer = bytearray()
        self._zstd: Any = None

    def read(self, size: int, /) -> bytes:
        """Exactly ``size`` bytes, fewer at the end. Raises `Damaged` and, where all is over, `Unreadable`."""
        while len(self._buffer) < size and (more := self._more()):
            self._buffer += more
        return self._take(size)

    def readline(self, limit: int, /) -> bytes:
        """A line with its end, or its first ``limit`` bytes. Raises as `read` does."""
        searched = 0
        while True:
            found = self._buffer.find(b"\n", searched, limit)
            if found >= 0:
                return self._take(found + 1)
            if len(self._buffer) >= limit:
                return self._take(limit)
            searched = len(self._buffer)
            more = self._more()
            if not more:
                return self._take(limit)
            self._buffer += more

    def _take(self, size: int) -> bytes:
        piece = bytes(self._buffer[:size])
        del self._buffer[:size]  # moves no memory: a bytearray only moves its start
        return piece

    def _more(self) -> bytes:
        """Some more of the content, empty at the end."""
        if not self._how:
            piece, self._raw = self._raw or self._file.read(_CHUNK), b""
            return piece
        piece = self._from_zstd() if self._how == "zstd" else self._from_members()
        self._out += len(piece)
        self._member_out += len(piece)
        if self._out > _HARMLESS and self._out > _RATIO * self._in:
            self._how, self._raw, self._file = "", b"", _Empty()  # type: ignore[assignment]
            raise Unreadable(
                "too_large",
                f"{self._in / 1e6:,.2f} MB of it unpack to more than {self._out / 1e6:,.0f} MB, over {_RATIO} times "
                "their size: what came before was read",
            )
        return piece

    def _from_members(self) -> bytes:
        while True:
            # bzip2 and xz keep input that they have not used; zlib gives it back.
            held = self._member is not None and not getattr(self._member, "needs_input", True)
            if not held and not self._raw and not self._feed():
                if self._member is not None:
                    self._member = None
                    raise self._damage("corrupt", f"the {self._how} data ends too soon")
                return b""
            if self._member is None:
                self._raw = self._raw.lstrip(b"\x00")  # padding, as tapes and disks have it
                if not self._raw:
                    continue
                self._member = _decompressor(self._how)
                self._member_in, self._member_out = self._in - len(self._raw), 0
            try:
                self._given = self._raw or self._given
                piece = self._member.decompress(self._raw, _CHUNK)
            except _ERRORS as error:
                self._resume()
                raise self._damage("corrupt", f"the {self._how} data is damaged ({str(error)[:80]})") from None
            if self._member.eof:
                self._raw, self._member = self._member.unused_data, None
            else:
                self._raw = getattr(self._member, "unconsumed_tail", b"")
            spent = self._in - self._member_in
            if self._member_out > _HARMLESS and self._member_out > _RATIO * spent and self._out <= _RATIO * self._in:
                self._resume()
                raise self._damage("too_large", f"a part of it unpacks to more than {_RATIO} times its size")
            if piece:
                return piece

    def _feed(self) -> bool:
        self._raw = self._file.read(_CHUNK)
        self._in += len(self._raw)
        return bool(self._raw)

    def _resume(self) -> None:
        """Stand at the next member's beginning, or at the end."""
        signature = dict(_SIGNATURES)[self._how]
        self._member = None
        self._raw = self._given[1:]
        while not (found := signature.search(self._raw)):
            tail = self._raw[-9:]
            if not self._feed():
                return
            self._raw = tail + self._raw
        self._raw = self._raw[found.start() :]

    def _from_zstd(self) -> bytes:
        import pyarrow as pa

        if self._zstd is None:
            self._zstd = pa.CompressedInputStream(pa.PythonFile(_Counted(self), mode="r"), "zstd")
        try:
            return bytes(self._zstd.read(_CHUNK))
        except OSError as error:
            self._how, self._raw, self._file = "", b"", _Empty()  # type: ignore[assignment]
            said = "ends too soon" if "runcated" in str(error) else f"is damaged ({str(error)[:80]})"
            raise self._damage("corrupt", f"the zstd data {said}") from None

    def _damage(self, kind: str, reason: str) -> Unreadable:
        self._buffer.clear()
        self._damages += 1
        where = f"{reason}, near byte {self._in:,}"
        if self._damages > _MAX_DAMAGES:
            self._how, self._raw, self._file = "", b"", _Empty()  # type: ignore[assignment]
            return Unreadable(kind, f"{where}: it is the {self._damages:,}th damage, the rest is not read")
        return Damaged(kind, where)


class _Counted:
    """The compressed bytes of an `Unpacked`, for a library that reads them itself."""

    closed = False

    def __init__(self, stream: Unpacked) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        stream = self._stream
        if not stream._raw:
            stream._raw = stream._file.read(min(size, _CHUNK))
            stream._in += len(stream._raw)
        piece, stream._raw = stream._raw[:size], stream._raw[size:]
        return piece

    def close(self) -> None: ...


class _Empty:
    def read(self, size: int) -> bytes:
        return b""


def _decompressor(how: str) -> Any:
    if how == "gzip":
        return zlib.decompressobj(31)
    return bz2.BZ2Decompressor() if how == "bzip2" else lzma.LZMADecompressor(memlimit=256 << 20)
