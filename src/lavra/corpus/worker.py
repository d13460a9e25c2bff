"""The process in which files with complicated parsers are read: it may die, and only it.

Started by `pool` with two pipes. A request is one line of JSON, followed by the file's bytes where there is no path; an
answer is eight bytes of length, JSON, and behind it the texts, whose lengths the JSON gives in their stead: as JSON a
long text would be there four times over. Never pickle: whoever takes over the parser must gain no more than the right
to lie about one file's text.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO

from lavra.corpus.document import Span
from lavra.corpus.opening import open_file
from lavra.corpus.parts import BadRecord, Parts, Unreadable, one_line
from lavra.corpus.settings import ReadSettings
from lavra.corpus.walking import os_skipped

_RECORDS, _BYTES = 32, 1 << 18
"""Records of a stream that are sent together: what a crash takes with it."""
READY = b"R"
"""Sent once, before the first request is read: the time to start is not the file's."""


def main() -> None:
    """Answer requests until the pipe is closed."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    # Parsers that print must not write into the protocol.
    silent = os.open(os.devnull, os.O_RDWR)
    os.dup2(silent, 0)
    os.dup2(silent, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    answers.write(READY)
    answers.flush()
    while line := requests.readline():
        request = json.loads(line)
        _limit(request)
        answer = _streamed(request, answers) if request.get("stream") else _answer(request, requests)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(answer, answers)
        if answer.get("exhausted"):
            return


def _limit(request: dict[str, Any]) -> None:
    """Bound the address space, and the time should the parent be gone (the alarm ends the process, even in C)."""
    settings = request["settings"]
    try:
        import resource

        size = settings["worker_megabytes"] << 20
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (size if hard < 0 else min(size, hard), hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        pass  # a system without such limits: the alarm, and the parent that watches, are left
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _alarm(request)


def _alarm(request: dict[str, Any]) -> None:
    signal.setitimer(signal.ITIMER_REAL, request["settings"]["seconds_per_file"] + 2)


def _answer(request: dict[str, Any], requests: BinaryIO) -> dict[str, Any]:
    from lavra.corpus import readers

    settings = _settings(request["settings"])
    try:
        if request["path"] is None:
            data = requests.read(request["size"])
        else:
            with os.fdopen(open_file(Path(request["path"])), "rb") as file:
                data = file.read()
        kind, documents = readers.read(request["kind"], data, request["name"], settings)
        return {
            "kind": kind,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "documents": [_fields(document) for document in documents],
        }
    except Unreadable as error:
        return {"skipped": [error.kind, error.reason]}
    except OSError as error:
        skipped = os_skipped("", error)
        return {"skipped": [skipped.kind, skipped.reason]}
    except MemoryError:
        return _exhausted(settings)


def _exhausted(settings: ReadSettings) -> dict[str, Any]:
    reason = f"reading it needs more than {settings.worker_megabytes:,} MiB of memory: raise `worker_megabytes`"
    return {"skipped": ["memory", reason], "exhausted": True}


def _streamed(request: dict[str, Any], answers: BinaryIO) -> dict[str, Any]:
    """Send the records of a file, some at a time; the last answer, which holds none, is returned.

    Each record has the time that a file has, in which it does not count how long the other side takes to read.
    """
    from lavra.corpus import readers

    settings = _settings(request["settings"])
    made: list[dict[str, Any]] = []
    held = 0
    try:
        with os.fdopen(open_file(Path(request["path"])), "rb") as file:
            for record, size, digest in readers.stream_records(request["kind"], file, settings):
                assert isinstance(record, (Parts, BadRecord))
                made.append({**_fields(record), "bytes": size, "sha256": digest})
                held += size
                if len(made) >= _RECORDS or held >= _BYTES:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    _send({"documents": made, "at": file.tell()}, answers)
                    made, held = [], 0
                _alarm(request)
        end: dict[str, Any] = {"end": True}
    except Unreadable as error:
        end = {"skipped": [error.kind, error.reason]}
    except OSError as error:
        skipped = os_skipped("", error)
        end = {"skipped": [skipped.kind, skipped.reason]}
    except MemoryError:
        end = _exhausted(settings)
    except Exception as error:  # libraries raise anything on damaged files
        end = {"skipped": ["corrupt", f"the file is damaged ({one_line(str(error))[:200]})"]}
    signal.setitimer(signal.ITIMER_REAL, 0)
    if made:
        _send({"documents": made, "at": 0}, answers)
    return end


_PARTS = tuple(field.name for field in fields(Parts))
_SPAN = tuple(field.name for field in fields(Span))


def _fields(record: Parts | BadRecord) -> dict[str, Any]:
    """As `dataclasses.asdict`, which copies all that is below and takes ten times as long."""
    if isinstance(record, BadRecord):
        return {"bad": [record.record, record.kind, record.reason]}
    made = {name: getattr(record, name) for name in _PARTS}
    made["spans"] = [{name: getattr(span, name) for name in _SPAN} for span in record.spans]
    return made


def _send(answer: dict[str, Any], answers: BinaryIO) -> None:
    texts = _texts(answer)
    data = json.dumps(answer, ensure_ascii=True, check_circular=False).encode()
    answers.write(len(data).to_bytes(8, "big") + data)
    while texts:
        answers.write(texts.pop(0))
    answers.flush()


def _texts(answer: dict[str, Any]) -> list[bytes]:
    """The texts of an answer's documents, taken out of it: their lengths stay."""
    texts = []
    for document in answer.get("documents", ()):
        if "text" in document:
            texts.append(document["text"].encode("utf-8", "surrogatepass"))
            document["text"] = len(texts[-1])
    return texts


def _settings(values: dict[str, Any]) -> ReadSettings:
    return ReadSettings(**{k: v for k, v in values.items() if k.startswith(("max_", "worker_", "seconds_"))})


if __name__ == "__main__":
    main()
