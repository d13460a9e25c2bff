"""Pages of a Parquet file, looked at before Arrow unpacks them whole, and read value by value where they are too large.

Arrow holds a page three times over (packed, unpacked, as a column), so that one row of 500 MB takes 2 GB, and a page
that was made to expand takes whatever it says. Page headers (Thrift's compact protocol; parquet-format's
``parquet.thrift``) say what a page unpacks to. Texts in large pages are read here as a stream: a value over the limit
is counted and passed over, and its neighbours are kept. Plain and dictionary encoding, which all writers fall back to,
are known.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from lavra.corpus.parts import Unreadable

LARGE = 128_000_000
"""Bytes that a page may unpack to before it is read as a stream."""
HARMLESS = 100_000_000
"""What is unpacked before its ratio is looked at."""
_WHOLE = 1_000_000_000
"""What is unpacked at once at most, of codecs that have no streams (Snappy, LZ4)."""
_RATIO = 250
_HEADER = 1 << 20
_SLACK = 100
"""Old writers leave a dictionary's header out of the chunk's size (PARQUET-816)."""
_PIECE = 1 << 20
_DATA, _DICTIONARY, _DATA_2 = 0, 2, 3
_PLAIN, _BY_DICTIONARY = 0, (2, 8)


@dataclass(frozen=True, slots=True)
class Page:
    """A page: where its content lies, its sizes packed and unpacked, and its own header by field numbers."""

    kind: int
    at: int
    packed: int
    size: int
    header: dict[int, Any]


@dataclass(frozen=True, slots=True)
class TooLong:
    """A value over the limit, of which only the size is known."""

    size: int


def pages(file: BinaryIO, chunk: Any) -> Iterator[Page]:
    """The pages of a column chunk, by their headers alone. Raises `Unreadable` where these make no sense."""
    at = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset and chunk.dictionary_page_offset < at:
        at = chunk.dictionary_page_offset
    end = at + chunk.total_compressed_size + _SLACK
    values = 0
    while at < end and values < chunk.num_values:
        file.seek(at)
        head = file.read(min(4_096, end - at))
        try:
            fields, length = _fields(head, 0)
        except (IndexError, struct.error):
            file.seek(at)
            fields, length = _whole_header(file.read(min(_HEADER, end - at)))
        kind, size, packed = fields.get(1), fields.get(2), fields.get(3)
        if not (isinstance(kind, int) and isinstance(size, int) and isinstance(packed, int)) or min(size, packed) < 0:
            raise _damaged()
        own = fields.get({_DATA: 5, _DICTIONARY: 7, _DATA_2: 8}.get(kind, 6), {})
        if at + length + packed > end or not isinstance(own, dict):
            raise _damaged()
        own = {number: value for number, value in own.items() if isinstance(value, int)}
        if min(own.values(), default=0) < 0:
            raise _damaged()
        yield Page(kind, at + length, packed, size, own)
        values += own.get(1, 0) if kind in (_DATA, _DATA_2) else 0
        at += length + packed


def values(file: BinaryIO, chunk: Any, levels: int, limit: int) -> Iterator[bytes | TooLong | None]:
    """The values of a chunk of byte arrays, row by row; None where there is none.

    ``levels`` is the column's largest definition level, 0 or 1; ``limit`` is the largest value in bytes. Raises
    `Unreadable` for a page that expands without reason, is damaged, or is in an encoding that is not read here.
    """
    dictionary: list[bytes | TooLong] = []
    for page in pages(file, chunk):
        if page.size > HARMLESS and page.size > _RATIO * max(page.packed, 1):
            raise Unreadable("too_large", f"a page unpacks to {page.size / 1e6:,.0f} MB, over {_RATIO} times its size")
        if page.kind == _DICTIONARY:
            dictionary = _dictionary(_Content(file, page, chunk.compression), page.header.get(1, 0), limit)
        elif page.kind in (_DATA, _DATA_2):
            yield from _page_values(file, page, chunk.compression, levels, limit, dictionary)


def _dictionary(content: _Content, count: int, limit: int) -> list[bytes | TooLong]:
    """A chunk's dictionary. Raises `Unreadable` where it is too large to be held."""
    made: list[bytes | TooLong] = []
    size = 0
    for _ in range(count):
        value = content.value(limit)
        made.append(value)
        size += 100 + (len(value) if isinstance(value, bytes) else 0)
        if size > 3 * LARGE:
            raise Unreadable("too_large", f"its dictionary has more than {size / 1e6:,.0f} MB")
    return made


def _page_values(
    file: BinaryIO, page: Page, codec: str, levels: int, limit: int, dictionary: list[bytes | TooLong]
) -> Iterator[bytes | TooLong | None]:
    count = page.header.get(1, 0)
    second = page.kind == _DATA_2
    encoding = page.header.get(4 if second else 2)
    if second:
        width, repeated = page.header.get(5, 0), page.header.get(6, 0)
        if width + repeated > page.packed:
            raise _damaged()
        file.seek(page.at + repeated)
        held = file.read(width)
        content = _Content(file, page, codec if page.header.get(7, True) else "UNCOMPRESSED", width + repeated)
    else:
        content = _Content(file, page, codec)
        held = content.read(int.from_bytes(content.read(4), "little")) if levels else b""
    there = _runs(held, 1, count) if levels else iter([1] * count)
    if encoding == _PLAIN:
        for level in there:
            yield content.value(limit) if level else None
    elif encoding in _BY_DICTIONARY:
        bits = int.from_bytes(content.read(1), "little")
        indices = _runs(content.read(LARGE), bits, count)
        for level in there:
            index = next(indices) if level else -1
            if index >= len(dictionary):
                raise _damaged()
            yield dictionary[index] if level else None
    else:
        raise Unreadable("unsupported", f"a page of {page.size / 1e6:,.0f} MB is in an encoding that needs it whole")


class _Content:
    """What a page unpacks to, as a stream."""

    def __init__(self, file: BinaryIO, page: Page, codec: str, skipped: int = 0) -> None:
        import pyarrow as pa

        part = _Part(file, page.at + skipped, page.packed - skipped)
        self._left = page.size - skipped
        if codec == "UNCOMPRESSED":
            self._stream: Any = part
        elif codec in ("ZSTD", "GZIP", "BROTLI"):
            self._stream = pa.CompressedInputStream(pa.PythonFile(part, mode="r"), codec.lower())
        elif self._left > _WHOLE:
            raise Unreadable("too_large", f"a page unpacks to {page.size / 1e6:,.0f} MB at once")
        else:
            name = {"LZ4": "lz4_raw", "LZ4_RAW": "lz4_raw"}.get(codec, codec.lower())
            packed = part.read(page.packed - skipped)
            self._stream = pa.BufferReader(pa.decompress(packed, decompressed_size=self._left, codec=name))

    def read(self, size: int) -> bytes:
        """``size`` bytes, or what is left of the page."""
        size = min(size, self._left)
        pieces = []
        while size > 0:
            piece = bytes(self._stream.read(size))
            if not piece:
                raise _damaged()
            self._left -= len(piece)
            size -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def value(self, limit: int) -> bytes | TooLong:
        """The next value of a plain page."""
        size = int.from_bytes(self.read(4), "little")
        if size > self._left:
            raise _damaged()
        if size <= limit:
            return self.read(size)
        left = size
        while left > 0:
            left -= len(self.read(min(left, _PIECE)))
        return TooLong(size)


class _Part:
    """A stretch of a file, as a file."""

    closed = False

    def __init__(self, file: BinaryIO, at: int, size: int) -> None:
        self._file, self._at, self._left = file, at, size

    def read(self, size: int) -> bytes:
        self._file.seek(self._at)  # Arrow reads other columns of the same file in between
        piece = self._file.read(min(size, self._left))
        self._at += len(piece)
        self._left -= len(piece)
        return piece

    def close(self) -> None: ...


def _runs(data: bytes, bits: int, count: int) -> Iterator[int]:
    """Numbers of ``bits`` bits each, in runs of equal ones or packed by eights (parquet-format, Encodings.md, RLE)."""
    at = given = 0
    mask = (1 << bits) - 1
    while given < count:
        try:
            header, at = _varint(data, at)
        except IndexError:
            raise _damaged() from None
        length = min((header >> 1) * (8 if header & 1 else 1), count - given)
        if not length or bits > 32:
            raise _damaged()
        if header & 1:
            for start in range(0, length, 8):
                eight = int.from_bytes(data[at : at + bits], "little")
                at += bits
                for index in range(min(8, length - start)):
                    yield eight >> index * bits & mask
        else:
            width = (bits + 7) // 8
            value = int.from_bytes(data[at : at + width], "little")
            at += width
            for _ in range(length):
                yield value
        given += length


def _whole_header(data: bytes) -> tuple[dict[int, Any], int]:
    try:
        return _fields(data, 0)
    except (IndexError, struct.error):
        raise _damaged() from None


def _fields(data: bytes, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """A struct of Thrift's compact protocol by field numbers, and where it ends; IndexError where it has no end."""
    found: dict[int, Any] = {}
    number = 0
    if depth > 8:
        raise _damaged()
    while (first := data[at]) != 0:
        at += 1
        if first >> 4:
            number += first >> 4
        else:
            number, at = _zigzag(data, at)
        kind = first & 15
        if kind in (1, 2):
            found[number] = kind == 1
        else:
            found[number], at = _value(data, at, kind, depth)
    return found, at + 1


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (4, 5, 6):
        return _zigzag(data, at)
    if kind in (1, 2, 3):
        return data[at], at + 1
    if kind == 7:
        return None, at + 8
    if kind == 8:
        size, at = _varint(data, at)
        if at + size > len(data):
            raise IndexError
        return None, at + size
    if kind in (9, 10):
        size, inner = data[at] >> 4, data[at] & 15
        at += 1
        if size == 15:
            size, at = _varint(data, at)
        for _ in range(size):
            _, at = _value(data, at, inner, depth + 1)
        return None, at
    if kind == 12:
        return _fields(data, at, depth + 1)
    raise _damaged()


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        shift += 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise _damaged()


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return value >> 1 ^ -(value & 1), at


def _damaged() -> Unreadable:
    return Unreadable("corrupt", "a page's header is damaged")
