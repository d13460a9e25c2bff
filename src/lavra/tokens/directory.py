"""A tokenizer from a Hugging Face directory: ``tokenizer.json``, and beside it what names its special tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers

from lavra.errors import LavraError
from lavra.tokens.chat import ChatTemplate
from lavra.tokens.tokenizer import Tokenizer

_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def from_directory(path: Path) -> Tokenizer:
    """Raises LavraError without a readable ``tokenizer.json``.

    Special tokens come from ``tokenizer_config.json``, or the older ``special_tokens_map.json``; what ends a
    generation also from ``generation_config.json``, which often lists more than one id. A ``chat_template.jinja``
    goes before the template in the config.
    """
    file = path / "tokenizer.json"
    if not file.is_file():
        raise LavraError(f"{path.name} has no tokenizer.json; save the tokenizer with its fast version")
    try:
        backend = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises bare Exceptions
        raise LavraError(f"{file} is not a readable tokenizer ({error}); download it again") from error
    config = _read(path / "special_tokens_map.json") | _read(path / "tokenizer_config.json")
    special = {name: text for name in _SPECIAL if (text := _text(config.get(name)))}
    ids = {name: backend.token_to_id(text) for name, text in special.items()}
    eos = {ids.get("eos_token")}
    listed = _read(path / "generation_config.json").get("eos_token_id")
    eos |= set(listed) if isinstance(listed, list) else {listed}
    template = _template(path, config)
    return Tokenizer(
        backend,
        bos_id=ids.get("bos_token"),
        eos_ids=frozenset(index for index in eos if isinstance(index, int)),
        pad_id=ids.get("pad_token"),
        chat_template=ChatTemplate(template, special) if template else None,
    )


def _read(path: Path) -> dict[str, Any]:
    """A JSON object, or nothing where the file is absent."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LavraError(f"{path} is not readable JSON ({error}); download it again") from error
    return value if isinstance(value, dict) else {}


def _text(token: Any) -> str | None:
    """A special token is written as its text or as an object with ``content``."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _template(path: Path, config: dict[str, Any]) -> str | None:
    file = path / "chat_template.jinja"
    if file.is_file():
        try:
            return file.read_text("utf-8")
        except (OSError, ValueError) as error:
            raise LavraError(f"{file} could not be read ({error}); download it again") from error
    template = config.get("chat_template")
    if isinstance(template, list):  # several, by name
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None
