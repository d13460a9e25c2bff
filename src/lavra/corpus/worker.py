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
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from lavra.corpus.opening import open_file
from lavra.corpus.parts import BadRecord, Unreadable
from lavra.corpus.settings import ReadSettings
from lavra.corpus.walking import os_skipped

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
        answer = _answer(request, requests)
        signal.setitimer(signal.ITIMER_REAL, 0)
        texts = _texts(answer)
        data = json.dumps(answer, ensure_ascii=True, check_circular=False).encode()
        answers.write(len(data).to_bytes(8, "big"))
        answers.write(data)
        while texts:
            answers.write(texts.pop(0))
        answers.flush()
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
        pass
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, settings["seconds_per_file"] + 2)


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
            "documents": [
                {"bad": [d.record, d.kind, d.reason]} if isinstance(d, BadRecord) else asdict(d) for d in documents
            ],
        }
    except Unreadable as error:
        return {"skipped": [error.kind, error.reason]}
    except OSError as error:
        skipped = os_skipped("", error)
        return {"skipped": [skipped.kind, skipped.reason]}
    except MemoryError:
        reason = f"reading it needs more than {settings.worker_megabytes:,} MiB of memory: raise `worker_megabytes`"
        return {"skipped": ["memory", reason], "exhausted": True}


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
