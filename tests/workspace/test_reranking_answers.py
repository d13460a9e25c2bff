"""A reranker that lavra.toml names puts in order what is found, and is in the pedigree of every answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lavra.errors import LavraError
from lavra.inference.classifier import Reranker
from lavra.model.new_head import with_head
from lavra.model.weights import load_model
from lavra.model.writing import save_model
from lavra.retrieval.reranking import rerank
from lavra.tokens.tokenizer import load_tokenizer
from lavra.workspace.workspace import Workspace

PUBLIC = frozenset({"public"})
QUESTION = "Em quantos períodos as férias podem ser divididas?"


@pytest.fixture(scope="module")
def place(documents: Path, models: None, tiny_writer: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("reranked")
    (root / "lavra.toml").write_text(f'[models]\ngenerator = "{tiny_writer}"\n', "utf-8")
    here = Workspace.open(root)
    here.ingest([documents])
    here.index()
    return here


@pytest.fixture(scope="module")
def judge(place: Workspace) -> str:
    """An untrained cross-encoder over the embedder, beside lavra.toml: it has an opinion, if no good one."""
    path = place._resolved(place.settings.models.embedder).path
    model = with_head(load_model(path, dtype=torch.float32), "sequence", ("relevance",), seed=0)
    for parameter in model.head.parameters():
        parameter.data.mul_(8)
    save_model(model, place.root / "judge", tokenizer=load_tokenizer(path))
    return "judge"


def using(place: Workspace, **search: object) -> Workspace:
    settings = place.settings
    return Workspace(place.root, settings.model_copy(update={"search": settings.search.model_copy(update=search)}))


def test_the_best_that_are_found_are_in_the_order_of_both(place: Workspace, judge: str) -> None:
    before = place.live_index.search(QUESTION, roles=PUBLIC, k=4)
    there = using(place, reranker=judge, candidates=4, share=0.5)
    after = there.live_index.search(QUESTION, roles=PUBLIC, k=2)
    expected = rerank(Reranker.load(str(place.root / judge)), QUESTION, before.passages, k=2, share=0.5)
    assert [p.chunk_id for p in after.passages] == [p.chunk_id for p in expected]
    assert [p.score for p in after.passages] == pytest.approx([p.score for p in expected], abs=1e-3)
    assert {p.features["fusion"] for p in after.passages} <= {p.score for p in before.passages}
    assert (after.confidence, after.answerable) == (before.confidence, before.answerable)


def test_the_assistant_names_its_reranker_and_how_it_is_used(place: Workspace, judge: str) -> None:
    plain, there = place.assistant(), using(place, reranker=judge)
    without = place.store.get("assistant").manifest
    assert plain.index.reranking is None
    there.assistant()
    manifest = place.store.get("assistant").manifest
    assert manifest.recipe["search"] == {"candidates": 10, "share": 0.25}
    card = place.store.get(manifest.inputs["reranker"])
    assert card.manifest.recipe["sha256"] == there.reranker.model.sha256  # type: ignore[union-attr]
    assert "reranker" not in without.inputs
    assert "search" not in without.recipe


def test_a_model_that_cannot_judge_is_refused_before_anybody_asks(place: Workspace) -> None:
    with pytest.raises(LavraError, match="choose a classifier"):
        using(place, reranker="e5-small-enpt").assistant()
