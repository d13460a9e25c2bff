"""The directory of one run: settings, a line of metrics a step, evaluations, events, checkpoints, and the report.

::

    run.json            what is trained, as the caller described it; the settings
    metrics.jsonl       one line a step
    evaluations.jsonl   one line an evaluation
    events.jsonl        what was out of the ordinary
    checkpoints/        see checkpoints.py
    report.md, report.html, loss.svg
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lavra.errors import LavraError
from lavra.store.files import write_atomically
from lavra.store.ledger import utc_now


class RunDirectory:
    """The run at ``path``, made if it is not there. One process (or one group of ranks) trains in it at a time."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.path / "run.lock")

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def lock(self) -> None:
        """Raises LavraError if another process trains here."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise LavraError(
                f"another process is training in {self.path}; wait for it or choose another run"
            ) from error

    def unlock(self) -> None:
        self._lock.release()

    def describe(self, values: Mapping[str, Any]) -> None:
        """Write ``run.json``."""
        text = json.dumps(values, indent=2, ensure_ascii=False, default=str) + "\n"
        write_atomically(self.path / "run.json", text.encode())

    @property
    def description(self) -> dict[str, Any]:
        """What ``run.json`` says; empty before it is there."""
        try:
            found: dict[str, Any] = json.loads((self.path / "run.json").read_text("utf-8"))
            return found
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise LavraError(f"{self.path / 'run.json'} cannot be read; begin a new run") from error

    def log(self, kind: str, values: Mapping[str, Any]) -> None:
        """Add a line to ``<kind>.jsonl``. A full disk does not stop a run: the line is lost."""
        try:
            with (self.path / f"{kind}.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(values, ensure_ascii=False) + "\n")
        except OSError:
            pass

    def event(self, step: int, text: str) -> None:
        self.log("events", {"step": step, "time": utc_now(), "event": text})

    def lines(self, kind: str) -> list[dict[str, Any]]:
        """The whole lines of ``<kind>.jsonl``."""
        try:
            text = (self.path / f"{kind}.jsonl").read_text("utf-8")
        except FileNotFoundError:
            return []
        found = []
        for line in text.splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:  # a kill cut it short
                continue
        return found

    def rewind(self, step: int) -> None:
        """Forget the metrics and evaluations after ``step``: they will be made again."""
        for kind in ("metrics", "evaluations"):
            kept = [line for line in self.lines(kind) if line.get("step", 0) <= step]
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept)
            try:
                write_atomically(self.path / f"{kind}.jsonl", text.encode())
            except OSError:
                pass

    def free_bytes(self) -> int:
        """Room on the disk."""
        status = os.statvfs(self.path) if hasattr(os, "statvfs") else None
        return status.f_bavail * status.f_frsize if status else 1 << 62


def require_same(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """That the run at ``path``, begun as ``before`` says, is the one that ``now`` describes. Raises LavraError."""
    for name in ("settings", "about"):
        old, new = before.get(name, {}), now[name]
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                raise LavraError(
                    f"the run in {path} was begun with {key} {old.get(key)!r} and cannot continue with "
                    f"{new.get(key)!r}; begin a new run, or give the same"
                )
    if before["trained"] != now["trained"]:
        raise LavraError(f"the run in {path} trains other parameters; begin a new run")
