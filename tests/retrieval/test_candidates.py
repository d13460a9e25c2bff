"""Every candidate has both scores, whichever search found it and however few scores the first query gave."""

from __future__ import annotations

import numpy as np
import pytest
from hashing_embedder import HashingEmbedder

from lavra.corpus.document import PUBLIC, Document
from lavra.retrieval import candidates
from lavra.retrieval.access import readable_by
from lavra.retrieval.candidates import Candidate, find_candidates
from lavra.retrieval.index import Index
from lavra.retrieval.snapshot import matrix

STEMS = "alfa3 beta7 gama2 gama5"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    index = Index.open(tmp_path_factory.mktemp("candidates"), HashingEmbedder())
    texts = [f"alfa{i % 50} beta{i % 31} gama{i % 9} " + "delta " * (i % 4) for i in range(400)]
    index.update([Document(source=f"v/{i}", text=text, language="und") for i, text in enumerate(texts)])
    return index


def found(index: Index) -> list[Candidate]:
    vector = index.embedder.queries([STEMS])[0]
    return find_candidates(index._snapshot(), STEMS, vector, readable_by({PUBLIC}), depth=20)


def test_scores_are_the_same_whether_the_first_query_gave_them_or_a_look_up(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {each.chunk_id: each.bm25 for each in found(index)}
    monkeypatch.setattr(candidates, "SCORED", 20)
    looked_up = found(index)
    by_dense_alone = [each for each in looked_up if each.lexical_rank is None and each.bm25 > 0]
    assert by_dense_alone, "no candidate needed a look-up"
    for each in by_dense_alone:
        assert each.bm25 == pytest.approx(whole[each.chunk_id], rel=1e-5)


def test_each_half_is_its_own_best_in_order(index: Index) -> None:
    both = found(index)
    lexical = [each.bm25 for each in both if each.lexical_rank is not None]
    assert lexical == sorted(lexical, reverse=True)
    assert len(lexical) == 20

    rows = index._snapshot().read(["chunk_id", "vector"])
    cosine = matrix(rows["vector"]) @ index.embedder.queries([STEMS])[0]
    exact = dict(zip(rows["chunk_id"].to_pylist(), cosine.tolist(), strict=True))
    dense = sorted((each for each in both if each.dense_rank is not None), key=lambda each: each.dense_rank or 0)
    assert [each.cosine for each in dense] == pytest.approx(np.sort(cosine)[::-1][:20].tolist(), abs=1e-5)
    assert all(each.cosine == pytest.approx(exact[each.chunk_id], abs=1e-5) for each in both)


def test_without_stems_only_the_vectors_speak(index: Index) -> None:
    vector = index.embedder.queries(["alfa3"])[0]
    alone = find_candidates(index._snapshot(), "", vector, readable_by({PUBLIC}), depth=5)
    assert [each.dense_rank for each in alone] == [1, 2, 3, 4, 5]
    assert all(each.bm25 == 0 and each.lexical_rank is None for each in alone)
