"""The verb ``ingest``: from roots to a corpus on disk with a report of what was kept, dropped, and why."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from lavra.corpus.document import Document
from lavra.corpus.reading import Progress, label_roots, read_roots
from lavra.corpus.report import NONE_STATED, IngestReport, load_report, write_report
from lavra.corpus.settings import ReadSettings
from lavra.corpus.storage import FILE_NAME, CorpusWriter, load_document, load_documents, load_rows
from lavra.corpus.walking import Skipped

__all__ = [
    "IngestReport",
    "add_documents",
    "build_corpus",
    "forget_document",
    "load_document",
    "load_documents",
    "load_report",
]


def build_corpus(
    roots: Sequence[Path],
    settings: ReadSettings,
    out: Path,
    *,
    previous: Path | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Read ``roots`` into ``out/documents.parquet``, ``out/report.json`` and ``out/report.md``.

    Documents of other roots in the corpus ``previous`` are carried over; those of the same roots are replaced. Exact
    duplicates (same text for the same roles) are dropped, the first stays. The Parquet file's bytes depend on the
    input alone. Raises `LavraError` where a root does not exist or a sources file cannot be understood.
    """
    began = time.perf_counter()
    earlier = load_report(previous) if previous is not None else None
    known = earlier.roots if earlier is not None else {}
    labelled, nested = label_roots(roots, known)
    replaced = {root.label for root in labelled}
    ignored: Counter[str] = Counter()
    tally = _Tally()
    with CorpusWriter(out / FILE_NAME) as writer:
        if previous is not None:
            for document, label in load_rows(previous, lambda label: label not in replaced):
                if tally.accept(document, carried=True):
                    writer.add(document, label)
        # Closed here, not when it is collected: an interrupted ingest ends its workers at once.
        with closing(read_roots(labelled, settings, ignored, progress=progress)) as items:
            for label, item in items:
                if isinstance(item, Skipped):
                    tally.skipped.append(item)
                elif settings.forgotten & {item.id, item.hash}:
                    tally.skipped.append(Skipped(item.source, "forgotten", "it was erased on request and stays out"))
                elif tally.accept(item):
                    writer.add(item, label)
    if earlier is not None:
        tally.carry_duplicates({k: v for k, v in earlier.duplicates.items() if not _below(k, replaced)})
    report = tally.report(
        roots={**{k: v for k, v in known.items() if k not in replaced}, **{r.label: str(r.path) for r in labelled}},
        skipped=nested,
        ignored=dict(sorted(ignored.items())),
        seconds=time.perf_counter() - began,
    )
    write_report(report, out)
    return report


def add_documents(
    corpus_in: Path | None, corpus_out: Path, documents: Sequence[Document], *, root: str
) -> IngestReport:
    """Write ``corpus_in`` with ``documents`` added under the label ``root`` (an upload's), replacing their sources."""
    began = time.perf_counter()
    earlier = load_report(corpus_in) if corpus_in is not None else None
    replaced = {document.source for document in documents}
    tally = _Tally()
    with CorpusWriter(corpus_out / FILE_NAME) as writer:
        if corpus_in is not None:
            for document, label in load_rows(corpus_in):
                if document.source not in replaced and tally.accept(document, carried=True):
                    writer.add(document, label)
        for document in documents:
            if tally.accept(document):
                writer.add(document, root)
    if earlier is not None:
        tally.carry_duplicates(earlier.duplicates)
    known = dict(earlier.roots) if earlier is not None else {}
    report = tally.report(roots={root: "", **known}, skipped=[], ignored={}, seconds=time.perf_counter() - began)
    write_report(report, corpus_out)
    return report


def forget_document(corpus_in: Path, corpus_out: Path, document_id: str) -> bool:
    """Write ``corpus_in`` without one document; whether it was there.

    The new report does not name it any more. Its text is not in the new corpus in any form; the old corpus is the
    caller's to remove. Exact duplicates of it that an earlier ingest dropped are not in the corpus either.
    """
    earlier = load_report(corpus_in)
    gone: list[Document] = []
    tally = _Tally()
    with CorpusWriter(corpus_out / FILE_NAME) as writer:
        for document, label in load_rows(corpus_in):
            if document.id == document_id:
                gone.append(document)
            elif tally.accept(document, carried=True):
                writer.add(document, label)
    names = {document.source for document in gone}
    tally.carry_duplicates({k: v for k, v in earlier.duplicates.items() if not names & {k, v}})
    skipped = [s for s in earlier.skipped if s.source not in names and not any(name in s.reason for name in names)]
    report = tally.report(roots=dict(earlier.roots), skipped=skipped, ignored=earlier.ignored, seconds=0.0)
    write_report(report, corpus_out)
    return bool(gone)


def _below(source: str, labels: set[str]) -> bool:
    """Whether a source belongs to one of the roots with these labels."""
    return any(source == label or source.startswith((f"{label}/", f"{label}#")) for label in labels)


class _Tally:
    """Decides which documents are new and counts what an auditor asks for."""

    def __init__(self) -> None:
        self.skipped: list[Skipped] = []
        self._seen: dict[tuple[str, tuple[str, ...]], str] = {}
        self._sources: set[str] = set()
        self._duplicates: dict[str, str] = {}
        self._notes: list[tuple[str, str]] = []
        self._counts: dict[str, Counter[str]] = {
            name: Counter() for name in ("languages", "licences", "formats", "owners", "roles")
        }
        self._kept = self._carried = self._bytes = self._characters = 0

    def accept(self, document: Document, *, carried: bool = False) -> bool:
        """Whether to keep a document. One with the same text is another one if other people may read it."""
        key = document.hash, tuple(sorted(document.roles))
        if (first := self._seen.get(key)) is not None:
            reason = f"it has the same text as {first}, which is kept"
            self.skipped.append(Skipped(document.source, "duplicate", reason))
            self._duplicates[document.source] = first
            return False
        if document.source in self._sources:
            reason = "another document has the same name in the corpus, which is kept: rename one"
            self.skipped.append(Skipped(document.source, "same_name", reason))
            return False
        self._seen[key] = document.source
        self._sources.add(document.source)
        self._counts["languages"][document.language] += 1
        self._counts["licences"][document.licence or NONE_STATED] += 1
        self._counts["owners"][document.owner or NONE_STATED] += 1
        self._counts["formats"][document.format] += 1
        self._counts["roles"].update(document.roles)
        self._kept += 1
        self._carried += carried
        self._bytes += document.bytes
        self._characters += len(document.text)
        if note := document.metadata.get("note"):
            self._notes.append((document.source, note))
        return True

    def carry_duplicates(self, duplicates: dict[str, str]) -> None:
        """Keep account of what an earlier ingest dropped; say where what was kept instead is gone now."""
        for source, kept in duplicates.items():
            if kept in self._sources:
                self._duplicates.setdefault(source, kept)
            elif source not in self._sources:
                note = f"it was left out as a duplicate of {kept}, which is gone: ingest its folder again to have it"
                self._notes.append((source, note))

    def report(
        self, *, roots: dict[str, str], skipped: Sequence[Skipped], ignored: dict[str, int], seconds: float
    ) -> IngestReport:
        """The counts so far."""
        ordered = {
            name: dict(sorted(count.items(), key=lambda kv: (-kv[1], kv[0]))) for name, count in self._counts.items()
        }
        return IngestReport(
            kept=self._kept,
            carried_over=self._carried,
            skipped=(*skipped, *self.skipped),
            notes=tuple(self._notes),
            duplicates=dict(sorted(self._duplicates.items())),
            roots=roots,
            ignored=ignored,
            bytes=self._bytes,
            characters=self._characters,
            seconds=round(seconds, 3),
            **ordered,
        )
