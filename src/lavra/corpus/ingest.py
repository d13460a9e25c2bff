"""The verb ``ingest``: from roots to a corpus on disk with a report of what was kept, dropped, and why."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

from lavra.corpus.continuing import Stretches
from lavra.corpus.document import Document
from lavra.corpus.left_out import load_left_out
from lavra.corpus.reached import Progress
from lavra.corpus.reading import Root, label_roots, read_roots
from lavra.corpus.report import IngestReport, load_report, write_report
from lavra.corpus.settings import ReadSettings
from lavra.corpus.storage import FILE_NAME, CorpusWriter, load_document, load_documents, load_rows
from lavra.corpus.tally import Tally
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
    work: Path | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Read ``roots`` into ``out/documents.parquet``, ``out/report.json`` and ``out/report.md``.

    Documents of other roots in the corpus ``previous`` are carried over; those of the same roots are replaced. Exact
    duplicates (same text for the same roles) are dropped, the first stays. The Parquet file's bytes depend on the
    input alone. ``work`` keeps what was read, for an ingest of the same files and settings that goes on where this one
    was stopped; the caller removes it. Raises `LavraError` where a root does not exist or a sources file cannot be
    understood.
    """
    began = time.perf_counter()
    earlier = load_report(previous) if previous is not None else None
    known = earlier.roots if earlier is not None else {}
    labelled, nested = label_roots(roots, known)
    replaced = {root.label for root in labelled}
    ignored: Counter[str] = Counter()
    with Tally(out) as tally, CorpusWriter(out / FILE_NAME) as writer:
        for skipped in nested:
            tally.skip(skipped)
        if previous is not None:
            for document, label in load_rows(previous, lambda label: label not in replaced):
                if tally.accept(document, carried=True):
                    writer.add(document, label)
        with closing(_items(labelled, settings, ignored, work, progress)) as items:
            for label, item in items:
                if isinstance(item, Skipped):
                    tally.skip(item)
                elif tally.accept(item):
                    writer.add(item, label)
        if previous is not None:
            tally.carry_duplicates(row for row in load_left_out(previous) if not _below(row.source, replaced))
        report = tally.report(
            roots={**{k: v for k, v in known.items() if k not in replaced}, **{r.label: str(r.path) for r in labelled}},
            ignored=dict(sorted(ignored.items())),
            seconds=time.perf_counter() - began,
        )
    write_report(report, out)
    return report


def _items(
    roots: Sequence[Root], settings: ReadSettings, ignored: Counter[str], work: Path | None, progress: Progress | None
) -> Generator[tuple[str, Document | Skipped], None, None]:
    """What the roots hold: first what an ingest that was stopped has read, then the rest."""
    # Closed here, not when it is collected: an interrupted ingest ends its workers at once.
    if work is None:
        with closing(read_roots(roots, settings, ignored, progress=progress)) as items:
            yield from ((label, _unless_forgotten(item, settings)) for label, item in items)
        return
    with Stretches(work) as stretches:
        documents = 0
        for label, item in stretches.kept():
            documents += isinstance(item, Document)
            yield label, item
        reading = read_roots(
            *(roots, settings, ignored),
            progress=progress,
            place=stretches.place,
            names=stretches.names(),
            documents=documents,
        )
        with closing(reading) as items:
            for label, item in items:
                item = _unless_forgotten(item, settings)  # before it is kept anywhere
                stretches.add(label, item)
                yield label, item


def _unless_forgotten(item: Document | Skipped, settings: ReadSettings) -> Document | Skipped:
    if isinstance(item, Document) and settings.forgotten and settings.forgotten & {item.id, item.hash}:
        return Skipped(item.source, "forgotten", "it was erased on request and stays out")
    return item


def add_documents(
    corpus_in: Path | None, corpus_out: Path, documents: Sequence[Document], *, root: str
) -> IngestReport:
    """Write ``corpus_in`` with ``documents`` added under the label ``root`` (an upload's), replacing their sources."""
    began = time.perf_counter()
    earlier = load_report(corpus_in) if corpus_in is not None else None
    replaced = {document.source for document in documents}
    known = dict(earlier.roots) if earlier is not None else {}
    with Tally(corpus_out) as tally, CorpusWriter(corpus_out / FILE_NAME) as writer:
        if corpus_in is not None:
            for document, label in load_rows(corpus_in):
                if document.source not in replaced and tally.accept(document, carried=True):
                    writer.add(document, label)
        for document in documents:
            if tally.accept(document):
                writer.add(document, root)
        if corpus_in is not None:
            tally.carry_duplicates(load_left_out(corpus_in))
        report = tally.report(roots={root: "", **known}, ignored={}, seconds=time.perf_counter() - began)
    write_report(report, corpus_out)
    return report


def forget_document(corpus_in: Path, corpus_out: Path, document_id: str) -> bool:
    """Write ``corpus_in`` without one document; whether it was there.

    The new report does not name it any more. Its text is not in the new corpus in any form; the old corpus is the
    caller's to remove. Exact duplicates of it that an earlier ingest dropped are not in the corpus either.
    """
    earlier = load_report(corpus_in)
    gone: list[Document] = []
    with Tally(corpus_out) as tally, CorpusWriter(corpus_out / FILE_NAME) as writer:
        for document, label in load_rows(corpus_in):
            if document.id == document_id:
                gone.append(document)
            elif tally.accept(document, carried=True):
                writer.add(document, label)
        names = {document.source for document in gone}
        for row in load_left_out(corpus_in):
            if not names & {row.source, row.kept} and not any(name in row.reason for name in names):
                tally.leave_out(row)
        report = tally.report(roots=dict(earlier.roots), ignored=earlier.ignored, seconds=0.0)
    write_report(report, corpus_out)
    return bool(gone)


def _below(source: str, labels: set[str]) -> bool:
    """Whether a source belongs to one of the roots with these labels."""
    return any(source == label or source.startswith((f"{label}/", f"{label}#")) for label in labels)
