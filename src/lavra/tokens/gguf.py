"""A tokenizer rebuilt from the tables inside a GGUF file: byte-level BPE (Sennrich 2016; bytes as in GPT-2, 2019).

GGUF names its pre-tokenizer (how text is cut before merging) instead of describing it. The table below holds those
whose splitting is known exactly; another name is refused, because a wrong cut gives wrong ids silently.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from lavra.errors import LavraError
from lavra.store.gguf_file import GGUFFile, read_gguf
from lavra.tokens.chat import ChatTemplate
from lavra.tokens.tokenizer import Tokenizer

_CONTROL, _USER_DEFINED = 3, 4  # llama.cpp's token types

# Contractions, words, numbers, punctuation, spaces: Llama 3's expression; Qwen 2 cuts every digit apart.
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _bytes(use_regex: bool) -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def _split(expression: str) -> Any:
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(expression), behavior="isolated", invert=False), _bytes(use_regex=False)]
    )


def _digits() -> Any:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _bytes(use_regex=True)])


PRE_TOKENIZERS = {
    "gpt-2": lambda: _bytes(use_regex=True),
    "smollm": _digits,
    "starcoder": _digits,
    "llama-bpe": lambda: _split(_LLAMA3),
    "qwen2": lambda: _split(_LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")),
}
_WHOLE_WORDS_FIRST = {"llama-bpe"}  # a word that is in the vocabulary is taken without merging
_COMPOSED = {"qwen2"}  # Unicode NFC before anything else


def from_gguf(path: Path) -> Tokenizer:
    """Raises LavraError when the tables are missing, contradict each other, or are of another kind."""
    file = read_gguf(path)
    kind = file.get("tokenizer.ggml.model", str, ...)
    if kind != "gpt2":
        raise LavraError(f"{path.name} has a tokenizer of kind {kind!r}; Lavra rebuilds gpt2 (byte-level BPE)")
    pre = file.get("tokenizer.ggml.pre", str, ...)
    if pre not in PRE_TOKENIZERS:
        raise LavraError(f"{path.name} wants the pre-tokenizer {pre!r}; Lavra knows {', '.join(PRE_TOKENIZERS)}")
    texts: list[str] = file.get("tokenizer.ggml.tokens", list, ...)
    types: list[int] = file.get("tokenizer.ggml.token_type", list, [])
    backend = tokenizers.Tokenizer(_bpe(file, texts, pre))
    backend.pre_tokenizer = PRE_TOKENIZERS[pre]()
    backend.decoder = decoders.ByteLevel()
    if pre in _COMPOSED:
        backend.normalizer = normalizers.NFC()
    added = [(text, kind) for text, kind in zip(texts, types, strict=False) if kind in (_CONTROL, _USER_DEFINED)]
    backend.add_tokens([AddedToken(text, special=kind == _CONTROL, normalized=False) for text, kind in added])
    named = {
        name: _special_id(file, f"tokenizer.ggml.{name}_token_id", texts)
        for name in ("bos", "eos", "eot", "eom", "unknown", "padding")
    }
    bos = named["bos"]
    if file.get("tokenizer.ggml.add_bos_token", bool, False) and bos is not None:
        backend.post_processor = processors.TemplateProcessing(
            single=[texts[bos], "$A"], special_tokens=[(texts[bos], bos)]
        )
    template = file.get("tokenizer.chat_template", str)
    variables = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
    special = {variables[name]: texts[i] for name, i in named.items() if name in variables and i is not None}
    return Tokenizer(
        backend,
        bos_id=bos,
        eos_ids=frozenset(i for name in ("eos", "eot", "eom") if (i := named[name]) is not None),
        pad_id=named["padding"],
        chat_template=ChatTemplate(template, special) if template else None,
    )


def _bpe(file: GGUFFile, texts: list[str], pre: str) -> models.BPE:
    merges: list[str] = file.get("tokenizer.ggml.merges", list, ...)
    # The first space separates: a token may not begin with one, because bytes are spelled as letters ("Ġ" a space).
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    vocabulary = {text: index for index, text in enumerate(texts)}
    if len(vocabulary) != len(texts):
        raise LavraError(f"{file.path.name} lists a token twice; download it again")
    try:
        return models.BPE(vocab=vocabulary, merges=pairs, ignore_merges=pre in _WHOLE_WORDS_FIRST)
    except Exception as error:  # tokenizers raises bare Exceptions, for instance for a merge of unknown tokens
        raise LavraError(f"the tokenizer tables of {file.path.name} contradict each other ({error})") from error


def _special_id(file: GGUFFile, key: str, texts: list[str]) -> int | None:
    index = file.get(key, int)
    if index is not None and not 0 <= index < len(texts):
        raise LavraError(f"{file.path.name}: {key} is {index}, outside a vocabulary of {len(texts)}; download it again")
    return index
