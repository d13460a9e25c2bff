"""WordPiece vocabularies cut text as transformers' BERT tokenizer cuts it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
from transformers import BertTokenizer

from lavra.errors import LavraError
from lavra.tokens.tokenizer import load_tokenizer
from lavra.tokens.writing import save_vocabulary

ODD = [
    "",
    "Hello, WORLD!",
    "Não há pão às três",
    "naïve café cafe\u0301",
    "中文 text 日本語",
    "a\u0000b\ufffd c\td",
    "unbelievableness " + "x" * 120,
    "[CLS] not a token [SEP]",
]


@pytest.fixture(scope="module")
def vocabulary(pulled: Callable[[str], Path]) -> Path:
    """MiniLM's: 30,522 pieces, those of BERT."""
    return pulled("minilm-l6") / "vocab.txt"


def written(directory: Path, vocabulary: Path, **settings: Any) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "vocab.txt").write_bytes(vocabulary.read_bytes())
    (directory / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", **settings}))
    return directory


SETTINGS: list[dict[str, Any]] = [
    {},
    {"do_lower_case": False},
    {"do_lower_case": True, "strip_accents": False},
    {"do_lower_case": False, "strip_accents": True},
    {"tokenize_chinese_chars": False},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_odd_texts_become_the_ids_of_transformers(tmp_path: Path, vocabulary: Path, settings: dict[str, Any]) -> None:
    directory = written(tmp_path / "x", vocabulary, **settings)
    ours = load_tokenizer(directory)
    judge = BertTokenizer(str(vocabulary), **settings)
    assert [ours.encode(text) for text in ODD] == [judge(text)["input_ids"] for text in ODD]


@pytest.mark.parametrize("settings", SETTINGS[:2], ids=str)
def test_a_thousand_paragraphs_become_the_ids_of_transformers(
    tmp_path: Path, vocabulary: Path, settings: dict[str, Any], paragraphs: list[str]
) -> None:
    ours = load_tokenizer(written(tmp_path / "x", vocabulary, **settings))
    judge = BertTokenizer(str(vocabulary), **settings)
    assert len(paragraphs) == 1000
    assert ours.encode_batch(paragraphs) == judge(paragraphs)["input_ids"]


def test_it_is_the_tokenizer_that_came_with_the_same_model(tmp_path: Path, vocabulary: Path) -> None:
    whole = load_tokenizer(vocabulary.parent)
    ours = load_tokenizer(written(tmp_path / "x", vocabulary))
    assert [ours.encode(text) for text in ODD] == [whole.encode(text) for text in ODD]
    assert ours.special_tokens == whole.special_tokens


def test_it_goes_to_a_directory_and_back_with_its_vocabulary(tmp_path: Path, vocabulary: Path) -> None:
    tokenizer = load_tokenizer(written(tmp_path / "x", vocabulary, do_lower_case=False))
    (tmp_path / "y").mkdir()
    tokenizer.save(tmp_path / "y")
    tokenizer.check(tmp_path / "y")
    save_vocabulary(tokenizer, tmp_path / "y" / "vocab.txt")
    assert (tmp_path / "y" / "vocab.txt").read_bytes() == vocabulary.read_bytes()
    (tmp_path / "y" / "tokenizer.json").unlink()
    tokenizer.check(tmp_path / "y")


def test_it_goes_to_gguf_and_back(tmp_path: Path, vocabulary: Path) -> None:
    tokenizer = load_tokenizer(written(tmp_path / "x", vocabulary))
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "bert")
    for key, value in tokenizer.gguf_fields(30_522).items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    tokenizer.check(tmp_path / "x.gguf")
    again = load_tokenizer(tmp_path / "x.gguf")
    assert [again.encode(text) for text in ODD] == [tokenizer.encode(text) for text in ODD]


def test_gguf_has_no_words_for_one_that_keeps_case(tmp_path: Path, vocabulary: Path) -> None:
    tokenizer = load_tokenizer(written(tmp_path / "x", vocabulary, do_lower_case=False))
    with pytest.raises(LavraError, match="always lowers case"):
        tokenizer.gguf_fields(30_522)


def test_a_vocabulary_without_its_special_tokens_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("hello\nworld\n")
    with pytest.raises(LavraError, match=r"lacks the unk_token '\[UNK\]'"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(LavraError, match="could not be read"):
        load_tokenizer(tmp_path)
