"""The proof on export catches what is planted: nothing that differs from the model keeps its name on the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from torch import Tensor

from lavra.errors import LavraError
from lavra.model import gguf_writing, proof, writing
from lavra.model.base import Model
from lavra.model.gguf_writing import save_gguf
from lavra.model.weights import load_model
from lavra.model.writing import save_model
from lavra.tokens import writing as token_writing
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(pulled: Callable[[str], Path]) -> Tokenizer:
    return load_tokenizer(pulled("smollm2-135m"))


@pytest.fixture
def model(tmp_path: Path, tokenizer: Tokenizer) -> Model:
    zoo.make("llama", vocab_size=tokenizer.vocabulary_size).save_pretrained(tmp_path / "hf")
    return load_model(tmp_path / "hf", dtype=torch.float32)


def assert_nothing_is_left(directory: Path) -> None:
    assert sorted(path.name for path in directory.iterdir()) == ["hf"]


def write(model: Model, tokenizer: Tokenizer, directory: Path, form: str) -> None:
    if form == "gguf":
        save_gguf(model, tokenizer, directory / "ours.gguf", quantisation="F32", architecture="llama")
    else:
        save_model(model, directory / "ours", family="llama", tokenizer=tokenizer)


both = pytest.mark.parametrize("form", ["hf", "gguf"])


@both
def test_nothing_planted_passes(model: Model, tokenizer: Tokenizer, tmp_path: Path, form: str) -> None:
    write(model, tokenizer, tmp_path, form)
    assert len(list(tmp_path.iterdir())) == 2


@both
def test_one_wrong_weight_is_named(
    model: Model, tokenizer: Tokenizer, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = writing.out

    def faulty(tensor: Tensor, *rest: Any) -> Tensor:
        given = honest(tensor, *rest)
        if given.shape == (80, 48):  # the projections of the MLP
            given = given.clone()
            given[7, 3] += 1e-3
        return given

    monkeypatch.setattr(writing, "out", faulty)
    with pytest.raises(
        LavraError, match=r"nothing was kept: the tensor \S*(gate_proj|ffn_gate)\S* holds other numbers"
    ):
        write(model, tokenizer, tmp_path, form)
    assert_nothing_is_left(tmp_path)


def test_rows_in_another_order_are_caught(
    model: Model, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in llama.cpp's order that was written as if there were none."""
    monkeypatch.setattr(writing, "out", lambda tensor, layout, config: tensor)
    for quantisation in ("F32", "Q8_0"):
        with pytest.raises(LavraError, match=r"attn_[qk]\.weight holds other numbers"):
            save_gguf(model, tokenizer, tmp_path / "x.gguf", quantisation=quantisation, architecture="llama")
    assert_nothing_is_left(tmp_path)


@both
def test_a_wrong_number_in_the_config_is_caught(
    model: Model, tokenizer: Tokenizer, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = gguf_writing if form == "gguf" else writing
    honest = module.choose

    def faulty(*arguments: Any, **options: Any) -> Any:
        kind, family, fields = honest(*arguments, **options)
        key = next(key for key in fields if key.endswith(("rms_norm_eps", "layer_norm_rms_epsilon")))
        return kind, family, {**fields, key: 0.125}

    monkeypatch.setattr(module, "choose", faulty)
    with pytest.raises(LavraError, match=r"norm_epsilon 1e-06, which becomes 0\.125"):
        write(model, tokenizer, tmp_path, form)
    assert_nothing_is_left(tmp_path)


def test_a_template_that_lost_a_space_is_caught(
    model: Model, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = token_writing.save

    def faulty(tokenizer: Tokenizer, directory: Path) -> None:
        honest(tokenizer, directory)
        file = directory / "chat_template.jinja"
        text = file.read_text()
        assert "<|im_end|>' + '\n'" in text or "<|im_end|>" in text
        file.write_text(text.replace("<|im_end|>", "<|im_end|> ", 1))

    monkeypatch.setattr(token_writing, "save", faulty)
    with pytest.raises(LavraError, match="the chat template lays out a conversation differently"):
        save_model(model, tmp_path / "ours", family="llama", tokenizer=tokenizer)
    assert_nothing_is_left(tmp_path)


def test_a_tokenizer_that_lost_a_merge_is_caught(
    model: Model, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Tokenizer.gguf_fields

    def faulty(self: Tokenizer, rows: int) -> dict[str, Any]:
        fields = honest(self, rows)
        fields["tokenizer.ggml.merges"] = [m for m in fields["tokenizer.ggml.merges"] if m != "Ġ t"]
        return fields

    monkeypatch.setattr(Tokenizer, "gguf_fields", faulty)
    with pytest.raises(LavraError, match="becomes other tokens when it is read again"):
        write(model, tokenizer, tmp_path, "gguf")
    assert_nothing_is_left(tmp_path)


def test_a_forgotten_end_of_text_is_caught(
    model: Model, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Tokenizer.gguf_fields
    monkeypatch.setattr(
        Tokenizer,
        "gguf_fields",
        lambda self, rows: {k: v for k, v in honest(self, rows).items() if k != "tokenizer.ggml.eos_token_id"},
    )
    with pytest.raises(LavraError, match="eos_ids is frozenset"):
        write(model, tokenizer, tmp_path, "gguf")
    assert_nothing_is_left(tmp_path)


@both
def test_the_answers_are_compared_too(
    model: Model, tokenizer: Tokenizer, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the comparison of weights itself mistaken, what both models compute would still tell them apart."""
    monkeypatch.setattr(proof, "_compare", lambda *_: None)
    honest = writing.out
    monkeypatch.setattr(writing, "out", lambda tensor, *rest: honest(tensor, *rest) * 1.01)
    with pytest.raises(LavraError, match=r"the (hidden states|logits) differ by 0\.\d+ of their size"):
        write(model, tokenizer, tmp_path, form)
    assert_nothing_is_left(tmp_path)
