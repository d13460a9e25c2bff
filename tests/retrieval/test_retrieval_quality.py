"""The claim that matters: the shipped search finds what people ask for, held to its figures on a public set."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from lavra.corpus.document import PUBLIC, Document, Span
from lavra.inference.embedder import Embedder
from lavra.retrieval.chunking import split
from lavra.retrieval.index import Index

EVERY = 5
"""Every fifth question (180 of 900), over the whole corpus: enough to notice a loss of two points, in a minute."""

RECALL, MRR = 0.975, 0.92  # recall@5 and MRR@10 on these questions; measured .983 and .932


def without_accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))


def documents_of(folder: Path) -> tuple[list[Document], dict[str, set[str]]]:
    """FaQuAD's articles, and for each chunk's identifier the passage that it is (a part of)."""
    articles: dict[str, list[dict[str, str]]] = {}
    for row in map(json.loads, (folder / "corpus.jsonl").open(encoding="utf-8")):
        articles.setdefault(row["title"], []).append(row)
    documents, passages = [], {}
    for title, rows in articles.items():
        text, spans = "", []
        for row in rows:
            spans.append(Span("record", len(text), len(text) + len(row["text"]), row["_id"]))
            text += row["text"] + "\n\n"
        document = Document(f"faquad/{title}", text, title.replace("_", " "), language="pt", spans=tuple(spans))
        documents.append(document)
        for chunk in split(document):
            passages[chunk.id] = {
                span.label
                for span in spans
                if 2 * (min(span.end, chunk.end) - max(span.start, chunk.start))
                > min(span.end - span.start, chunk.end - chunk.start)
            }
    return documents, passages


@pytest.mark.slow
def test_faquad_through_the_whole_search(tmp_path: Path, shared: Path, pulled: Callable[[str], Path]) -> None:
    pulled("e5-small-enpt")
    folder = shared / "retrieval" / "faquad-pt"
    documents, passages = documents_of(folder)
    index = Index.open(tmp_path / "index", Embedder.load("e5-small-enpt"))
    index.update(documents)
    questions = [json.loads(line) for line in (folder / "queries.jsonl").open(encoding="utf-8")][::EVERY]

    def reciprocal_rank(question: dict, chunk_ids: Iterable[str]) -> float:
        """Of the right passage among those of these chunks, 0 beyond the tenth."""
        order = list(dict.fromkeys(passage for chunk in chunk_ids for passage in sorted(passages[chunk])))[:10]
        return next((1 / rank for rank, passage in enumerate(order, 1) if passage in question["docs"]), 0.0)

    def searched(type_it: Callable[[str], str]) -> np.ndarray:
        results = [index.search(type_it(question["text"]), roles={PUBLIC}, k=10) for question in questions]
        return np.array(
            [
                reciprocal_rank(question, [passage.chunk_id for passage in result.passages])
                for question, result in zip(questions, results, strict=True)
            ]
        )

    plain = searched(str)
    assert (plain >= 1 / 5).mean() >= RECALL
    assert plain.mean() >= MRR
    assert searched(without_accents).mean() >= plain.mean() - 0.01, "typed without accents; over all 900 it is .005"

    for half in ("bm25", "cosine"):
        alone = []
        for question in questions:
            candidates, _ = index.candidates(question["text"], roles={PUBLIC})
            candidates.sort(key=lambda candidate: -getattr(candidate, half))
            alone.append(reciprocal_rank(question, [candidate.chunk_id for candidate in candidates]))
        assert plain.mean() > np.mean(alone) + 0.02, f"the fusion against {half} alone"
