"""Encoder tuning, end to end on a few texts: the artifact, its pedigree, and an index that refuses another embedder."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lavra.cli.tune_options import TuneOptions
from lavra.cli.tuning import tune
from lavra.errors import LavraError
from lavra.inference.classifier import Classifier
from lavra.inference.embedder import Embedder
from lavra.retrieval.index import Index
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


def test_tune_task_classify_learns_calibrates_inside_the_weights_and_shows_what_was_taken_for_what(
    place: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    data = tmp_path / "texts.csv"
    words = {"bom": ("adorei", "excelente", "ótimo"), "ruim": ("odiei", "péssimo", "horrível")}
    rows = [f"{t} {n} {w},{name}" for name, said in words.items() for w in said for n, t in enumerate(THINGS * 3)]
    data.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    asked = TuneOptions(
        data=[data], task="classify", epochs=4, learning_rate=5e-4, context=16, yes=True, track=["none"],
        workspace=place.root,
    )  # fmt: skip
    tune(asked)
    said = capsys.readouterr().out
    done = place.store.get("classifier")
    after = done.manifest.metrics["after"]
    assert after["accuracy"] > after["majority"] + 0.3
    assert f"accuracy {after['accuracy']:.3f}" in said
    assert "alibrat" in said
    assert "| true ↓ | → bom | → ruim |" in said
    assert f"lavra classify {done.id}" in said
    classifier = Classifier.load(str(done.path / "model"))
    assert classifier(["a festa foi excelente", "que coisa horrível"]) == [("bom",), ("ruim",)]
    assert (done.path / "classes.md").read_text("utf-8").count("| bom |") == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"task": "classify"}, "takes one file of texts and labels"),
        ({"task": "classify", "kl": 0.1}, "--kl 0.1 is nothing for --task classify: `lavra tune-classifier --help`"),
        ({"task": "rerank", "together": 2}, "--processes 2 is nothing for --task rerank"),
        ({"task": "embed", "many": True}, "--many True is nothing for --task embed"),
        ({"label": "mood"}, "--label is for labels: add --task classify"),
    ],
)
def test_an_option_that_means_nothing_for_the_task_is_refused(given: dict[str, Any], said: str):
    with pytest.raises(LavraError, match=re.escape(said)):
        tune(TuneOptions(**given))
