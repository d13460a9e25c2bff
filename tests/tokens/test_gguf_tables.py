"""What a GGUF's tokenizer tables may say, and how those that cannot be rebuilt are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import pytest
from tokenizers.pre_tokenizers import ByteLevel

from lavra.errors import LavraError
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer

LETTERS = sorted(ByteLevel.alphabet())
MERGES = ["a b", "ab c", "1 2", "12 3", "Ġ a"]


def write(path: Path, **changes: Any) -> Path:
    fields: dict[str, Any] = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": [*LETTERS, "ab", "abc", "12", "123", "Ġa", "<s>", "</s>", "<tool>"],
        "token_type": [1] * (len(LETTERS) + 5) + [3, 3, 4],
        "merges": MERGES,
        "bos_token_id": len(LETTERS) + 5,
        "eos_token_id": len(LETTERS) + 6,
    } | changes
    writer = gguf.GGUFWriter(path, "llama")
    for name, value in fields.items():
        key = f"tokenizer.ggml.{name}"
        if isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif value is not None:
            writer.add_string(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.backend.id_to_token(index) for index in tokenizer.encode(text)]


def test_merges_control_tokens_and_bos(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(write(tmp_path / "x.gguf", add_bos_token=True))
    assert pieces(tokenizer, "abc a<tool></s>") == ["<s>", "abc", "Ġa", "<tool>", "</s>"]
    assert tokenizer.decode(tokenizer.encode("abc a<tool></s>")) == "abc a<tool>"
    assert "</s>" not in [
        tokenizer.backend.id_to_token(index) for index in tokenizer.encode("abc</s>", parse_special=False)
    ]


@pytest.mark.parametrize(
    ("pre", "text", "expected"),
    [
        ("gpt-2", "123", ["123"]),
        ("smollm", "123", ["1", "2", "3"]),
        ("qwen2", "123", ["1", "2", "3"]),
        ("llama-bpe", "1231", ["123", "1"]),
    ],
)
def test_the_pre_tokenizer_decides_how_numbers_are_cut(
    tmp_path: Path, pre: str, text: str, expected: list[str]
) -> None:
    assert pieces(load_tokenizer(write(tmp_path / "x.gguf", pre=pre)), text) == expected


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"pre": "tekken"}, "wants the pre-tokenizer 'tekken'; Lavra knows gpt-2"),
        ({"pre": None}, "lacks the metadata key tokenizer.ggml.pre"),
        ({"model": "rwkv"}, "of kind 'rwkv'"),
        ({"model": "llama"}, "lacks the metadata key tokenizer.ggml.scores"),
        ({"model": "llama", "scores": [0.5]}, "contradict each other"),
        ({"tokens": [*LETTERS, "ab", "ab", "12", "123", "Ġa", "<s>", "</s>", "<tool>"]}, "lists a token twice"),
        ({"tokens": [*LETTERS, "ab", "abc", "12", "123", "Ġa", "<s>", "</s>"]}, "do not match"),
        ({"merges": ["a zz"]}, "contradict each other"),
        ({"merges": ["a"]}, "contradict each other"),
        ({"eos_token_id": 10**6}, "outside a vocabulary"),
        ({"tokens": "no list"}, "unexpected type"),
    ],
)
def test_tables_that_cannot_be_rebuilt_are_refused(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LavraError, match=sentence):
        load_tokenizer(write(tmp_path / "x.gguf", **changes))
