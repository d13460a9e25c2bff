"""Where the records of a WARC file begin and end (ISO 28500), also where a length that one of them states is false.

Behind a record stand two line ends and the next record's ``WARC/1.x``, or nothing. Where something else stands there,
the stated length is false: too large a one would swallow what follows, too small a one would cut a text in silence.
Such a record is named, and reading goes on at the next place that looks like the beginning of one. A record over the
limit is not held, so there that place counts at once: an archive inside it would be read as if it were part of this.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lavra.corpus.packing import Damaged, Stream
from lavra.corpus.parts import Unreadable, one_line

_MAX_HEADER = 256_000
_MAX_FALSE = 1_000
_PIECE = 1 << 18
_NEXT = re.compile(rb"\n\r?\n(?=WARC/\d\.\d+\r?\n[!-9;-~]{1,100}:)")
_OVERLAP = 120
"""Bytes that `_NEXT` may need: a beginning may lie across two pieces."""


@dataclass(frozen=True, slots=True)
class Framed:
    """A record: its fields by their names in small letters, and its content."""

    fields: dict[str, str]
    content: bytes


class _Bad(Exception):
    def __init__(self, kind: str, reason: str) -> None:
        self.kind, self.reason = kind, reason


def frames(file: Stream, megabytes: int) -> Iterator[Framed | tuple[str, str, int]]:
    """Each record; for one that cannot be had, the kind of the reason, the reason, and the bytes that it took.

    Raises `Unreadable` where the rest of the file cannot be read.
    """
    stream = _Back(file)
    limit = megabytes * 1_000_000
    false = 0
    while True:
        try:
            fields, skipped = _fields(stream)
            if skipped:
                yield "corrupt", f"{skipped:,} bytes are no WARC record", skipped
            if fields is None:
                return
            length = _length(fields)
            if length > limit:
                content, whole = b"", _passed(stream, length)
            else:
                content = stream.read(length)
                whole = len(content) == length
        except (Damaged, _Bad) as error:
            yield error.kind, error.reason, 0
            continue
        # The record is there; what is wrong with what stands behind it is told after it.
        behind: Unreadable | None = None
        try:
            ends = whole and _ends(stream)
        except Unreadable as error:
            ends, behind = True, error
        if not ends:
            false += 1
            found = _NEXT.search(content)
            if found is not None:
                stream.unread(content[found.end() :])
            taken = len(content) if found is None else found.start()
            reason = f"it states a length of {length:,} bytes, and no record ends there"
            if found is None and not whole and length <= limit:
                reason = f"it is cut off: {len(content):,} of its {length:,} bytes are there"
            if false > _MAX_FALSE:
                raise Unreadable("corrupt", f"{false:,} of its records state false lengths: the rest is not read")
            yield "corrupt", reason, taken
        elif length > limit:
            reason = f"the record has {length / 1e6:,.0f} MB, over the limit of {megabytes} MB"
            yield "too_large", f"{reason}: raise `max_record_megabytes`", length
        else:
            yield Framed(fields, content)
        if isinstance(behind, Damaged):
            yield behind.kind, behind.reason, 0
        elif behind is not None:
            raise behind


class _Back:
    """A stream to which bytes can be given back."""

    def __init__(self, file: Stream) -> None:
        self._file = file
        self._given = b""
        self._at = 0

    def unread(self, data: bytes) -> None:
        """Have ``data`` read again, before what follows."""
        self._given, self._at = data + self._given[self._at :], 0

    def read(self, size: int) -> bytes:
        held = self._given[self._at : self._at + size]
        self._at += len(held)
        if self._at >= len(self._given):
            self._given, self._at = b"", 0
        return held if len(held) == size else held + self._file.read(size - len(held))

    def readline(self, limit: int) -> bytes:
        if not self._given:
            return self._file.readline(limit)
        end = self._given.find(b"\n", self._at, self._at + limit) + 1
        if end or len(self._given) - self._at >= limit:
            return self.read((end or self._at + limit) - self._at)
        held, self._given, self._at = self._given[self._at :], b"", 0
        return held + self._file.readline(limit - len(held))


def _ends(stream: _Back) -> bool:
    """Whether a record ends here: behind the line ends stands the next one, or nothing."""
    while line := stream.readline(65_536):
        if line.strip(b"\r\n"):
            stream.unread(line)
            return line.startswith(b"WARC/")
    return True


def _passed(stream: _Back, length: int) -> bool:
    """Pass over the content of a record that is not held; False where another begins inside, which is next then."""
    tail = b""
    while length > 0 and (piece := stream.read(min(length, _PIECE))):
        length -= len(piece)
        tail += piece
        if (found := _NEXT.search(tail)) is not None:
            stream.unread(tail[found.end() :])
            return False
        tail = tail[-_OVERLAP:]
    return length == 0


def _fields(stream: _Back) -> tuple[dict[str, str] | None, int]:
    """The next record's fields (None: there is none), and how many bytes before it were no record."""
    skipped = 0
    while (line := stream.readline(65_536)) and not line.startswith(b"WARC/"):
        skipped += len(line) if line.strip() else 0
    if not line:
        return None, skipped
    fields: dict[str, str] = {}
    size = 0
    key = ""
    while (line := stream.readline(65_536)).strip():
        size += len(line)
        if size > _MAX_HEADER:
            raise _Bad("corrupt", "its header has no end")
        if line[:1] in b" \t" and key:
            fields[key] += f" {word(line)}"
            continue
        name, _, value = line.partition(b":")
        key = name.strip().lower().decode("latin-1")
        fields[key] = word(value)
    return fields, skipped


def word(value: bytes) -> str:
    """A field's value as text."""
    return one_line(value.decode("utf-8", "replace"))


def _length(fields: dict[str, str]) -> int:
    length = fields.get("content-length", "")
    if not re.fullmatch("[0-9]{1,15}", length):
        raise _Bad("corrupt", f"its length is given as {length[:40]!r}")
    return int(length)
