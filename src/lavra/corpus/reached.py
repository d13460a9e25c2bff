"""How far a reading is: what is told while files are read, also within one large file of records."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lavra.corpus.walking import Found, Skipped


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a reading is: files and bytes that are done, of all that there are; documents; the file at hand.

    ``label`` is empty when all is read. Of a file of records ``bytes`` has what was read of it, as it lies on the disk.
    """

    files: int
    all_files: int
    bytes: int
    all_bytes: int
    documents: int
    label: str


Progress = Callable[[Reached], None]

_TOLD = 1_000_000
"""Bytes of a file of records after which it is told again how far the reading is."""


class Told:
    """Tells whoever listens; the reading says when a file begins and where in it it is."""

    def __init__(self, progress: Progress | None, documents: int) -> None:
        self.documents = documents
        self._progress = progress
        self._files = self._all_files = self._bytes = self._all_bytes = 0
        self._at = self._size = 0
        self._label = ""

    def count(self, entries: Iterable[Found | Skipped]) -> None:
        for entry in entries:
            self._all_files += 1
            self._all_bytes += size_of(entry)

    def begin(self, label: str, size: int) -> None:
        """The file before it, if any, is done."""
        self._files += self._label != ""
        self._bytes += self._size
        self._at, self._size, self._label = 0, size, label

    def within(self, at: int) -> None:
        """``at``: where in the file at hand the reading is."""
        if at - self._at >= _TOLD:
            self._at = min(at, self._size)
            self.now()

    def end(self) -> None:
        self.begin("", 0)
        self.now()

    def now(self) -> None:
        if self._progress is not None:
            # A folder may grow while it is read.
            files = max(self._all_files, self._files + (self._label != ""))
            done, size = self._bytes + self._at, max(self._all_bytes, self._bytes + self._size)
            self._progress(Reached(self._files, files, done, size, self.documents, self._label))


def size_of(entry: Found | Skipped) -> int:
    return entry.size if isinstance(entry, Found) else 0
