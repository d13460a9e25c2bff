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
from functools import cached_property
from operator import length_hint
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lavra.corpus.document import Document
from lavra.corpus.language import UNKNOWN, detect_language
from lavra.errors import LavraError
from lavra.retrieval.acceptance import Evidence, words_met
from lavra.retrieval.access import readable_by
from lavra.retrieval.analysis import analyse_query, query_words
from lavra.retrieval.candidates import Candidate, find_candidates
from lavra.retrieval.chunking import ChunkSettings
from lavra.retrieval.features import FEATURES, Question, features
from lavra.retrieval.fusion import Fusion
from lavra.retrieval.passage import Passage, SearchResult
from lavra.retrieval.record import Record
from lavra.retrieval.reranking import Reranking
from lavra.retrieval.scale import CosineScale, measure
from lavra.retrieval.schema import in_list, is_identifier, storable
from lavra.retrieval.settings import IndexSettings, new_table_name, read_settings
from lavra.retrieval.snapshot import Snapshot
from lavra.retrieval.updating import Progress, TextEmbedder, UpdateReport, Updating
from lavra.retrieval.writer import Erased, Writer, connect

T = TypeVar("T")

MAX_QUESTION = 2_000
"""Characters of a question that are looked at: a pasted page is no better a question than its beginning."""

QUESTIONS_IN = ("pt", "es", "en")
"""Languages in which questions are expected, besides that of the passage found."""

DOCUMENT = ["document_id", "source", "title", "language"]

REOPENINGS = 5
"""How often a search starts again when the table that it reads is replaced (an erasure) while it runs."""


class Index:
    """Passages of documents under one directory. Made by :meth:`open`; safe to share between threads."""

    def __init__(
        self,
        root: Path,
        embedder: TextEmbedder,
        fusion: Fusion,
        chunking: ChunkSettings,
        reranking: Reranking | None = None,
    ) -> None:
        self.root = root
        self.embedder = embedder
        self.fusion = fusion
        self.chunking = chunking
        self.reranking = reranking
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
        reranking: Reranking | None = None,
    ) -> Index:
        """Open the index at ``path``; where there is none, an empty one is made. ``reranking``: by whom the best that
        a search finds are put in order.

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
                f"({embedder.sha256[:12]}): name the first in lavra.toml, or run `lavra index --rebuild`"
            )
        return cls(path, embedder, fusion or Fusion.load(), chunking or ChunkSettings(), reranking)

    # --- changes ------------------------------------------------------------------------------------------------

    def update(self, documents: Iterable[Document], *, progress: Progress | None = None) -> UpdateReport:
        """Make the index hold exactly these documents, touching only what changed.

        Raises:
            LavraError: another process has been updating the index for longer than a writer waits.
        """

        def waiting() -> None:
            if progress is not None:
                progress(0, length_hint(documents), "waiting for another update to end")

        with self._writer.whole(waiting):
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

        With a reranking the order is its own; whether they are good enough to answer from stays the fusion's word.

        Raises:
            TypeError: ``roles`` is a lone string.
            LavraError: the index was deleted meanwhile.
        """
        started = time.perf_counter()
        wanted = max(k, self.reranking.depth) if self.reranking is not None else k

        passages: tuple[Passage, ...] = ()
        confidence = 0.0
        found = self._candidates(question, roles)
        if found is not None and found.candidates:
            probability = self.fusion.predict(found.features)
            order = np.argsort(-probability, kind="stable")[:wanted].tolist()
            passages = tuple(
                found.candidates[i].record.passage(
                    float(probability[i]),
                    dict(zip(FEATURES, found.features[i].tolist(), strict=True)) | found.candidates[i].seen(),
                )
                for i in order
            )
            evidence = found.evidence(int(probability.argmax()), self.fusion, self._scale)
            elsewhere = bool(passages) and _other_language(question, passages[0].language)
            confidence = self.fusion.confidence(evidence, other_language=elsewhere)
        answerable = bool(passages) and confidence >= self.fusion.threshold
        if self.reranking is not None:
            passages = self.reranking(question[:MAX_QUESTION], passages, k=k)
        return SearchResult(passages, confidence, answerable, time.perf_counter() - started)

    def candidates(self, question: str, *, roles: Collection[str]) -> tuple[list[Candidate], np.ndarray]:
        """What the fusion chooses from, in the order of the searches, and its features (N, len(FEATURES)).

        For explaining a search, and for fitting a fusion on questions of one's own (:mod:`lavra.retrieval.fitting`).
        """
        found = self._candidates(question, roles)
        return (found.candidates, found.features) if found else ([], np.zeros((0, len(FEATURES))))

    def _candidates(self, question: str, roles: Collection[str]) -> _Found | None:
        """The candidates and their features, all from one snapshot; None for a blank question."""
        where = readable_by(roles)
        question = question[:MAX_QUESTION]
        if not question.strip():
            return None
        vector = self.embedder.queries([storable(question)])[0]

        def find(snapshot: Snapshot) -> _Found:
            languages = self._languages_of(snapshot)
            stems = analyse_query(question, corpus_languages=languages)
            found = find_candidates(snapshot, stems, vector, where)
            asked, keywords = query_words(question, corpus_languages=languages), stems.split()
            seen = features(
                asked,
                keywords=keywords,
                documents=[candidate.document_id for candidate in found],
                analysed=[candidate.analysed for candidate in found],
                bm25=np.array([candidate.bm25 for candidate in found]),
                cosine=self._scale.as_reference(np.array([candidate.cosine for candidate in found])),
                sentence=self._scale.as_reference(np.array([candidate.sentence for candidate in found])),
            )
            return _Found(found, seen, asked, keywords)

        return self._reading(find)

    def passage(self, chunk_id: str, roles: Collection[str]) -> Passage | None:
        """The passage of this identifier, or None where there is none that ``roles`` may read."""
        where = readable_by(roles)
        if not is_identifier(chunk_id):
            return None
        where = f"{in_list('chunk_id', [chunk_id])} AND {where}"
        rows = self._reading(lambda snapshot: snapshot.read(["record"], where))["record"].to_pylist()
        return Record(rows[0]).passage() if rows else None

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

    @cached_property
    def _scale(self) -> CosineScale:
        return measure(self.embedder)

    # --- the newest version -------------------------------------------------------------------------------------

    def _languages_of(self, snapshot: Snapshot) -> list[str]:
        """The languages by whose rules a question is analysed; counted once a version, a scan of one column."""
        version, languages = self._languages
        if version != snapshot.version:
            languages = snapshot.languages()
            self._languages = (snapshot.version, languages)
        return languages

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
class _Found:
    """What a question found in one version of the index: N candidates, their features (N, F), and its words."""

    candidates: list[Candidate]
    features: np.ndarray
    asked: Question
    keywords: list[str]

    def evidence(self, best: int, fusion: Fusion, scale: CosineScale) -> Evidence:
        candidate = self.candidates[best]
        return Evidence(
            float(fusion.log_odds(self.features[best])),
            float(scale.as_reference(np.array(candidate.sentence))),
            words_met(self.asked, self.keywords, candidate.analysed),
            len(self.candidates),
        )


def _other_language(question: str, language: str) -> bool:
    """Whether a passage is in another language than the question; no where one of them is not known."""
    if language == UNKNOWN:
        return False
    try:
        asked = detect_language(question, tuple(sorted({*QUESTIONS_IN, language})))
    except LavraError:  # the passage's language was given by hand, and cannot be told from others
        return False
    return asked not in (UNKNOWN, language)


@dataclass(frozen=True, slots=True)
class IndexedDocument:
    """A document as the index knows it."""

    document_id: str
    source: str
    title: str
    language: str
    chunks: int
