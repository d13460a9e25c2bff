"""JSON Lines and JSON: a record with a text is a document, its other short fields are claims and metadata.

JSON Lines is streamed: a file of any size takes the memory of its longest record, which is bounded. A line that is
no record is reported by its number and the rest goes on.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from typing import Any

from lavra.corpus.document import Span
from lavra.corpus.encoding import decode
from lavra.corpus.packing import Damaged, Stream
from lavra.corpus.parts import BadRecord, Parts, Unreadable, normalise, one_line
from lavra.corpus.readers.claims import claim
from lavra.corpus.settings import ReadSettings

TEXT_NAMES = ("text", "content", "body", "texto", "conteudo", "conteúdo", "contenido", "document", "passage")
"""Fields that hold a record's text, the first that is there."""
ID_NAMES = ("id", "_id", "doc_id", "docid", "uuid")
"""Fields that name a record."""


def read(data: bytes, name: str, settings: ReadSettings) -> list[Parts | BadRecord]:
    """A whole file: JSON Lines by its name, else one JSON value."""
    if name.lower().endswith((".jsonl", ".ndjson")):
        return [record for record, _, _ in stream(io.BytesIO(data), settings)]
    text, _ = decode(data)
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise Unreadable("corrupt", f"it is not valid JSON ({error})") from None
    if isinstance(value, dict):
        if (found := record_parts(value, "")) is not None:
            return [found]
        lists = [v for v in value.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
        if len(lists) == 1:
            value = lists[0]
    if isinstance(value, list):
        records = [record_parts(item, str(number)) for number, item in enumerate(value, 1)]
        if any(records):
            return [
                record or BadRecord(str(number), "no_text", f"it has none of the fields {', '.join(TEXT_NAMES)}")
                for number, record in enumerate(records, 1)
            ]
    text = normalise(text).strip()
    return [Parts(text, (Span("code", 0, len(text), label="json"),), metadata={"code": "json"}, language="und")]


def stream(file: Stream, settings: ReadSettings) -> Iterator[tuple[Parts | BadRecord, int, str]]:
    """Each record with its size in bytes and its line's SHA-256."""
    limit = settings.max_record_megabytes * 1_000_000
    number = 0
    while True:
        number += 1
        try:
            line = file.readline(limit + 1)
        except Damaged as error:
            yield BadRecord(str(number), error.kind, error.reason), 0, ""
            continue
        if not line:
            return
        if len(line) > limit:
            size = len(line)
            while not line.endswith(b"\n") and (line := file.readline(1 << 20)):
                size += len(line)
            reason = f"the record has {size / 1e6:,.0f} MB, over the limit of {settings.max_record_megabytes} MB"
            yield BadRecord(str(number), "too_large", f"{reason}: raise `max_record_megabytes`"), size, ""
        elif line.strip():
            yield _record(line, number), len(line), hashlib.sha256(line).hexdigest()


def _record(line: bytes, number: int) -> Parts | BadRecord:
    try:
        value = json.loads(decode(line)[0])
    except (json.JSONDecodeError, RecursionError) as error:
        said = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep"
        return BadRecord(str(number), "corrupt", f"line {number} is not valid JSON ({said})")
    except Unreadable as error:
        return BadRecord(str(number), error.kind, f"line {number}: {error.reason}")
    parts = record_parts(value, str(number))
    if parts is None:
        return BadRecord(str(number), "no_text", f"line {number} has none of the fields {', '.join(TEXT_NAMES)}")
    if not parts.text:
        return BadRecord(str(number), "empty", f"line {number}: there is no text in it")
    return parts


def record_parts(value: Any, record: str) -> Parts | None:
    """A record as a document named by its id (else ``record``); None where it has no text field."""
    if isinstance(value, str):
        return Parts(normalise(value).strip(), record=record)
    if not isinstance(value, dict):
        return None
    fields = dict(value)
    name = next((key for key in TEXT_NAMES if isinstance(fields.get(key), str)), None)
    if name is None:
        return None
    parts = Parts(normalise(fields.pop(name)).strip())
    identity = next((one_line(str(fields.pop(k))) for k in ID_NAMES if isinstance(fields.get(k), (str, int))), "")
    parts.record = identity[:200] or record
    claim(parts, fields)
    return parts
