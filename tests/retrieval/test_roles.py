"""Nobody is shown a passage that they may not read, and nobody is starved because others may read more.

Ten thousand chunks, twenty roles and random readers; the judge is a search by brute force over the passages that
the reader may see: cosine by NumPy, BM25 by its formula over the whole collection (as the index computes it).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hashing_embedder import HashingEmbedder
from sklearn.feature_extraction.text import CountVectorizer

from lavra.corpus.document import PUBLIC, Document
from lavra.retrieval.access import digest, readable_by
from lavra.retrieval.analysis import analyse_query
from lavra.retrieval.candidates import find_candidates
from lavra.retrieval.index import Index
from lavra.retrieval.snapshot import matrix

ROLES = [
    "jurídico",
    "rh",
    "diretoria",
    "o'brien",
    'the "quoted"',
    "x') OR true --",
    "'; DROP TABLE chunks; --",
    "back\\slash\\",
    "percent%_under",
    "line\nbreak",
    "nul\0byte",
    "役員",
    "🔒",
    "a" * 5_000,
    "[list], 'of'",
    " leading and trailing ",
    "CASE",
    "case",
    "true",
    "NULL",
]
CHUNKS = 10_000


def collection() -> tuple[list[Document], dict[str, frozenset[str]]]:
    """Documents of one to nine chunks of Zipfian words, each for a few random roles, some for everybody."""
    random_ = random.Random(7)
    words = [f"termo{i}" for i in range(4_000)]
    weights = [1 / (i + 3) for i in range(4_000)]
    documents, readers, chunks = [], {}, 0
    while chunks < CHUNKS:
        sections = random_.randint(1, 9)
        chosen = (PUBLIC,) if random_.random() < 0.05 else tuple(random_.sample(ROLES, random_.choice([1, 1, 1, 2, 3])))
        text = "\n\n".join(" ".join(random_.choices(words, weights, k=90)) + "." for _ in range(sections))
        document = Document(source=f"acervo/{len(documents)}.txt", text=text, language="und", roles=chosen)
        documents.append(document)
        readers[document.id] = frozenset(chosen)
        chunks += sections
    return documents, readers


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> tuple[Index, dict[str, frozenset[str]]]:
    documents, readers = collection()
    index = Index.open(tmp_path_factory.mktemp("roles") / "index", HashingEmbedder())
    report = index.update(documents)
    assert report.chunks >= CHUNKS
    return index, readers


def questions(count: int) -> Iterator[tuple[str, frozenset[str]]]:
    random_ = random.Random(11)
    for _ in range(count):
        question = " ".join(f"termo{int(4_000 * random_.random() ** 3)}" for _ in range(random_.randint(1, 12)))
        yield question, frozenset(random_.sample(ROLES, random_.choice([0, 1, 1, 2, 4])))


def test_no_passage_is_shown_to_who_may_not_read_it(leaky: tuple[Index, dict[str, frozenset[str]]]) -> None:
    index, readers = leaky
    shown = Counter[str]()
    for question, roles in questions(300):
        passages = index.search(question, roles=roles, k=20).passages
        assert len(passages) == 20  # five readers in a hundred documents are enough to fill a page
        for passage in passages:
            assert readers[passage.document_id] & (roles | {PUBLIC}), (question, roles, passage.source)
            shown[next(iter(readers[passage.document_id] & (roles | {PUBLIC})))] += 1
    assert set(shown) == {PUBLIC, *ROLES}, "every role was put to the test"


def test_both_halves_find_what_brute_force_finds(leaky: tuple[Index, dict[str, frozenset[str]]]) -> None:
    index, readers = leaky
    snapshot = index._snapshot()
    table = snapshot.read(["document_id", "chunk_id", "analysed", "vector"])
    chunk_ids = np.array(table["chunk_id"].to_pylist())
    owners = [readers[document_id] for document_id in table["document_id"].to_pylist()]
    vectors = matrix(table["vector"])
    bm25 = BM25(table["analysed"].to_pylist())
    dense_recall, lexical_recall = [], []
    for question, roles in questions(60):
        allowed = np.array([bool(owner & (roles | {PUBLIC})) for owner in owners])
        where = readable_by(roles)

        vector = index.embedder.queries([question])[0]
        similarity = np.where(allowed, vectors @ vector, -np.inf)
        found = [each.chunk_id for each in find_candidates(snapshot, "", vector, where, depth=10)]
        best = set(chunk_ids[np.argsort(-similarity)[:10]])
        dense_recall.append(len(best & set(found)) / 10)

        stems = analyse_query(question)
        scores = np.where(allowed, bm25.scores(stems.split()), 0.0)
        found_scores = snapshot.lexical(stems, where, 10)[1].tolist()
        expected = sorted(scores[scores > 0], reverse=True)[:10]
        # Scores, not identities: where two chunks tie, either is right.
        lexical_recall.append(len(found_scores) == len(expected) and np.allclose(found_scores, expected, rtol=1e-3))
    assert np.mean(dense_recall) >= 0.99
    assert np.mean(lexical_recall) == 1.0


def test_the_filter_is_answered_by_the_role_index_inside_both_searches(
    leaky: tuple[Index, dict[str, frozenset[str]]],
) -> None:
    # A prefilter that scans the rows instead takes three times the whole search (a cast column did that once).
    index, _ = leaky
    snapshot = index._snapshot()
    where = readable_by({"rh"})
    for query in (snapshot.dense_query(np.ones(64, np.float32), where), snapshot.lexical_query("termo1", where)):
        plan = query.limit(5).explain_plan(verbose=True)
        assert "ScalarIndexQuery" in plan
        assert "access_idx" in plan


@pytest.mark.parametrize(
    "attack",
    ["x') OR true --", "'] ) OR (1=1) --", "') OR access IS NOT NULL --", "\\'", "rh', 'diretoria", "*", "%", "", "\0"],
)
def test_a_role_is_a_name_whatever_is_written_in_it(tmp_path: Path, attack: str) -> None:
    index = Index.open(tmp_path / "index", HashingEmbedder())
    index.update([Document(source="a/secret", text="O segredo da diretoria.", roles=("diretoria",), language="pt")])
    assert index.search("segredo", roles={attack}).passages == ()
    assert index.documents({attack}) == []
    assert len(index.search("segredo", roles={"diretoria"}).passages) == 1
    index.add([Document(source="a/other", text="O segredo do atacante.", roles=(attack,), language="pt")])
    assert [passage.source for passage in index.search("segredo", roles={attack}).passages] == ["a/other"]


def test_a_question_is_words_whatever_is_written_in_it(tmp_path: Path) -> None:
    index = Index.open(tmp_path / "index", HashingEmbedder())
    index.update(
        [
            Document(source="a/open", text="O manual do servidor.", language="pt"),
            Document(source="a/secret", text="O segredo da diretoria.", roles=("diretoria",), language="pt"),
        ]
    )
    hostile = [
        "segredo') OR true --",
        'segredo" OR "',
        "+segredo -manual",
        "segredo*",
        "text:segredo~2",
        "(segredo",
        "\0",
    ]
    for question in [*hostile, "segredo " * 50_000, "\ud800 segredo", "𝔰𝔢𝔤𝔯𝔢𝔡𝔬", "  ", "?!"]:
        assert all(passage.source == "a/open" for passage in index.search(question, roles=set()).passages)


def test_roles_are_asked_for_by_name_and_as_a_collection(tmp_path: Path) -> None:
    index = Index.open(tmp_path / "index", HashingEmbedder())
    with pytest.raises(TypeError, match="roles"):
        index.search("anything")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="collection"):
        index.search("anything", roles="admin")


def test_a_document_for_nobody_is_shown_to_nobody(tmp_path: Path) -> None:
    index = Index.open(tmp_path / "index", HashingEmbedder())
    index.update([Document(source="a/sealed", text="Lacrado.", roles=(), language="pt")])
    assert index.search("lacrado", roles={"admin", PUBLIC}).passages == ()


def test_canonically_equal_spellings_are_one_role_and_other_names_are_others() -> None:
    assert digest("diret\u00f3rio") == digest("direto\u0301rio")
    assert len({digest(role) for role in ROLES}) == len(ROLES)


def test_a_passage_is_opened_only_by_its_readers(leaky: tuple[Index, dict[str, frozenset[str]]]) -> None:
    index, readers = leaky
    for question, roles in questions(20):
        for passage in index.search(question, roles=roles, k=3).passages:
            assert index.passage(passage.chunk_id, roles) is not None
            strangers = frozenset(ROLES) - readers[passage.document_id]
            public = PUBLIC in readers[passage.document_id]
            assert (index.passage(passage.chunk_id, strangers) is not None) == public


class BM25:
    """Robertson and Zaragoza 2009, k1 = 1.2, b = 0.75, over the whole collection."""

    def __init__(self, texts: list[str]) -> None:
        vectorizer = CountVectorizer(token_pattern=r"\S+", lowercase=False)
        counts = vectorizer.fit_transform(texts).tocsc().astype(np.float64)
        self.column = vectorizer.vocabulary_
        lengths = np.asarray(counts.sum(axis=1)).ravel()
        norm = 1.2 * (0.25 + 0.75 * lengths / lengths.mean())
        frequency = np.diff(counts.indptr)
        idf = np.log(1 + (len(texts) - frequency + 0.5) / (frequency + 0.5))
        counts.data *= 2.2 / (counts.data + norm[counts.indices]) * np.repeat(idf, frequency)
        self.weights = counts

    def scores(self, words: list[str]) -> np.ndarray:
        columns = [self.column[word] for word in words if word in self.column]
        return np.asarray(self.weights[:, columns].sum(axis=1)).ravel()
