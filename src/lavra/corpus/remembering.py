"""A dictionary that memory does not hold beyond a bound: names and texts that were met, of any number of documents.

The newest entries are in memory; when they are too many they go, sorted, into a temporary database of SQLite, which
removes itself. Keys are kept as digests of 16 bytes: among 10¹² keys two are taken for one with a probability of 10⁻¹⁵.
"""

from __future__ import annotations

import errno
import hashlib
import sqlite3
from typing import Generic, TypeVar

Value = TypeVar("Value", str, int)

HELD = 100_000
"""Entries in memory: some 30 MB where values are names."""
_CACHE_KIBIBYTES = 32_768


class Remembered(Generic[Value]):
    """Values by names; ``held`` of them in memory. A context manager, whose end removes what is on the disk."""

    def __init__(self, held: int | None = None) -> None:
        self._held = held or HELD
        self._recent: dict[bytes, Value] = {}
        self._older: sqlite3.Connection | None = None

    def __enter__(self) -> Remembered[Value]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove what is on the disk."""
        self._recent.clear()
        if self._older is not None:
            self._older.close()
            self._older = None

    def get(self, name: str) -> Value | None:
        """The value of ``name``, or None."""
        key = _key(name)
        if (value := self._recent.get(key)) is not None or self._older is None:
            return value
        row = self._older.execute("SELECT value FROM met WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def __setitem__(self, name: str, value: Value) -> None:
        self._recent[_key(name)] = value
        if len(self._recent) >= self._held:
            self._put_away()

    def _put_away(self) -> None:
        """Raises OSError where the disk of temporary files is full."""
        try:
            if self._older is None:
                self._older = _database()
            self._older.execute("BEGIN")
            self._older.executemany("INSERT OR REPLACE INTO met VALUES (?, ?)", sorted(self._recent.items()))
            self._older.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise OSError(errno.ENOSPC, f"no room for temporary files ({error})") from None
        self._recent.clear()


def _key(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _database() -> sqlite3.Connection:
    """An empty one on the disk: a file without a name, gone with the connection however the process ends."""
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIBIBYTES}"):
        database.execute(f"PRAGMA {setting}")
    database.execute("CREATE TABLE met (key BLOB PRIMARY KEY, value) WITHOUT ROWID")
    return database
