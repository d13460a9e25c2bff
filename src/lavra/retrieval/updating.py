"""Bringing an index up to date: only what changed is read, embedded and written.

A document whose fingerprint the index holds already is skipped. Of a changed one, the chunks that say what they said
before keep their vectors (a change of roles or licence embeds nothing). Documents are written in groups, each group
one commit, each document whole in one of them: killed at any moment, an update leaves every document as it was or
as it is to be, and the next update does the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from lavra.corpus.document import Document
from lavra.retrieval.chunking import Chunk, ChunkSettings, split
from lavra.retrieval.schema import fingerprint, rows, said_digest, said_of, sentences_of, to_arrow
from lavra.retrieval.sentences import packed
from lavra.retrieval.snapshot import Snapshot
from lavra.retrieval.writer import Writer

if TYPE_CHECKING:
    import numpy as np

Progress = Callable[[int, int, str], None]
"""``progress(done, total, label)`` in documents; a total of 0 is unknown."""

GROUP_CHUNKS = 512
"""A commit's size: what a kill costs at most (seconds of embedding), and how many files an update leaves."""

TIDY_GROUPS = 20
"""Groups between two times of tidying: searches beside a long update should not have to scan what it wrote."""

EMBED_CHUNKS = 128
"""Chunks embedded between two reports of progress."""


class TextEmbedder(Protocol):
    """What the index asks of an embedder; ``lavra.inference.embedder.Embedder`` is one."""

    name: str
    dimension: int
    sha256: str

    def documents(self, texts: Sequence[str]) -> np.ndarray: ...
    def queries(self, texts: Sequence[str]) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """What an update did, in documents unless said otherwise."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    empty: int = 0
    """Documents without a single chunk: nothing of them can be found."""
    chunks: int = 0
    """Chunks written."""
    embedded: int = 0
    """Chunks embedded; the rest of those written kept their vectors."""
    seconds: float = 0.0


@dataclass(slots=True)
class Updating:
    """One run over documents; :meth:`run` may be called once."""

    writer: Writer
    embedder: TextEmbedder
    settings: ChunkSettings
    open_snapshot: Callable[[], Snapshot]
    progress: Progress | None = None
    total: int = 0
    _done: int = 0
    _counts: dict[str, int] = field(default_factory=dict)

    def run(self, documents: Iterable[Document], *, remove_others: bool) -> UpdateReport:
        started = time.perf_counter()
        known = self.open_snapshot().fingerprints()
        seen: set[str] = set()
        for number, group in enumerate(self._groups(documents, known, seen), 1):
            self._write(group, known)
            if number % TIDY_GROUPS == 0:
                self.writer.maintain()
        if remove_others and (gone := [document_id for document_id in known if document_id not in seen]):
            self.writer.remove(gone)
            self._count("removed", len(gone))
        self._report("tidying the index")
        self.writer.maintain(thoroughly=remove_others)
        self._report("indexed")
        return UpdateReport(**self._counts, seconds=time.perf_counter() - started)

    def _groups(
        self, documents: Iterable[Document], known: dict[str, str], seen: set[str]
    ) -> Iterator[list[tuple[Document, list[Chunk]]]]:
        """Documents that are new or have changed, with their chunks, enough of them for one commit."""
        group: list[tuple[Document, list[Chunk]]] = []
        size = 0
        for document in documents:
            if document.id in seen:  # the same source twice: the first one counts
                continue
            seen.add(document.id)
            if known.get(document.id) == fingerprint(document, self.settings):
                self._count("unchanged")
                self._done += 1
                self._report("unchanged")
                continue
            chunks = split(document, self.settings)
            group.append((document, chunks))
            size += len(chunks)
            if size >= GROUP_CHUNKS:
                yield group
                group, size = [], 0
        if group:
            yield group

    def _write(self, group: list[tuple[Document, list[Chunk]]], known: dict[str, str]) -> None:
        said = [text for document, chunks in group for text in said_of(document, chunks)]
        changed = [document.id for document, _ in group if document.id in known]
        vectors = self.open_snapshot().vectors(changed) if changed else {}
        parts = [sentences for document, chunks in group for sentences in sentences_of(document, chunks)]
        matrix, sentences = self._vectors(said, parts, vectors)
        flat = [row for document, chunks in group for row in rows(document, chunks, self.settings)]
        self.writer.replace([document.id for document, _ in group], to_arrow(flat, matrix, sentences))
        for document, chunks in group:
            self._count(("changed" if document.id in known else "added") if chunks else "empty")
            self._count("chunks", len(chunks))
        self._done += len(group)
        self._report("indexing")

    def _vectors(
        self, said: list[str], parts: list[list[str]], known: dict[str, tuple[np.ndarray, bytes]]
    ) -> tuple[np.ndarray, list[bytes]]:
        """(len(said), dimension) float32 and the packed vectors of its sentences, embedding what ``known`` has not."""
        import numpy as np

        matrix = np.empty((len(said), self.embedder.dimension), dtype=np.float32)
        sentences = [b""] * len(said)
        missing: list[int] = []
        for position, text in enumerate(said):
            vectors = known.get(said_digest(text))
            if vectors is None:
                missing.append(position)
            else:
                matrix[position], sentences[position] = vectors
        for start in range(0, len(missing), EMBED_CHUNKS):
            batch = missing[start : start + EMBED_CHUNKS]
            texts = [said[position] for position in batch] + [part for position in batch for part in parts[position]]
            embedded = self.embedder.documents(texts)
            matrix[batch] = embedded[: len(batch)]
            ends = np.cumsum([len(parts[position]) for position in batch])[:-1]
            for position, vectors_of_parts in zip(batch, np.split(embedded[len(batch) :], ends), strict=True):
                sentences[position] = packed(vectors_of_parts)
            self._report(f"embedding {start + len(batch)} of {len(missing)} passages")
        self._count("embedded", len(missing))
        return matrix, sentences

    def _count(self, name: str, by: int = 1) -> None:
        self._counts[name] = self._counts.get(name, 0) + by

    def _report(self, label: str) -> None:
        if self.progress is not None:
            self.progress(self._done, self.total, label)
