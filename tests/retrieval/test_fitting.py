"""A fusion fitted on one's own questions puts their answers higher than the one that it started from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hashing_embedder import HashingEmbedder

from lavra.corpus.document import Document
from lavra.errors import LavraError
from lavra.retrieval.features import FEATURES
from lavra.retrieval.fitting import fit_fusion
from lavra.retrieval.fusion import Fusion
from lavra.retrieval.index import Index

BACKWARDS = Fusion(
    FEATURES,
    np.zeros(len(FEATURES)),
    np.ones(len(FEATURES)),
    np.array([-1.0 if name.startswith("coverage") else 0.0 for name in FEATURES]),
    0.0,
)
"""Prefers the passage that holds the fewest of the question's words."""


@pytest.fixture
def index(tmp_path: Path) -> Index:
    index = Index.open(tmp_path / "index", HashingEmbedder(), fusion=BACKWARDS)
    things = ["férias", "licença", "diária", "promoção", "estágio", "aposentadoria"]
    index.update(
        [
            Document(source=f"rh/{thing}-{i}", text=f"A regra {i} sobre {thing} do órgão {i * 13}.", language="pt")
            for thing in things
            for i in range(20)
        ]
    )
    return index


def right_at_first(index: Index, questions: list[tuple[str, set[str]]]) -> float:
    return float(np.mean([index.search(q, roles=set(), k=1).passages[0].source in answers for q, answers in questions]))


def test_fitting_on_own_questions_puts_their_answers_first(index: Index) -> None:
    training = [(f"qual a regra {i} sobre férias", {f"rh/férias-{i}"}) for i in range(20)]
    held_out = [(f"qual a regra {i} sobre licença", {f"rh/licença-{i}"}) for i in range(20)]
    assert right_at_first(index, held_out) < 0.3
    fitted = fit_fusion(index, training, strength=0.1)
    index.fusion = fitted
    assert right_at_first(index, held_out) > 0.9
    assert fitted.training["questions"] == 20


def test_answers_may_be_named_by_source_document_or_passage(index: Index) -> None:
    passage = index.search("regra 3 sobre férias", roles=set(), k=1).passages[0]
    weights = [
        fit_fusion(index, [("regra 3 sobre férias", {name})]).weights
        for name in (passage.source, passage.document_id, passage.chunk_id)
    ]
    np.testing.assert_allclose(weights[0], weights[1])
    np.testing.assert_allclose(weights[0], weights[2])


def test_questions_without_findable_answers_are_refused(index: Index) -> None:
    with pytest.raises(LavraError, match="none of the questions"):
        fit_fusion(index, [("regra 3 sobre férias", {"rh/unknown"})])
    with pytest.raises(LavraError, match="none of the questions"):
        fit_fusion(index, [])


def test_what_the_fusion_saw_is_told_with_each_passage(index: Index) -> None:
    passage = index.search("regra 3 sobre férias", roles=set(), k=1).passages[0]
    assert set(FEATURES) | {"bm25", "cosine"} <= set(passage.features)
    seen = np.array([[passage.features[name] for name in FEATURES]])
    assert index.fusion.predict(seen)[0] == pytest.approx(passage.score)


def test_below_its_threshold_nothing_is_good_enough_to_answer_from(index: Index) -> None:
    index.fusion = replace(index.fusion, threshold=0.0)
    assert index.search("regra 3 sobre férias", roles=set()).answerable
    index.fusion = replace(index.fusion, threshold=1.0)
    result = index.search("regra 3 sobre férias", roles=set())
    assert not result.answerable
    assert result.confidence == result.passages[0].score


def test_what_says_whether_to_answer_is_kept_with_a_threshold_of_ones_own(index: Index) -> None:
    shipped = Fusion.load()
    index.fusion = replace(index.fusion, acceptance=shipped.acceptance)
    training = [(f"qual a regra {i} sobre férias", {f"rh/férias-{i}"}) for i in range(20)]
    fitted = fit_fusion(index, training, strength=0.1)
    assert fitted.acceptance == shipped.acceptance
    index.fusion = fitted
    refused = [not index.search(question, roles=set()).answerable for question, _ in training]
    assert np.mean(refused) == pytest.approx(0.1, abs=0.051)
