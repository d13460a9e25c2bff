"""Which documents are new to a corpus, and the counts that an auditor asks for; memory does not grow with documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from lavra.corpus.document import Document
from lavra.corpus.left_out import LeftOut, LeftOutWriter, duplicate
from lavra.corpus.remembering import Remembered
from lavra.corpus.report import NONE_STATED, OTHERS, IngestReport
from lavra.corpus.walking import Skipped

SHOWN = 1_000
"""Of each kind, how many of what was left out the report names itself; ``skipped.parquet`` has all."""
_DISTINCT = 10_000
"""Different values that are counted by name; more licences or owners than that are counted together."""


class Tally:
    """Decides which documents are new and counts them. A context manager: left by an error, it removes its file."""

    def __init__(self, out: Path) -> None:
        self._texts: Remembered[str] = Remembered()
        self._sources: Remembered[int] = Remembered()
        self._left_out = LeftOutWriter(out)
        self._left_out_sources: Remembered[int] = Remembered()
        self._skipped: list[Skipped] = []
        self._dropped: Counter[str] = Counter()
        self._duplicates: dict[str, str] = {}
        self._notes: list[tuple[str, str]] = []
        self._counts = {name: Counter[str]() for name in ("languages", "licences", "formats", "owners", "roles")}
        self._kept = self._carried = self._bytes = self._characters = self._noted = 0

    def __enter__(self) -> Tally:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for remembered in (self._texts, self._sources, self._left_out_sources):
            remembered.close()
        self._left_out.close(whole=kind is None)

    def accept(self, document: Document, *, carried: bool = False) -> bool:
        """Whether to keep a document. One with the same text is another one if other people may read it."""
        key = "\0".join((document.hash, *sorted(document.roles)))
        if (first := self._texts.get(key)) is not None:
            self.leave_out(duplicate(document.source, first))
            return False
        if document.source in self._sources:
            reason = "another document has the same name in the corpus, which is kept: rename one"
            self.skip(Skipped(document.source, "same_name", reason))
            return False
        self._texts[key] = document.source
        self._sources[document.source] = 1
        self._count("languages", document.language)
        self._count("licences", document.licence or NONE_STATED)
        self._count("owners", document.owner or NONE_STATED)
        self._count("formats", document.format)
        for role in document.roles:
            self._count("roles", role)
        self._kept += 1
        self._carried += carried
        self._bytes += document.bytes
        self._characters += len(document.text)
        if note := document.metadata.get("note"):
            self._note(document.source, note)
        return True

    def skip(self, skipped: Skipped) -> None:
        """Keep account of what was met and not read."""
        self.leave_out(LeftOut(skipped.source, skipped.kind, skipped.reason))

    def leave_out(self, row: LeftOut) -> None:
        """Keep account of what is not in the corpus, now or since an earlier ingest."""
        self._left_out.add(row)
        if row.kept is not None:
            self._left_out_sources[row.source] = 1
            if len(self._duplicates) < SHOWN:
                self._duplicates[row.source] = row.kept
        if not row.earlier:
            self._dropped[row.kind] += 1
            if self._dropped[row.kind] <= SHOWN:
                self._skipped.append(row.skipped())

    def carry_duplicates(self, rows: Iterable[LeftOut]) -> None:
        """Keep account of what an earlier ingest dropped; say where what was kept instead is gone now."""
        for row in rows:
            if row.kept is None or row.source in self._left_out_sources:
                continue
            if row.kept in self._sources:
                self.leave_out(duplicate(row.source, row.kept, earlier=True))
            elif row.source not in self._sources:
                note = (
                    f"it was left out as a duplicate of {row.kept}, which is gone: ingest its folder again to have it"
                )
                self._note(row.source, note)
                self._left_out.add(LeftOut(row.source, "duplicate", note, earlier=True))

    def report(self, *, roots: dict[str, str], ignored: dict[str, int], seconds: float) -> IngestReport:
        """The counts so far."""
        ordered = {
            name: dict(sorted(count.items(), key=lambda kv: (-kv[1], kv[0]))) for name, count in self._counts.items()
        }
        return IngestReport(
            kept=self._kept,
            carried_over=self._carried,
            skipped=tuple(self._skipped),
            dropped=dict(sorted(self._dropped.items())),
            notes=tuple(self._notes),
            noted=self._noted,
            duplicates=dict(sorted(self._duplicates.items())),
            roots=roots,
            ignored=ignored,
            bytes=self._bytes,
            characters=self._characters,
            seconds=round(seconds, 3),
            **ordered,
        )

    def _count(self, what: str, value: str) -> None:
        counter = self._counts[what]
        counter[value if len(counter) < _DISTINCT or value in counter else OTHERS] += 1

    def _note(self, source: str, note: str) -> None:
        self._noted += 1
        if len(self._notes) < SHOWN:
            self._notes.append((source, note))
