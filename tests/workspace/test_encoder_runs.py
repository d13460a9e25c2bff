"""Encoder tuning, end to end on a few texts: the artifact, its pedigree, and an index that refuses another embedder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lavra.errors import LavraError
from lavra.inference.classifier import Classifier
from lavra.inference.embedder import Embedder
from lavra.retrieval.index import Index
from lavra.workspace.encoders.classifier import tune_classifier
from lavra.workspace.encoders.embedder import tune_embedder
from lavra.workspace.encoders.pairs import gather_pairs
from lavra.workspace.encoders.settings import EncoderSettings
from lavra.workspace.workspace import Workspace

THINGS = ("férias", "diárias", "recibos", "viagens", "contratos", "licenças", "reuniões", "compras")


@pytest.fixture
def place(tmp_path: Path, models: None) -> Workspace:
    torch.set_num_threads(1)
    return Workspace.init(tmp_path / "ws")


def test_an_embedder_learns_pairs_and_is_an_artifact_that_an_old_index_refuses(place: Workspace, tmp_path: Path):
    data = tmp_path / "pairs.jsonl"
    rows = [{"question": f"Como pedir {t} no caso {n}?", "passage": f"O setor {n} trata de {t} em {n + 3} dias."}
            for n, t in enumerate(THINGS * 3)]  # fmt: skip
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = EncoderSettings(batch=8, window=24, learning_rate=1e-4)
    done = tune_embedder(place, pairs=data, settings=settings)
    assert done.after["mrr@10"] >= done.before["mrr@10"] - 0.2
    assert place.store.ref("embedder") == done.artifact.id
    base = place.store.get(done.artifact.manifest.inputs["base"])
    assert base.manifest.recipe["name"] == "e5-small-enpt"
    assert (done.artifact.path / "report.md").is_file()
    assert not list((place.store.root / "runs").iterdir())
    tuned = Embedder.load(str(done.path))
    old = place.embedder.queries(["Como pedir férias?"])
    assert 0.2 < float(np.sum(tuned.queries(["Como pedir férias?"]) * old)) < 0.99999
    Index.open(tmp_path / "index", place.embedder)
    with pytest.raises(LavraError, match="was made with the embedder"):
        Index.open(tmp_path / "index", tuned)
    again = tune_embedder(place, pairs=data, settings=settings)
    assert again.artifact.id == done.artifact.id


def test_only_public_documents_are_learned_from_unless_a_role_is_named(place: Workspace, tmp_path: Path):
    root = tmp_path / "docs"
    root.mkdir()
    body = "Um parágrafo bastante longo sobre o assunto, para que dele se possa fazer um par com seu título. "
    for number in range(40):
        (root / f"{number}.md").write_text(f"# Tema {number}\n\n## Parte {number}\n\n{body}{number}\n", "utf-8")
    (root / "lavra-sources.toml").write_text('[[source]]\npath = "7.md"\nroles = ["board"]\n', "utf-8")
    place.ingest([root])
    public, _ = gather_pairs(place, None, None)
    more, _ = gather_pairs(place, None, None, ("board",))
    assert {p.source for p in more} - {p.source for p in public} == {"docs/7.md"}


def test_a_classifier_learns_and_is_calibrated_inside_its_weights(place: Workspace, tmp_path: Path):
    data = tmp_path / "texts.csv"
    words = {"bom": ("adorei", "excelente", "ótimo"), "ruim": ("odiei", "péssimo", "horrível")}
    rows = [f"{t} {n} {w},{name}" for name, said in words.items() for w in said for n, t in enumerate(THINGS * 3)]
    data.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    settings = EncoderSettings(epochs=2, batch=16, learning_rate=5e-4, window=16)
    done = tune_classifier(place, data, settings=settings)
    assert done.after["accuracy"] > done.after["majority"] + 0.3
    classifier = Classifier.load(str(done.path))
    assert classifier(["a festa foi excelente", "que coisa horrível"]) == [("bom",), ("ruim",)]
    assert (done.artifact.path / "classes.md").read_text("utf-8").count("| bom |") == 2
