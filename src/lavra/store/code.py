"""Which code made an artifact: the version, and the commit where Lavra runs from a checkout."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import lavra


@cache
def code_version() -> str:
    """``0.1.0`` or ``0.1.0+0123456789ab``. Git's own files are read; no process is started."""
    commit = _commit(Path(lavra.__file__).parents[2] / ".git")
    return f"{lavra.__version__}+{commit[:12]}" if commit else lavra.__version__


def _commit(git: Path) -> str | None:
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        loose = git / name
        if loose.exists():
            return loose.read_text().strip()
        for line in (git / "packed-refs").read_text().splitlines():
            if line.endswith(f" {name}"):
                return line.split()[0]
    except OSError:
        pass
    return None
