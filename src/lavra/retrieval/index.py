"""The index: chunks of documents, found by meaning and by word, by those who may read them.

A search runs twice inside LanceDB, once over vectors and once over stems (BM25), each with the reader's roles as a
filter *within* it; the two lists are joined by :class:`~lavra.retrieval.fusion.Fusion` into one probability a
passage. Changes go through :class:`~lavra.retrieval.writer.Writer`; searches run beside them, from any number of
threads and processes, each over one version of the table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from operator import length_hint
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lavra.corpus.document import Document
from lavra.errors import LavraError
from lavra.retrieval.access import readable_by
from lavra.retrieval.analysis import analyse_query
from lavra.retrieval.candidates import Candidate, find_candidates
from lavra.retrieval.chunking import ChunkSettings
from lavra.retrieval.passage import Passage, SearchResult
from lavra.retrieval.schema import in_list, is_identifier
from lavra.retrieval.settings import IndexSettings, new_table_name, read_settings
from lavra.retrieval.snapshot import SHOWN, Snapshot
from lavra.retrieval.updating import Progress, TextEmbedder, UpdateReport, Updating
from lavra.retrieval.writer import Erased, Writer, connect

if TYPE_CHECKING:
    from lavra.retrieval.fusion import Fusion

T = TypeVar("T")

MAX_STEMS = 256
"""Distinct stems of a question that are searched for; a pasted page is no better a question than its beginning."""

DOCUMENT = ["document_id", "source", "title", "language"]

REOPENINGS = 5
"""How often a search starts again when the table that it reads is replaced (an erasure) while it runs."""


class Index:
    """Passages of documents under one directory. Made by :meth:`open`; safe to share between threads."""

    def __init__(self, root: Path, embedder: TextEmbedder, fusion: Fusion | None, chunking: ChunkSettings) -> None:
        self.root = root
        self.embedder = embedder
        self.fusion = fusion
        self.chunking = chunking
        self._writer = Writer(root)
        self._connection = connect(root)
        self._languages: tuple[tuple[str, int], list[str]] = (("", 0), [])

    @classmethod
    def open(
        cls,
        path: Path,
        embedder: TextEmbedder,
        *,
        fusion: Fusion | None = None,
        chunking: ChunkSettings | None = None,
    ) -> Index:
        """Open the index at ``path``; where there is none, an empty one is made.

        Raises:
            LavraError: the index was made with another embedder, whose vectors cannot be compared, or is damaged.
        """
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        settings = read_settings(path) or Writer(path).create(
            IndexSettings(
                table=new_table_name(),
                embedder=embedder.name,
                embedder_sha256=embedder.sha256,
                dimension=embedder.dimension,
            )
        )
        if (settings.embedder_sha256, settings.dimension) != (embedder.sha256, embedder.dimension):
            raise LavraError(
                f"the index at {path} was made with the embedder {settings.embedder} "
                f"(sha256 {settings.embedder_sha256[:12]}) and cannot be searched with {embedder.name} "
                f"({embedder.sha256[:12]}): open it with the first, or delete the directory and re-index"
            )
        return cls(path, embedder, fusion, chunking or ChunkSettings())

    # --- changes ------------------------------------------------------------------------------------------------

    def update(self, documents: Iterable[Document], *, progress: Progress | None = None) -> UpdateReport:
        """Make the index hold exactly these documents, touching only what changed.

        Raises:
            LavraError: another process has been updating the index for longer than a writer waits.
        """
        with self._writer.whole():
            self._writer.sweep()
            return self._updating(documents, progress).run(documents, remove_others=True)

    def add(self, documents: Iterable[Document], *, progress: Progress | None = None) -> UpdateReport:
        """Add documents, or replace those of the same source; the others stay. Does not wait for an update."""
        return self._updating(documents, progress).run(documents, remove_others=False)

    def forget(self, *document_ids: str) -> Erased:
        """Erase documents: their rows, every older version that held them, and every index made of their words.

        Searches go on meanwhile, over the old table and then over the new one. Whether anything was left is for
        :func:`~lavra.retrieval.erase.contains_text` to say. Forgetting what is not there rewrites the table all the
        same: a document removed earlier may still lie in old versions.
        """
        with self._writer.whole():
            return self._writer.erase(document_ids)

    def remove(self, document_ids: Collection[str]) -> None:
        """Take documents out of every search; to erase their text as well, :meth:`forget` them."""
        self._writer.remove(list(document_ids))

    def _updating(self, documents: Iterable[Document], progress: Progress | None) -> Updating:
        total = length_hint(documents)
        return Updating(self._writer, self.embedder, self.chunking, self._snapshot, progress, total)

    # --- searches -----------------------------------------------------------------------------------------------

    def search(self, question: str, *, roles: Collection[str], k: int = 6) -> SearchResult:
        """The ``k`` passages most likely to answer ``question`` among those that ``roles`` may read, best first.

        Raises:
            TypeError: ``roles`` is a lone string.
            LavraError: the index was deleted meanwhile.
        """
        started = time.perf_counter()
        where = readable_by(roles)
        if not question.strip():
            return SearchResult((), 0.0, False)
        vector = self.embedder.queries([question])[0]

        def find(snapshot: Snapshot) -> tuple[Passage, ...]:
            candidates = find_candidates(snapshot, self._stems(question, snapshot), vector, where)
            best = sorted(candidates, key=_reciprocal_rank, reverse=True)[:k]
            return tuple(_passage(c.row, _reciprocal_rank(c), {"bm25": c.bm25, "cosine": c.cosine}) for c in best)

        passages = self._reading(find)
        confidence = passages[0].score if passages else 0.0
        return SearchResult(passages, confidence, bool(passages), time.perf_counter() - started)

    def passage(self, chunk_id: str, roles: Collection[str]) -> Passage | None:
        """The passage of this identifier, or None where there is none that ``roles`` may read."""
        where = readable_by(roles)
        if not is_identifier(chunk_id):
            return None
        where = f"{in_list('chunk_id', [chunk_id])} AND {where}"
        rows = self._reading(lambda snapshot: snapshot.read(SHOWN, where)).to_pylist()
        return _passage(rows[0]) if rows else None

    def documents(self, roles: Collection[str]) -> list[IndexedDocument]:
        """The documents that ``roles`` may read, by source."""
        where = readable_by(roles)
        columns = [*DOCUMENT, "chunk_id"]

        def find(snapshot: Snapshot) -> list[dict[str, Any]]:
            grouped = snapshot.read(columns, where).group_by(DOCUMENT).aggregate([("chunk_id", "count")])
            return grouped.sort_by("source").to_pylist()

        return [
            IndexedDocument(row["document_id"], row["source"], row["title"], row["language"], row["chunk_id_count"])
            for row in self._reading(find)
        ]

    def stats(self) -> dict[str, int]:
        """How many ``documents`` and ``chunks`` the index holds over all roles, and the vectors' ``dimension``."""

        def count(snapshot: Snapshot) -> dict[str, int]:
            return {"documents": len(snapshot.fingerprints()), "chunks": snapshot.table.count_rows()}

        return {**self._reading(count), "dimension": self.embedder.dimension}

    # --- the newest version -------------------------------------------------------------------------------------

    def _stems(self, question: str, snapshot: Snapshot) -> str:
        """The stems to search for: the question analysed as the documents of the index were."""
        version, languages = self._languages
        if version != snapshot.version:
            languages = snapshot.languages()
            self._languages = (snapshot.version, languages)
        return " ".join(analyse_query(question, "und", languages).split()[:MAX_STEMS])

    def _snapshot(self) -> Snapshot:
        return Snapshot(self.root, self._connection)

    def _reading(self, read: Callable[[Snapshot], T]) -> T:
        """``read`` over the newest version; again over a newer one if an erasure took its files away meanwhile."""
        for attempt in range(REOPENINGS):
            snapshot = None
            try:
                snapshot = self._snapshot()
                return read(snapshot)
            except (RuntimeError, OSError, ValueError) as error:
                settings = read_settings(self.root)
                replaced = snapshot is None or settings is None or settings.table != snapshot.settings.table
                if attempt == REOPENINGS - 1 or not (replaced or "not found" in str(error).lower()):
                    raise
                time.sleep(0.02 * 2**attempt)
        raise AssertionError("unreachable")


@dataclass(frozen=True, slots=True)
class IndexedDocument:
    """A document as the index knows it."""

    document_id: str
    source: str
    title: str
    language: str
    chunks: int


def _reciprocal_rank(candidate: Candidate) -> float:
    """Cormack et al. 2009, k = 60, scaled so that first in both lists is 1."""
    ranks = [rank for rank in (candidate.lexical_rank, candidate.dense_rank) if rank is not None]
    return sum(30.5 / (60 + rank) for rank in ranks)


def _passage(row: dict[str, Any], score: float = 0.0, features: dict[str, float] | None = None) -> Passage:
    return Passage(
        **{**row, "headings": tuple(row["headings"])},
        score=score,
        features=features or {},
    )
