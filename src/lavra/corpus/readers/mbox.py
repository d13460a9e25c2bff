"""Mailboxes (``.mbox``): a message a document, read as any other e-mail is. Streamed, message by message.

A message begins with a line ``From `` after an empty one (RFC 4155); inside a message such lines are written with a
``>`` before them, which is taken off again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from lavra.corpus.packing import Damaged, Stream
from lavra.corpus.parts import BadRecord, Inner, Parts, Record
from lavra.corpus.settings import ReadSettings

BEGIN = re.compile(rb"From \S+.* \d{2}:\d{2}.* \d{4}")
_ID = re.compile(rb"^message-id:\s*<([^<>\s]{1,300})>", re.I | re.M)
_QUOTED = re.compile(rb"^>(>*From )", re.M)
_PIECE = 1 << 16


def stream(file: Stream, settings: ReadSettings) -> Iterator[tuple[Record, int, str]]:
    """Each message with its size in bytes and its SHA-256; what cannot be read is named by its number."""
    limit = settings.max_record_megabytes * 1_000_000
    message: list[bytes] = []
    size = number = 0
    inside, empty = False, True
    while True:
        try:
            line = file.readline(_PIECE)
        except Damaged as error:
            message, inside, empty = [], False, True
            number += 1
            yield BadRecord(str(number), error.kind, error.reason), 0, ""
            continue
        begins = empty and BEGIN.match(line)
        if inside and (begins or not line):
            number += 1
            yield _message(b"".join(message), size, number, settings.max_record_megabytes)
        if not line:
            return
        if begins:
            inside, size = True, 0
            message = []
        elif inside:
            size += len(line)
            if size <= limit:
                message.append(line)
        empty = not line.strip()


def _message(data: bytes, size: int, number: int, megabytes: int) -> tuple[Record, int, str]:
    if size > megabytes * 1_000_000:
        reason = f"the message has {size / 1e6:,.0f} MB, over the limit of {megabytes} MB"
        return BadRecord(str(number), "too_large", f"{reason}: raise `max_record_megabytes`"), size, ""
    if not data.strip():
        return BadRecord(str(number), "empty", "there is no text in it"), size, ""
    header = data[:65_536].replace(b"\r\n", b"\n").split(b"\n\n", 1)[0]
    known = _ID.search(header)
    name = known[1].decode("utf-8", "replace") if known else str(number)
    return Inner("mail", _QUOTED.sub(rb"\1", data), Parts("", record=name)), size, hashlib.sha256(data).hexdigest()
