"""Questions with the passages that answer them, and a whole search over their corpus, for the retrieval benchmarks.

A set is a directory ``<name>-<language>`` with ``corpus.jsonl`` (``_id``, ``title``, ``text``: a passage a line) and
``queries.jsonl`` (``_id``, ``text``, ``docs``: the passages that answer, ``answers``). Passages of one title are one
document (or those of one ``document``, where the rows say so), as they were before the set's makers cut it; a
passage without either is a document of its own. The documents go through Lavra's chunking and index like any other,
and a chunk stands for the passage it lies in: a hit is a chunk of the right passage, each passage counted once, at
its best chunk.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from lavra.corpus.document import PUBLIC, Document, Span
from lavra.retrieval.access import readable_by
from lavra.retrieval.analysis import analyse_query, query_words
from lavra.retrieval.candidates import Candidate, find_candidates
from lavra.retrieval.chunking import split
from lavra.retrieval.features import FEATURES, features
from lavra.retrieval.fusion import Fusion
from lavra.retrieval.index import Index


class Embeds(Protocol):
    name: str
    dimension: int
    sha256: str

    def documents(self, texts: Sequence[str]) -> np.ndarray: ...
    def queries(self, texts: Sequence[str]) -> np.ndarray: ...


@dataclass(frozen=True)
class Question:
    text: str
    passages: frozenset[str]
    answers: tuple[str, ...] = ()


@dataclass(frozen=True)
class QuestionSet:
    """Documents and questions; ``passages``: for each chunk, the passages of which it holds the greater part."""

    name: str
    language: str
    documents: tuple[Document, ...]
    questions: tuple[Question, ...]
    passages: dict[str, tuple[str, ...]]
    texts: dict[str, str]
    """Each chunk's text."""


def load(directory: Path) -> QuestionSet:
    """The set in a directory."""
    language = directory.name.rsplit("-", 1)[-1]
    groups: dict[str, list[dict[str, str]]] = {}
    for row in _lines(directory / "corpus.jsonl"):
        groups.setdefault(row.get("document") or row.get("title") or row["_id"], []).append(row)
    documents: list[Document] = []
    passages: dict[str, tuple[str, ...]] = {}
    texts: dict[str, str] = {}
    for key, rows in groups.items():
        text, spans = "", []
        for row in rows:
            spans.append(Span("record", len(text), len(text) + len(row["text"]), row["_id"]))
            text += row["text"] + "\n\n"
        title = rows[0].get("title", "").replace("_", " ")
        document = Document(f"{directory.name}/{key}", text, title, language=language, spans=tuple(spans))
        documents.append(document)
        for chunk in split(document):
            texts[chunk.id] = chunk.text
            passages[chunk.id] = tuple(
                span.label
                for span in spans
                if 2 * (min(span.end, chunk.end) - max(span.start, chunk.start))
                > min(span.end - span.start, chunk.end - chunk.start)
            )
    questions = tuple(
        Question(row["text"], frozenset(row["docs"]), tuple(answer for answer in row.get("answers", ()) if answer))
        for row in _lines(directory / "queries.jsonl")
    )
    return QuestionSet(directory.name, language, tuple(documents), questions, passages, texts)


def _lines(path: Path) -> Iterable[dict]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


@dataclass(frozen=True)
class Searched:
    """The candidates of each question, their features, and which of them hold the answer.

    ``labels``: 1 a chunk of the right passage, 0 not; -1 a chunk of the right passage without the answer's words
    where another chunk of it has them (neither right nor wrong: left out of training).
    """

    candidates: list[list[Candidate]]
    features: list[np.ndarray]
    labels: list[np.ndarray]


def open_index(place: Path, embedder: Embeds, of: QuestionSet) -> Index:
    """The set's documents in a fresh index, whose own fusion is not looked at."""
    nothing = np.zeros(len(FEATURES))
    blank = Fusion(FEATURES, nothing, nothing + 1.0, nothing, 0.0)
    index = Index.open(place, embedder, fusion=blank)
    index.update(of.documents)
    return index


def search(index: Index, questions: Sequence[Question], of: QuestionSet) -> Searched:
    """Both halves of the index's search for each question, before the fusion."""
    snapshot = index._snapshot()  # behind `Index.candidates`, to embed all questions at once
    vectors = index.embedder.queries([question.text for question in questions])
    found = []
    for question, vector in zip(questions, vectors, strict=True):
        stems = analyse_query(question.text, corpus_languages=[of.language])
        found.append(find_candidates(snapshot, stems, vector, readable_by({PUBLIC})))
    return _seen(found, questions, of)


def without_answers(searched: Searched, questions: Sequence[Question], of: QuestionSet) -> Searched:
    """The same searches, had the right passages not been in the corpus."""
    found = [
        [candidate for candidate in candidates if not question.passages & set(of.passages[candidate.chunk_id])]
        for candidates, question in zip(searched.candidates, questions, strict=False)
    ]
    return _seen(found, questions[: len(found)], of)


def _seen(found: list[list[Candidate]], questions: Sequence[Question], of: QuestionSet) -> Searched:
    pairs = list(zip(questions, found, strict=True))
    return Searched(
        found,
        [candidate_features(question.text, candidates, [of.language]) for question, candidates in pairs],
        [_labels(question, candidates, of) for question, candidates in pairs],
    )


def candidate_features(text: str, candidates: Sequence[Candidate], languages: Collection[str]) -> np.ndarray:
    return features(
        query_words(text, corpus_languages=languages),
        keywords=analyse_query(text, corpus_languages=languages).split(),
        documents=[candidate.document_id for candidate in candidates],
        analysed=[candidate.analysed for candidate in candidates],
        bm25=np.array([candidate.bm25 for candidate in candidates]),
        cosine=np.array([candidate.cosine for candidate in candidates]),
        sentence=np.array([candidate.sentence for candidate in candidates]),
    )


def _labels(question: Question, candidates: Sequence[Candidate], of: QuestionSet) -> np.ndarray:
    right = np.array([bool(question.passages & set(of.passages[c.chunk_id])) for c in candidates], dtype=bool)
    holds = right & np.array(
        [any(answer in of.texts[c.chunk_id] for answer in question.answers) for c in candidates], dtype=bool
    )
    return np.where(holds if holds.any() else right, 1, np.where(right, -1, 0))


def passage_rank(question: Question, chunk_ids: Iterable[str], of: QuestionSet) -> float:
    """The rank of the first right passage among those of these chunks; a chunk of two passages counts as both."""
    seen: dict[str, None] = {}
    for chunk_id in chunk_ids:
        new = [passage for passage in of.passages[chunk_id] if passage not in seen]
        seen.update(dict.fromkeys(new))
        if question.passages & set(new):
            return float(len(seen))
    return float("inf")


def recall_and_mrr(ranks: Sequence[float]) -> tuple[float, float]:
    """Recall@5 and mean reciprocal rank among the first 10."""
    values = np.array(ranks)
    return float((values <= 5).mean()), float(np.where(values <= 10, 1 / values, 0.0).mean())


def training_rows(searches: Sequence[Searched]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, F), labels (N,) and groups (N,) of all questions that have a candidate, for ``Fusion.fit``."""
    parts = [
        (x[y >= 0], y[y >= 0]) for searched in searches for x, y in zip(searched.features, searched.labels, strict=True)
    ]
    groups = np.repeat(np.arange(len(parts)), [len(y) for _, y in parts])
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts]), groups


class CachedEmbedder:
    """An embedder that remembers its vectors on disk, so that a benchmark run again measures at once."""

    def __init__(self, embedder: Embeds, directory: Path) -> None:
        self.name, self.dimension, self.sha256 = embedder.name, embedder.dimension, embedder.sha256
        self._embedder, self._directory = embedder, directory
        self._known: dict[bytes, np.ndarray] = {}
        directory.mkdir(parents=True, exist_ok=True)
        for path in sorted(directory.glob("*.npz")):
            with np.load(path, allow_pickle=False) as stored:
                self._known.update(zip(map(bytes, stored["keys"]), stored["vectors"], strict=True))

    def documents(self, texts: Sequence[str]) -> np.ndarray:
        return self._through("documents", texts)

    def queries(self, texts: Sequence[str]) -> np.ndarray:
        return self._through("queries", texts)

    def _through(self, kind: str, texts: Sequence[str]) -> np.ndarray:
        keys = [self._key(kind, text) for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        if new:
            self.remember(list(new), getattr(self._embedder, kind)(list(new.values())))
        return np.stack([self._known[key] for key in keys])

    def _key(self, kind: str, text: str) -> bytes:
        return hashlib.sha256(f"{self.sha256}\0{kind}\0{text}".encode("utf-8", "surrogatepass")).digest()

    def remember(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """Keep the vectors (N, D) of these keys, here and on disk."""
        self._known.update(zip(keys, vectors, strict=True))
        table = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), -1)
        np.savez(self._directory / f"{secrets.token_hex(8)}.npz", keys=table, vectors=vectors)
