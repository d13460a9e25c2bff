"""Whether anything below a root changed since it was last read, without reading it: rsync's quick check."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from pathlib import Path

from lavra.corpus.settings import ReadSettings
from lavra.corpus.site_files import PLACES
from lavra.corpus.sources import FILE_NAME
from lavra.corpus.walking import Found, walk


def fingerprint(root: Path, settings: ReadSettings) -> str:
    """SHA-256 over every file's name, size and time of modification, and over the contents of sources files
    and of hidden files of sites."""
    state = hashlib.sha256()
    for entry in walk(root, root.name, settings, Counter()):
        if isinstance(entry, Found):
            state.update(f"{entry.source}\0{entry.size}\0{entry.modified!r}\n".encode())
        else:
            state.update(f"{entry.source}\0{entry.kind}\n".encode())
    for sources in sorted(root.rglob(FILE_NAME)) if root.is_dir() else (root.parent / FILE_NAME,):
        try:
            state.update(sources.read_bytes())
        except OSError:
            state.update(b"unreadable")  # reading it for the ingest will say why
    # A walk passes over what is hidden, and over what stands beside a root that is a file.
    beside = [place[1:] for place in PLACES]
    sites = root.rglob(".well-known/tdmrep.json") if root.is_dir() else (root.parent / name for name in beside)
    for path in sorted(sites):
        with contextlib.suppress(OSError):
            state.update(path.read_bytes())
    return state.hexdigest()
