"""A tokenizer as the tables of a GGUF file; ``gguf.py`` is the way back.

A ``tokenizers`` object describes how it cuts text; a GGUF can only name one of a few ways. So the description is
compared with what each name stands for, and where none does, writing is refused.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import tokenizers
from tokenizers import models

from lavra.errors import LavraError
from lavra.tokens.gguf import COMPOSED, PRE_TOKENIZERS, WHOLE_WORDS_FIRST
from lavra.tokens.sentencepiece import BYTE, CONTROL, NORMAL, SPACE, UNKNOWN, UNUSED, USER_DEFINED
from lavra.tokens.tokenizer import Tokenizer

Described = dict[str, Any]


def gguf_fields(tokenizer: Tokenizer, rows: int) -> dict[str, Any]:
    """Keys and values for a model whose embedding has ``rows`` rows; rows without a token get one that is unused.

    Raises LavraError for a tokenizer that GGUF has no words for.
    """
    described: Described = json.loads(tokenizer.backend.to_str())
    texts, types = _tokens(tokenizer, described, rows)
    kind = described["model"]["type"]
    if kind == "BPE" and _spells_spaces(described):
        fields = _llama(described, texts)
    elif kind == "BPE":
        fields = _byte_level(described)
    elif kind == "Unigram":
        fields = _unigram(described, texts)
    elif kind == "WordPiece":
        fields, texts = _wordpiece(described, texts, types)
    else:
        raise LavraError(f"GGUF has no words for a tokenizer of kind {kind}; write format hf instead")
    fields |= {"tokens": texts, "token_type": types} | _named(tokenizer, _unknown(described))
    found = {f"tokenizer.ggml.{key}": value for key, value in fields.items()}
    if tokenizer.chat_template is not None:
        found["tokenizer.chat_template"] = tokenizer.chat_template.source
    return found


def _tokens(tokenizer: Tokenizer, described: Described, rows: int) -> tuple[list[str], list[int]]:
    """Texts and types by id."""
    by_id = {index: text for text, index in tokenizer.backend.get_vocab(with_added_tokens=True).items()}
    if max(by_id, default=0) >= rows:
        raise LavraError(f"the tokenizer has the id {max(by_id)}, for which a model of {rows} embeddings has no row")
    texts = [by_id.get(index, f"[PAD{index}]") for index in range(rows)]
    types = [NORMAL if index in by_id else UNUSED for index in range(rows)]
    if described["model"].get("byte_fallback"):
        for index, text in by_id.items():
            if len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
                types[index] = BYTE
    if (unknown := _unknown(described)) is not None:
        types[unknown] = UNKNOWN
    for token in described["added_tokens"]:
        types[token["id"]] = CONTROL if token["special"] else USER_DEFINED
    return texts, types


def _unknown(described: Described) -> int | None:
    """The id of what stands for unknown characters."""
    model = described["model"]
    if model.get("unk_id") is not None:
        return model["unk_id"]
    return model["vocab"].get(model.get("unk_token")) if isinstance(model["vocab"], dict) else None


def _named(tokenizer: Tokenizer, unknown: int | None) -> dict[str, Any]:
    """Ids of the tokens that mean something, and which of them stand around every text."""
    spelled = {"unk_token": "unknown", "sep_token": "seperator", "cls_token": "cls", "mask_token": "mask"}
    ids = {key: tokenizer.backend.token_to_id(tokenizer.special.get(name, "")) for name, key in spelled.items()}
    if ids["unknown"] is None:
        ids["unknown"] = unknown
    first = tokenizer.eos_id
    others = sorted(tokenizer.eos_ids - {first})
    if len(others) > 2:
        raise LavraError(
            "GGUF names three tokens that end a text, and this tokenizer has more; write format hf instead"
        )
    ids |= {"bos": tokenizer.bos_id, "eos": first, "padding": tokenizer.pad_id}
    ids |= dict(zip(("eot", "eom"), others, strict=False))
    bare, whole = tokenizer.encode("a", False), tokenizer.encode("a")
    before, after = whole[: len(whole) - len(bare)], whole[len(bare) :]
    around = {
        "add_bos_token": tokenizer.bos_id is not None and whole[:1] == [tokenizer.bos_id] and before != [],
        "add_eos_token": first is not None and whole[-1:] == [first] and after != [],
    }
    return {f"{key}_token_id": index for key, index in ids.items() if index is not None} | around


def _byte_level(described: Described) -> dict[str, Any]:
    """Byte-level BPE, with the name of how it cuts text before merging."""
    ignores = bool(described["model"].get("ignore_merges"))
    cut = _cut(described["pre_tokenizer"])
    for name, make in PRE_TOKENIZERS.items():
        other = tokenizers.Tokenizer(models.BPE())
        other.pre_tokenizer = make()
        composed = (described["normalizer"] or {}).get("type") == "NFC"
        same = cut == _cut(json.loads(other.to_str())["pre_tokenizer"])
        if same and (name in WHOLE_WORDS_FIRST) == ignores and (name in COMPOSED) == composed:
            return {"model": "gpt2", "pre": name, "merges": _merges(described)}
    raise LavraError("GGUF has no name for how this tokenizer cuts text before merging; write format hf instead")


def _merges(described: Described) -> list[str]:
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in described["model"]["merges"]]


def _cut(step: Any) -> list[Any]:
    """A pre-tokenizer as its steps, without what only offsets depend on."""
    if not step:
        return []
    if step["type"] == "Sequence":
        return [part for inner in step["pretokenizers"] for part in _cut(inner)]
    return [{key: value for key, value in step.items() if key != "trim_offsets"}]


def _spells_spaces(described: Described) -> bool:
    """Whether spaces are spelled as SentencePiece does."""
    steps = _steps(described["normalizer"]) + _cut(described["pre_tokenizer"])
    return any(step["type"] == "Metaspace" or step.get("content") == SPACE for step in steps)


def _steps(step: Any) -> list[Any]:
    if not step:
        return []
    return step["normalizers"] if step["type"] == "Sequence" else [step]


def _space_fields(described: Described) -> dict[str, Any]:
    """What becomes of spaces. Raises LavraError for a step that GGUF has no words for."""
    prefix, collapses, charsmap = False, False, b""
    for step in _steps(described["normalizer"]):
        kind, pattern = step["type"], step.get("pattern", {})
        if kind == "Prepend":
            prefix = True
        elif kind == "Precompiled":
            charsmap = base64.b64decode(step["precompiled_charsmap"])
        elif kind == "Replace" and pattern in ({"Regex": " {2,}"}, {"Regex": " {2,}"}):
            collapses = True
        elif kind != "Strip" and not (kind == "Replace" and pattern == {"String": " "}):
            raise LavraError(f"GGUF has no words for the normaliser {kind} of this tokenizer; write format hf instead")
    for step in _cut(described["pre_tokenizer"]):
        if step["type"] == "Metaspace":
            prefix = step.get("prepend_scheme", "always") != "never"
        elif step["type"] not in ("Split", "WhitespaceSplit"):
            raise LavraError(
                f"GGUF has no words for the step {step['type']} of this tokenizer; write format hf instead"
            )
    fields = {"add_space_prefix": prefix, "remove_extra_whitespaces": collapses}
    return fields | ({"precompiled_charsmap": charsmap} if charsmap else {})


def _llama(described: Described, texts: list[str]) -> dict[str, Any]:
    """SentencePiece's BPE: a piece's score is its place among the merges, from the best down."""
    ranks: dict[str, int] = {}
    for merge in described["model"]["merges"]:
        left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
        ranks.setdefault(left + right, len(ranks))
    scores = [-float(ranks.get(text, len(ranks) + index)) for index, text in enumerate(texts)]
    return {"model": "llama", "pre": "default", "scores": scores} | _space_fields(described)


def _unigram(described: Described, texts: list[str]) -> dict[str, Any]:
    known = {text: float(score) for text, score in described["model"]["vocab"]}
    return {"model": "t5", "pre": "default", "scores": [known.get(text, 0.0) for text in texts]} | _space_fields(
        described
    )


def _wordpiece(described: Described, texts: list[str], types: list[int]) -> tuple[dict[str, Any], list[str]]:
    normaliser = described["normalizer"] or {}
    if (
        normaliser.get("type") != "BertNormalizer"
        or not normaliser["lowercase"]
        or normaliser["strip_accents"] is False
    ):
        raise LavraError("GGUF's WordPiece always lowers case, and this tokenizer does not; write format hf instead")
    marked = []
    for text, kind in zip(texts, types, strict=True):
        if kind in (CONTROL, UNKNOWN, UNUSED) or (text.startswith("[") and text.endswith("]")):
            marked.append(text)
        else:
            marked.append(text[2:] if text.startswith("##") else SPACE + text)
    return {"model": "bert", "pre": "default", "token_type_count": 2}, marked
