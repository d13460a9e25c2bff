"""The ledger: an append-only, hash-chained record of what a workspace made, named, removed and erased.

Each line of ``ledger.jsonl`` holds the hash of the line before, so that a change to any past line shows (as in
Haber and Stornetta 1991). It is written ahead: a line says what is about to happen, so whatever happened stands in it.
It never holds text of documents.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from lavra.errors import LavraError
from lavra.store.files import canonical_json, digest

_GENESIS = "0" * 64
_TAIL = 1 << 16
RESERVED = frozenset({"sequence", "time", "event", "previous", "hash"})


def utc_now() -> str:
    """ISO 8601 to the second, UTC."""
    return datetime.now(UTC).replace(microsecond=0).isoformat()


class Ledger:
    """The ledger at ``path``. Several processes may append at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path.with_suffix(".lock"))

    def append(self, event: str, **values: Any) -> None:
        """Add one line and force it to the disk. A line that a kill cut short is cut off first."""
        if taken := RESERVED & values.keys():
            raise ValueError(f"{sorted(taken)} are the ledger's own words")
        with self._lock, self.path.open("a+b") as file:
            last = self._last_line(file)
            record: dict[str, Any] = {
                "sequence": last["sequence"] + 1 if last else 0,
                "time": utc_now(),
                "event": event,
                **values,
                "previous": last["hash"] if last else _GENESIS,
            }
            record["hash"] = digest(record)
            file.write(canonical_json(record) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _last_line(self, file: Any) -> dict[str, Any] | None:
        end = file.seek(0, os.SEEK_END)
        if end == 0:
            return None
        start = max(0, end - _TAIL)
        file.seek(start)
        tail = file.read()
        whole = tail.rfind(b"\n") + 1  # bytes of the tail that end in a newline
        if whole < len(tail):
            file.truncate(start + whole)
        lines = tail[:whole].splitlines()
        if not lines:
            return None
        try:
            record: dict[str, Any] = json.loads(lines[-1])
            return record
        except ValueError as error:
            raise LavraError(
                f"the last line of {self.path} cannot be read; restore the ledger from a backup."
            ) from error

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Every whole line, oldest first."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield json.loads(line)

    def verify(self) -> int:
        """The number of lines, after checking that every one follows from the one before.

        Raises:
            LavraError: naming the first line that was changed, removed or added by another hand.
        """
        previous, count = _GENESIS, 0
        try:
            for count, record in enumerate(self, start=1):
                claimed = record.pop("hash")
                if record["previous"] != previous or record["sequence"] != count - 1 or digest(record) != claimed:
                    raise ValueError
                previous = claimed
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LavraError(
                f"line {count or 1} of {self.path} does not follow from the line before: "
                "the ledger was changed by another hand; compare it with a backup."
            ) from error
        return count
