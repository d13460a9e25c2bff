"""Claims about a chunk's sentences: nothing of the text is lost, and their cosines are those of the full vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hashing_embedder import HashingEmbedder
from hypothesis import given, settings
from hypothesis import strategies as st

from lavra.corpus.document import Document
from lavra.retrieval.chunking import split
from lavra.retrieval.features import FEATURES
from lavra.retrieval.index import Index
from lavra.retrieval.record import Record
from lavra.retrieval.schema import sentences_of
from lavra.retrieval.sentences import MOST, SHORTEST, best_cosines, packed, sentences

RNG = np.random.default_rng(0)


def unit(*shape: int) -> np.ndarray:
    vectors = RNG.standard_normal(shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_a_text_is_cut_at_the_ends_of_sentences_and_of_lines() -> None:
    first = "O prazo para recurso é de cinco dias úteis."
    second = "A contagem começa no dia seguinte ao da publicação."
    third = "Casos omissos serão resolvidos pela direção do curso"
    assert sentences(f"{first} {second}\n{third}") == [first, second, third]


def test_a_short_sentence_is_joined_to_its_neighbour() -> None:
    long = "O trancamento será concedido por até quatro semestres letivos."
    assert sentences(f"Art. 5. {long} {long} Fim.") == [f"Art. 5. {long}", f"{long} Fim."]


def test_what_is_one_sentence_has_no_vector_beside_its_own() -> None:
    assert sentences("Only one sentence, however long it may be, is the chunk itself.") == []
    assert sentences("") == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("ab.;\n ", max_size=80), max_size=40).map(" ".join))
def test_sentences_hold_all_words_in_order_and_are_few(text: str) -> None:
    found = sentences(text)
    assert len(found) != 1
    assert not found or " ".join(found).split() == text.split()
    assert len(found) <= MOST
    assert all(len(piece) >= SHORTEST for piece in found)


def test_eight_bits_keep_a_cosine() -> None:
    chunks = [unit(count, 384) for count in (1, 8, 0, 3)]
    question, own = unit(384), RNG.random(4).astype(np.float32)
    found = best_cosines([packed(vectors) for vectors in chunks], question, own)
    exact = [(vectors @ question).max() if len(vectors) else own[row] for row, vectors in enumerate(chunks)]
    assert found == pytest.approx(exact, abs=2e-3)
    assert found[2] == own[2], "a chunk that is one sentence is as near as it is itself"
    assert best_cosines([], question, own[:0]).shape == (0,)


def test_the_index_compares_the_question_with_each_sentence(tmp_path: Path) -> None:
    texts = [
        "Wolves hunt in packs during the long nights of winter. The committee approved the yearly budget of the town.",
        "The library opens at nine in the morning, on Sundays at ten. Coffee grows in the tropics and wants rain",
    ]
    documents = [Document(f"{number}.txt", text, "A title", language="en") for number, text in enumerate(texts)]
    embedder = HashingEmbedder()
    index = Index.open(tmp_path, embedder)
    index.update(documents)
    question = "Who approved the budget of the town?"
    candidates, seen = index.candidates(question, roles=())
    vector = embedder.queries([question])[0]
    exact = {
        document.id: max(
            (embedder.documents(parts) @ vector).max() for parts in sentences_of(document, split(document))
        )
        for document in documents
    }
    for candidate in candidates:
        assert candidate.sentence == pytest.approx(exact[candidate.document_id], abs=5e-3)
    best = max(candidates, key=lambda candidate: candidate.sentence)
    assert best.document_id == documents[0].id
    margin = seen[:, FEATURES.index("sentence_margin")]
    assert margin[candidates.index(best)] > 0


def test_sentences_of_unchanged_chunks_are_not_embedded_again(tmp_path: Path) -> None:
    text = "The server restarts after an update of its system. The password must have at least ten characters."
    index = Index.open(tmp_path, embedder := HashingEmbedder())
    index.update([Document("a.txt", text, language="en")])
    assert embedder.embedded == 3

    def stored() -> list[bytes]:
        return [Record(packed).sentences for packed in index._snapshot().read(["record"])["record"].to_pylist()]

    before = stored()
    index.update([Document("a.txt", text, language="en", licence="CC0-1.0")])
    assert embedder.embedded == 3
    assert stored() == before != [b""]
