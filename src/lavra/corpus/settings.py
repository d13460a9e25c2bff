"""How files are read: the limits, and what the user says about all of them.

The limits are there because files are untrusted. Each is named in the reason given for a file that it stops, so
that the user knows what to raise.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

DEFAULT_MEGABYTES = {
    "pdf": 256,
    "docx": 128,
    "pptx": 256,
    "xlsx": 128,
    "odt": 128,
    "epub": 128,
    "html": 32,
    "markdown": 16,
    "text": 64,
    "code": 8,
    "json": 64,
    "csv": 64,
    "mail": 64,
    "notebook": 32,
    "webpage": 32,
    "wikitext": 32,
    "gutenberg": 64,
    # Streamed, record by record. Compressed files are measured as they lie on the disk.
    "jsonl": 16_384,
    "parquet": 16_384,
    "warc": 16_384,
    "mbox": 65_536,
    "mediawiki": 262_144,
}
"""The largest file of each format that is read (10^6 bytes), where the user sets no limit."""


@dataclass(frozen=True)
class ReadSettings:
    """Flags and limits of one ingest. Every field has a default that suits a folder of documents."""

    licence: str | None = None
    """Licence of everything read: stronger than what the files or a sources file say."""
    owner: str | None = None
    roles: tuple[str, ...] | None = None
    """Roles that may read everything read here; None leaves it to the sources files."""
    default_licence: str | None = None
    """Licence of what states none and is in no sources file."""
    default_owner: str | None = None
    default_roles: tuple[str, ...] | None = None
    """Roles that may read what no flag and no sources file speaks of; stronger than a document's own word."""
    language: str | None = None
    """Language of everything read; None detects it."""
    languages: tuple[str, ...] = ("pt", "es", "en")
    """The languages that detection chooses from."""
    forgotten: frozenset[str] = frozenset()
    """Ids and text hashes of documents that were erased and must not come back."""

    max_megabytes: int | None = None
    """Largest file, in 10^6 bytes; None takes `DEFAULT_MEGABYTES` by format."""
    max_record_megabytes: int = 16
    """Largest single record of a JSON Lines, CSV, Parquet, WARC, MediaWiki or mailbox file."""
    max_pages: int = 10_000
    """Pages of a PDF, slides of a presentation."""
    max_cells: int = 500_000
    """Cells kept of a spreadsheet or table; the rest is left out, which the document's note says."""
    max_unpacked_megabytes: int = 1_024
    """What a zip-based file (DOCX, PPTX, XLSX, ODT, EPUB) may unpack to."""
    max_text_megabytes: int = 200
    """Text that one file may give, in millions of characters."""
    max_members: int = 20_000
    """Files inside a zip-based file."""
    seconds_per_file: float = 60.0
    """Time a worker process may take for one file."""
    worker_megabytes: int = 2_048
    """Address space of a worker process, in MiB."""
    workers: int | None = None
    """Worker processes; None takes one a core."""

    skip_folders: frozenset[str] = field(
        default_factory=lambda: frozenset(
            {"node_modules", "__pycache__", "site-packages", "bower_components", "venv", "CVS", "_darcs"}
        )
    )
    """Folders passed over quietly (and counted), besides the hidden ones."""

    def megabytes(self, kind: str) -> int:
        """The limit on the size of a file of format ``kind``, in 10^6 bytes."""
        return self.max_megabytes if self.max_megabytes is not None else DEFAULT_MEGABYTES.get(kind, 64)

    def processes(self) -> int:
        """How many worker processes may run at once."""
        if self.workers is not None:
            return max(1, self.workers)
        return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
