"""A tokenizer as the files that transformers reads: ``tokenizer.json`` and what lies beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lavra.errors import LavraError
from lavra.tokens.tokenizer import Tokenizer

_ELSEWHERE = ("chat_template", "added_tokens_decoder", "extra_ids")  # in files of their own, or in tokenizer.json


def save(tokenizer: Tokenizer, directory: Path) -> None:
    """``tokenizer.json``, ``tokenizer_config.json``, ``special_tokens_map.json``, where it has one
    ``chat_template.jinja``, and where it can end a text ``generation_config.json``."""
    (directory / "tokenizer.json").write_text(tokenizer.backend.to_str(pretty=True), "utf-8")
    kept = {name: value for name, value in tokenizer.settings.items() if name not in _ELSEWHERE}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **kept}
    _dump(directory / "tokenizer_config.json", settings | tokenizer.special)
    _dump(directory / "special_tokens_map.json", tokenizer.special)
    if tokenizer.chat_template is not None:
        (directory / "chat_template.jinja").write_bytes(tokenizer.chat_template.source.encode())
    if tokenizer.eos_ids:
        _dump(directory / "generation_config.json", tokenizer.generation | tokenizer.token_ids())


def save_vocabulary(tokenizer: Tokenizer, path: Path) -> None:
    """A WordPiece tokenizer's ``vocab.txt``. Raises LavraError for one of another kind."""
    if json.loads(tokenizer.backend.to_str())["model"]["type"] != "WordPiece":
        raise LavraError("only a WordPiece tokenizer has a vocab.txt; this one is whole in tokenizer.json")
    by_id = sorted((index, text) for text, index in tokenizer.backend.get_vocab().items())
    path.write_text("".join(f"{text}\n" for _, text in by_id), "utf-8")


def _dump(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
