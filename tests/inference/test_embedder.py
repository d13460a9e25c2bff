"""The embedder against sentence-transformers, on real texts of real languages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lavra.errors import LavraError
from lavra.inference.embedder import Embedder, batches, read_recipe
from lavra.model import quick_encoder
from lavra.model.hub import ResolvedModel, resolve
from lavra.model.packing import _available

TEXTS = [
    "The lighthouse keeper wrote the weather into a book every morning.",
    "",
    "A previsão do tempo para amanhã é de chuva fraca no litoral.",
    "¿Dónde está la biblioteca?",
    "word " * 900,
    "One.",
    "Ünïcödé, 東京, and a tab\there",
    "The tide tables were printed in Lisbon and sold in every harbour of the coast. " * 6,
] + [f"Paragraph {number}: " + "the sea was calm and " * number for number in range(1, 24)]


@pytest.fixture(scope="module")
def minilm(pulled: Callable[[str], Path]) -> Path:
    return pulled("minilm-l6")


@pytest.fixture(scope="module")
def expected(minilm: Path) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(minilm), device="cpu")
    return np.asarray(model.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False))


@pytest.mark.parametrize(("dtype", "cosine"), [(torch.float32, 0.99999), (torch.bfloat16, 0.999)])
def test_vectors_are_those_of_sentence_transformers(
    minilm: Path, expected: np.ndarray, dtype: torch.dtype, cosine: float
) -> None:
    found = Embedder.load("minilm-l6", dtype=dtype).documents(TEXTS)
    assert found.dtype == np.float32
    assert found.shape == (len(TEXTS), 384)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    assert (found * expected).sum(1).min() >= cosine


def test_many_documents_are_read_quickly_and_alike(
    minilm: Path, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    if not _available():
        pytest.skip("PyTorch has no oneDNN bf16 kernels here")
    monkeypatch.setattr(quick_encoder, "bf16_in_vectors", lambda: True)
    embedder = Embedder.load("minilm-l6", dtype=torch.bfloat16)
    few = embedder.documents(TEXTS)
    assert "_quick" not in vars(embedder)  # not loaded for so few
    monkeypatch.setattr("lavra.inference.embedder.MANY_TOKENS", 1)
    many, asked = embedder.documents(TEXTS), embedder.queries(TEXTS)
    assert embedder._quick is not None
    assert (many * expected).sum(1).min() >= 0.9995
    assert np.array_equal(asked, few)  # questions are not read so: they are few, and wait for their answer


def test_a_text_has_one_vector_whatever_it_is_batched_with(minilm: Path) -> None:
    embedder = Embedder.load("minilm-l6", dtype=torch.float32)
    together = embedder.documents(TEXTS)
    alone = np.concatenate([embedder.documents([text]) for text in TEXTS])
    assert np.abs(together - alone).max() < 1e-5


def test_e5_gets_the_prefix_it_was_trained_with(pulled: Callable[[str], Path]) -> None:
    pulled("e5-small-enpt")
    embedder = Embedder.load("e5-small-enpt")
    assert embedder.dimension == 384
    text = "O prazo é de trinta dias."
    bare = Embedder(embedder._model, embedder._tokenizer, read_recipe(_without_prompts("e5-small-enpt"), 512))
    assert np.array_equal(embedder.queries([text]), bare.documents(["query: " + text]))
    assert np.array_equal(embedder.documents([text]), bare.documents(["passage: " + text]))


def _without_prompts(name: str) -> ResolvedModel:
    found = resolve(name)
    return ResolvedModel(found.name, found.reference, found.path, found.sha256, found.licence, "gguf", found.kind)


def test_a_question_finds_its_passage_in_both_languages(pulled: Callable[[str], Path]) -> None:
    pulled("e5-small-enpt")
    embedder = Embedder.load("e5-small-enpt")
    passages = [
        "O reembolso é pago em até trinta dias após o cancelamento.",
        "Cats sleep for about sixteen hours a day.",
        "O barômetro mede a pressão do ar.",
        "The toll on the bridge was abolished in 1911.",
    ]
    questions = [
        "Em quantos dias recebo meu dinheiro de volta?",
        "How long does a cat rest?",
        "Que instrumento diz a pressão atmosférica?",
        "When did crossing the bridge become free?",
    ]
    assert (embedder.queries(questions) @ embedder.documents(passages).T).argmax(1).tolist() == [0, 1, 2, 3]


def test_no_text_gives_no_vector(minilm: Path) -> None:
    embedder = Embedder.load("minilm-l6")
    assert embedder.documents([]).shape == (0, 384)
    assert embedder.queries([]).dtype == np.float32


def test_one_string_is_not_taken_for_a_list_of_letters(minilm: Path) -> None:
    with pytest.raises(TypeError, match="a list of texts"):
        Embedder.load("minilm-l6").documents("text")


def test_a_text_beyond_the_window_is_cut_there_and_counted_whole(minilm: Path) -> None:
    embedder = Embedder.load("minilm-l6", dtype=torch.float32)
    assert embedder.window == 256  # what sentence_bert_config.json says, not the 512 of the model
    long, longer = "sea " * 254, "sea " * 254 + "desert " * 50
    assert np.abs(embedder.documents([long]) - embedder.documents([longer])).max() < 1e-6
    assert embedder.count_tokens([long, longer]) == [256, 306]


def test_control_tokens_typed_in_a_text_are_characters(minilm: Path) -> None:
    embedder = Embedder.load("minilm-l6")
    assert embedder.count_tokens(["a [SEP] b"]) > embedder.count_tokens(["a sep b"])


def test_a_decoder_is_refused(pulled: Callable[[str], Path]) -> None:
    pulled("smollm2-135m")
    with pytest.raises(LavraError, match="is a decoder, which writes; choose an encoder"):
        Embedder.load("smollm2-135m")


def test_the_recipe_is_read_from_the_models_own_files(tmp_path: Path) -> None:
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 128}))
    prompts = {"query": "search: ", "passage": "text: "}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    found = ResolvedModel("m", "m", tmp_path, "", "MIT", "safetensors", "encoder")
    recipe = read_recipe(found, 512)
    assert (recipe.window, recipe.pooling, recipe.prompts) == (128, "cls", {"query": "search: ", "document": "text: "})
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_weightedmean_tokens": True}))
    with pytest.raises(LavraError, match="pools by pooling_mode_weightedmean_tokens"):
        read_recipe(found, 512)


@given(st.lists(st.integers(1, 600), max_size=60), st.integers(1, 2048))
def test_batches_hold_every_text_once_and_no_more_tokens_than_allowed(lengths: list[int], tokens: int) -> None:
    groups = list(batches(lengths, tokens))
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or max(lengths[index] for index in group) * len(group) <= tokens
