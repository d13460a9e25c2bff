"""A tokenizer from a Hugging Face directory: ``tokenizer.json``, or the older files that it can be made from.

Beside it lie what names its special tokens and the chat template. Older files are a SentencePiece ``.model`` and a
WordPiece ``vocab.txt``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from lavra.errors import LavraError
from lavra.tokens import sentencepiece, wordpiece
from lavra.tokens.chat import ChatTemplate
from lavra.tokens.sentencepiece import surround
from lavra.tokens.tokenizer import Tokenizer

SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
_MOST_EXTRA = 1 << 12


def from_directory(path: Path) -> Tokenizer:
    """Raises LavraError without files that a tokenizer can be made from.

    Special tokens come from ``tokenizer_config.json``, or the older ``special_tokens_map.json``; what ends a
    generation also from ``generation_config.json``, which often lists more than one id. A ``chat_template.jinja``
    goes before the template in the config.
    """
    config = _read(path / "special_tokens_map.json") | _read(path / "tokenizer_config.json")
    special = {name: text for name in SPECIAL if (text := _text(config.get(name)))}
    backend = _backend(path, config, special)
    ids = {name: backend.token_to_id(text) for name, text in special.items()}
    generation = _read(path / "generation_config.json")
    eos = {ids.get("eos_token")}
    listed = generation.get("eos_token_id")
    eos |= set(listed) if isinstance(listed, list) else {listed}
    template = _template(path, config)
    return Tokenizer(
        backend,
        bos_id=ids.get("bos_token"),
        eos_ids=frozenset(index for index in eos if isinstance(index, int)),
        pad_id=ids.get("pad_token"),
        chat_template=ChatTemplate(template, special) if template else None,
        special=special,
        settings=config,
        generation=generation,
    )


def _backend(path: Path, config: Mapping[str, Any], special: dict[str, str]) -> tokenizers.Tokenizer:
    """``special`` gains the names that the older files' tokenizers take for granted."""
    file = path / "tokenizer.json"
    if file.is_file():
        try:
            return tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # tokenizers raises bare Exceptions
            raise LavraError(f"{file} is not a readable tokenizer ({error}); download it again") from error
    for name in _SENTENCEPIECE:
        if (path / name).is_file():
            return _from_sentencepiece(path / name, config, special)
    if (path / "vocab.txt").is_file():
        for name, text in wordpiece.DEFAULTS.items():
            special.setdefault(name, text)
        return wordpiece.build(wordpiece.read_vocabulary(path / "vocab.txt"), special, config)
    raise LavraError(
        f"{path.name} has no tokenizer.json, SentencePiece .model or vocab.txt; save its tokenizer beside it"
    )


def _from_sentencepiece(path: Path, config: Mapping[str, Any], special: dict[str, str]) -> tokenizers.Tokenizer:
    """The kind of tokenizer that the config names decides what stands around a text and which tokens come on top."""
    pieces = sentencepiece.read_sentencepiece(path)
    kind = str(config.get("tokenizer_class", "")).removesuffix("Fast")
    for name, index in (("bos_token", pieces.bos_id), ("eos_token", pieces.eos_id), ("pad_token", pieces.pad_id)):
        if index >= 0:
            special.setdefault(name, pieces.texts[index])
    special.setdefault("unk_token", pieces.texts[pieces.unknown_id])
    if kind in _FAIRSEQ:
        pieces = _in_fairseq_order(pieces)
        for name, text in (("cls_token", "<s>"), ("sep_token", "</s>"), ("mask_token", "<mask>")):
            special.setdefault(name, text)
    backend = sentencepiece.build(pieces)
    if kind == "T5Tokenizer":
        extra = config.get("extra_ids", 100)
        if not isinstance(extra, int) or not 0 <= extra <= _MOST_EXTRA:
            raise LavraError(f"{path.parent.name}: extra_ids is {extra!r}; it must be a small whole number")
        backend.add_tokens([AddedToken(f"<extra_id_{i}>", special=True) for i in reversed(range(extra))])
        special.setdefault("pad_token", "<pad>")
    backend.add_tokens([AddedToken(text, special=True, normalized=False) for text in dict.fromkeys(special.values())])
    before = kind in _FAIRSEQ or config.get("add_bos_token", kind not in ("T5Tokenizer",)) is True
    after = kind in _FAIRSEQ or config.get("add_eos_token", kind in ("T5Tokenizer",)) is True
    bos, eos = special.get("bos_token"), special.get("eos_token")
    surround(backend, bos if before else None, eos if after else None)
    return backend


_FAIRSEQ = ("XLMRobertaTokenizer", "CamembertTokenizer")


def _in_fairseq_order(pieces: sentencepiece.Pieces) -> sentencepiece.Pieces:
    """XLM-R's ids are fairseq's: four tokens of its own before the model's pieces, and a mask after them."""
    first = ["<s>", "<pad>", "</s>", "<unk>"]
    control, unknown = sentencepiece.CONTROL, sentencepiece.UNKNOWN
    return replace(
        pieces,
        texts=[*first, *pieces.texts[3:], "<mask>"],
        scores=[0.0] * 4 + pieces.scores[3:] + [0.0],
        types=[control, control, control, unknown, *pieces.types[3:], control],
        unknown_id=3,
        bos_id=0,
        eos_id=2,
        pad_id=1,
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
