"""Tokenizers rebuilt from a model's own files give the ids of the tokenizer the model was trained with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from lavra.errors import LavraError
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer


@pytest.fixture(scope="module")
def smollm2_path(pulled: Callable[[str], Path]) -> Path:
    return pulled("smollm2-135m")


@pytest.fixture(scope="module")
def smollm2(smollm2_path: Path) -> Tokenizer:
    return load_tokenizer(smollm2_path)


@pytest.fixture(scope="module")
def transformers_smollm2(smollm2_path: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(smollm2_path.parent, gguf_file=smollm2_path.name)


def test_ids_on_a_thousand_paragraphs_are_those_of_transformers(
    smollm2: Tokenizer, transformers_smollm2: Any, paragraphs: list[str]
) -> None:
    """transformers rebuilds the same tables but leaves out the file's pre-tokenizer, which parts digits first (both
    the published tokenizer and llama.cpp do), so it differs where several blanks stand before a digit. Given that one
    step it agrees everywhere; as it comes, everywhere else."""
    ours = smollm2.encode_batch(paragraphs, add_special_tokens=False)
    as_it_comes = transformers_smollm2(paragraphs, add_special_tokens=False)["input_ids"]
    blanks_before_digit = re.compile(r"\s\s\d")
    for text, mine, theirs in zip(paragraphs, ours, as_it_comes, strict=True):
        assert mine == theirs or blanks_before_digit.search(text)

    backend = transformers_smollm2.backend_tokenizer
    byte_level = backend.pre_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    try:
        theirs = transformers_smollm2(paragraphs, add_special_tokens=False)["input_ids"]
    finally:
        backend.pre_tokenizer = byte_level
    assert ours == theirs


def test_decoding_gives_the_text_back(smollm2: Tokenizer, paragraphs: list[str]) -> None:
    for text in paragraphs[:300]:
        assert smollm2.decode(smollm2.encode(text)) == text


def test_special_ids_are_the_files(smollm2: Tokenizer) -> None:
    assert smollm2.eos_ids == {smollm2.backend.token_to_id("<|im_end|>")}
    assert smollm2.bos_id == smollm2.backend.token_to_id("<|im_start|>")
    assert smollm2.vocabulary_size == 49_152
    assert "<|im_end|>" in smollm2.special_tokens


def test_minilm_gives_the_ids_of_transformers(pulled: Callable[[str], Path], paragraphs: list[str]) -> None:
    from transformers import AutoTokenizer

    path = pulled("minilm-l6")
    # Its file asks for a cut at 128 tokens: silent truncation is exactly what a tokenizer here must not do.
    expected = AutoTokenizer.from_pretrained(path)(paragraphs[:200])["input_ids"]
    assert load_tokenizer(path).encode_batch(paragraphs[:200]) == expected


def test_e5_pieces_are_those_of_its_normalisation(pulled: Callable[[str], Path]) -> None:
    e5 = load_tokenizer(pulled("e5-small-enpt"))

    def pieces(text: str) -> list[str]:
        return [e5.backend.id_to_token(index) for index in e5.encode(text)]

    assert pieces("Olá, mundo") == ["<s>", "▁Olá", ",", "▁mundo", "</s>"]
    # Runs of blanks, tabs, zero-width and control characters, compatibility forms, accents typed apart: all one text.
    assert e5.encode("Ola\u0301,\t \u200b mun\x01do ") == e5.encode("Olá, mundo")
    assert e5.encode("ﬁm ①") == e5.encode("fim 1")
    assert e5.encode("", add_special_tokens=True) == [e5.bos_id, *e5.eos_ids]


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=30))
def test_a_stream_is_the_whole_text_and_never_half_a_character(smollm2: Tokenizer, text: str) -> None:
    ids = smollm2.encode(text, parse_special=False)
    stream = smollm2.stream()
    given = [stream.push(index) for index in ids]
    if smollm2.decode(ids) == text and "\ufffd" not in text:  # the vocabulary lacks some bytes, F1 for one
        assert not any("\ufffd" in part for part in given)
    assert "".join(given) + stream.flush() == smollm2.decode(ids)


@settings(max_examples=200, deadline=None)
@given(ids=st.lists(st.integers(0, 49_151), max_size=80))
def test_a_stream_of_any_ids_ends_as_decoding_them_at_once(smollm2: Tokenizer, ids: list[int]) -> None:
    """A model may produce bytes that are no UTF-8 at all."""
    stream = smollm2.stream()
    assert "".join(map(stream.push, ids)) + stream.flush() == smollm2.decode(ids)


def test_a_long_stream_costs_the_same_at_its_end(smollm2: Tokenizer) -> None:
    stream = smollm2.stream()
    for index in smollm2.encode("A água é um recurso escasso. 🌊 " * 400):
        stream.push(index)
    assert len(stream._ids) <= 32


def test_a_directory_says_what_ends_a_generation(pulled: Callable[[str], Path], tmp_path: Path) -> None:
    source = load_tokenizer(pulled("minilm-l6"))
    source.backend.save(str(tmp_path / "tokenizer.json"))
    config = {"eos_token": {"content": "[SEP]"}, "pad_token": "[PAD]", "chat_template": "{{ messages[0].content }}"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 7]}))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.eos_ids == {source.backend.token_to_id("[SEP]"), 5, 7}
    assert tokenizer.pad_id == source.backend.token_to_id("[PAD]")
    assert tokenizer.render([{"role": "user", "content": "x"}]) == "x"
    (tmp_path / "chat_template.jinja").write_text("file: {{ messages[0].content }}{{ eos_token }}")
    assert load_tokenizer(tmp_path).render([{"role": "user", "content": "x"}]) == "file: x[SEP]"


def test_files_that_hold_no_tokenizer_end_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LavraError, match="no tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(LavraError, match="not a readable tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "x.bin").write_bytes(b"what")
    with pytest.raises(LavraError, match="holds no tokenizer"):
        load_tokenizer(tmp_path / "x.bin")
    with pytest.raises(LavraError, match="no model at"):
        load_tokenizer(tmp_path / "gone")
