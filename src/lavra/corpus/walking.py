"""Which files lie below a root, in a stable order, and which of them must not be opened.

Links are never followed: one that stays inside the root would only read a file twice or walk in a circle, one that
leaves it would read what the user did not name. Each is reported. Hidden entries and folders of other people's code
are passed over quietly and counted.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lavra.corpus.settings import ReadSettings
from lavra.corpus.sources import FILE_NAME

_UNSAFE = re.compile("[\x00-\x1f\x7f\x80-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file: where it is, its name in the corpus, and its size in bytes and time when it was seen."""

    path: Path
    source: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or record that was not read: ``kind`` is one word to count by, ``reason`` a sentence for a person."""

    source: str
    kind: str
    reason: str


def safe_name(name: str) -> str:
    """A file's name as valid, printable text; one that had to be changed gets a hash, so that it stays unique."""
    if not _UNSAFE.search(name):
        return name
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
    return f"{_UNSAFE.sub(chr(0xFFFD), name)}~{digest}"


def walk(root: Path, label: str, settings: ReadSettings, ignored: Counter[str]) -> Iterator[Found | Skipped]:
    """Everything below ``root`` (or ``root`` itself, a file), folder by folder, by name; ``ignored`` is counted up."""
    try:
        status = root.stat()
    except OSError as error:
        yield Skipped(label, *_os_reason(error))
        return
    if not stat.S_ISDIR(status.st_mode):
        yield _file(root, label, status)
        return
    real_root = os.path.realpath(root)
    stack: list[tuple[Path, str]] = [(root, label)]
    while stack:
        folder, name = stack.pop()
        try:
            names = sorted(os.listdir(os.fsencode(folder)))  # names alone: a folder may hold millions
        except OSError as error:
            kind, reason = _os_reason(error)
            yield Skipped(f"{name}/", kind, f"the folder: {reason}")
            continue
        below = []
        for raw in names:
            entry = os.fsdecode(raw)
            path, source = os.path.join(folder, entry), f"{name}/{safe_name(entry)}"
            if entry.startswith("."):
                ignored["hidden"] += 1
                continue
            try:
                status = os.lstat(path)
            except OSError as error:
                yield Skipped(source, *_os_reason(error))
                continue
            if stat.S_ISLNK(status.st_mode):
                yield Skipped(source, *_link_reason(path, real_root))
            elif stat.S_ISDIR(status.st_mode):
                if entry in settings.skip_folders or os.path.exists(os.path.join(path, "pyvenv.cfg")):
                    ignored["vendored folders"] += 1
                else:
                    below.append((Path(path), source))
            elif entry == FILE_NAME:
                ignored["sources files"] += 1
            else:
                yield _file(Path(path), source, status)
        stack.extend(reversed(below))


def os_skipped(source: str, error: OSError) -> Skipped:
    """Why the operating system did not let a file be read."""
    return Skipped(source, *_os_reason(error))


def _file(path: Path, source: str, status: os.stat_result) -> Found | Skipped:
    if not stat.S_ISREG(status.st_mode):
        return Skipped(source, "special", "it is a pipe, socket or device, which is never opened")
    if status.st_size == 0:
        return Skipped(source, "empty", "the file is empty")
    return Found(path, source, status.st_size, status.st_mtime)


def _link_reason(path: str, real_root: str) -> tuple[str, str]:
    try:
        target = os.path.realpath(path, strict=True)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "link", "it is a symbolic link that leads back to itself"
        return "link", "it is a symbolic link to nothing"
    if target != real_root and not target.startswith(real_root + os.sep):
        return "link", "it is a symbolic link that leaves the folder: name its target as a root to read it"
    if os.path.isdir(target):
        here = os.path.realpath(os.path.dirname(path))
        if here == target or here.startswith(target + os.sep):
            return "link", "it is a symbolic link to a folder that contains it (a loop)"
    where = os.path.relpath(target, real_root)
    return "link", f"it is a symbolic link to {safe_name(where)}, which is read at its own place"


def _os_reason(error: OSError) -> tuple[str, str]:
    if isinstance(error, PermissionError):
        return "permission", "there is no permission to read it"
    if isinstance(error, FileNotFoundError):
        return "vanished", "it is no longer there"
    if error.errno == errno.ELOOP:
        return "link", "it is a symbolic link"
    return "unreadable", f"it cannot be read ({error.strerror or error})"
