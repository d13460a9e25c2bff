"""A tokenizer rebuilt from the tables inside a GGUF file; ``gguf_tables.py`` is the way back.

Four kinds, under llama.cpp's names: "gpt2" is byte-level BPE (Sennrich 2016; bytes as in GPT-2, 2019), "llama"
SentencePiece's BPE, "t5" its Unigram, "bert" WordPiece. Of byte-level BPE a GGUF only names the pre-tokenizer (how text
is cut before merging). The table below holds those whose splitting is known exactly; another name is refused, because
a wrong cut gives wrong ids silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from lavra.errors import LavraError
from lavra.store.gguf_file import GGUFFile, read_gguf
from lavra.tokens import sentencepiece, wordpiece
from lavra.tokens.chat import ChatTemplate
from lavra.tokens.tokenizer import Tokenizer

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
    "dbrx": lambda: _split(_LLAMA3),
    "qwen2": lambda: _split(_LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")),
    "olmo": lambda: _bytes(use_regex=True),
    "smaug-bpe": lambda: _split(_LLAMA3),
}
WHOLE_WORDS_FIRST = {"llama-bpe"}  # a word that is in the vocabulary is taken without merging
COMPOSED = {"qwen2"}  # Unicode NFC before anything else


def from_gguf(path: Path) -> Tokenizer:
    """Raises LavraError when the tables are missing, contradict each other, or are of another kind."""
    file = read_gguf(path)
    kind = file.get("tokenizer.ggml.model", str, ...)
    texts: list[str] = file.get("tokenizer.ggml.tokens", list, ...)
    types: list[int] = file.get("tokenizer.ggml.token_type", list, [sentencepiece.NORMAL] * len(texts))
    if len(types) != len(texts) or not all(isinstance(text, str) for text in texts):
        raise LavraError(f"{path.name}: its tokens and their types do not match; download it again")
    named = {name: _special_id(file, f"tokenizer.ggml.{key}_token_id", texts) for name, key in _NAMES.items()}
    if kind == "gpt2":
        backend = _byte_level(file, texts, types)
    elif kind in ("llama", "t5"):
        backend = _sentencepiece(file, kind, texts, types, named)
    elif kind == "bert":
        backend = _wordpiece(texts, types, named)
    else:
        raise LavraError(f"{path.name} has a tokenizer of kind {kind!r}; Lavra rebuilds gpt2, llama, t5 and bert")
    variables = {f"{name}_token": texts[i] for name, i in named.items() if i is not None and name not in ("eot", "eom")}
    if kind != "bert":
        before = file.get("tokenizer.ggml.add_bos_token", bool, kind == "llama")
        after = file.get("tokenizer.ggml.add_eos_token", bool, kind == "t5")
        bos, eos = variables.get("bos_token"), variables.get("eos_token")
        sentencepiece.surround(backend, bos if before else None, eos if after else None)
    template = file.get("tokenizer.chat_template", str)
    return Tokenizer(
        backend,
        bos_id=named["bos"],
        eos_ids=frozenset(i for name in ("eos", "eot", "eom") if (i := named[name]) is not None),
        pad_id=named["pad"],
        chat_template=ChatTemplate(template, variables) if template else None,
        special=variables,
    )


# What transformers calls a special token, and GGUF (whose spelling of one is its specification's).
_NAMES = {
    "bos": "bos",
    "eos": "eos",
    "eot": "eot",
    "eom": "eom",
    "unk": "unknown",
    "pad": "padding",
    "sep": "seperator",
    "cls": "cls",
    "mask": "mask",
}


def _byte_level(file: GGUFFile, texts: list[str], types: list[int]) -> tokenizers.Tokenizer:
    pre = file.get("tokenizer.ggml.pre", str, ...)
    if pre not in PRE_TOKENIZERS:
        raise LavraError(f"{file.path.name} wants the pre-tokenizer {pre!r}; Lavra knows {', '.join(PRE_TOKENIZERS)}")
    backend = tokenizers.Tokenizer(_bpe(file, texts, pre))
    backend.pre_tokenizer = PRE_TOKENIZERS[pre]()
    backend.decoder = decoders.ByteLevel()
    if pre in COMPOSED:
        backend.normalizer = normalizers.NFC()
    _add(backend, texts, types)
    return backend


def _add(backend: tokenizers.Tokenizer, texts: list[str], types: list[int]) -> None:
    control, added = sentencepiece.CONTROL, (sentencepiece.CONTROL, sentencepiece.USER_DEFINED)
    found = [(text, kind) for text, kind in zip(texts, types, strict=True) if kind in added]
    backend.add_tokens([AddedToken(text, special=kind == control, normalized=False) for text, kind in found])


def _sentencepiece(
    file: GGUFFile, kind: str, texts: list[str], types: list[int], named: Mapping[str, int | None]
) -> tokenizers.Tokenizer:
    scores: list[float] = file.get("tokenizer.ggml.scores", list, ...)
    charsmap: list[int] = file.get("tokenizer.ggml.precompiled_charsmap", list, [])
    unknown = named["unk"] if named["unk"] is not None else (types.index(2) if 2 in types else None)
    if len(scores) != len(texts) or unknown is None:
        raise LavraError(f"the tokenizer tables of {file.path.name} contradict each other; download it again")
    try:
        table = bytes(charsmap)
    except (ValueError, TypeError) as error:
        raise LavraError(f"{file.path.name}: its table of characters is damaged ({error})") from error
    return sentencepiece.build(
        sentencepiece.Pieces(
            "bpe" if kind == "llama" else "unigram",
            texts,
            [float(score) for score in scores],
            types,
            unknown_id=unknown,
            charsmap=table,
            prefix=file.get("tokenizer.ggml.add_space_prefix", bool, True),
            collapses=file.get("tokenizer.ggml.remove_extra_whitespaces", bool, kind == "t5"),
        )
    )


def _wordpiece(texts: list[str], types: list[int], named: Mapping[str, int | None]) -> tokenizers.Tokenizer:
    """llama.cpp marks the pieces that begin a word, where BERT marks those that do not; it always lowers case."""
    plain = {index for index, kind in enumerate(types) if kind in (sentencepiece.CONTROL, sentencepiece.UNKNOWN)}
    vocabulary: dict[str, int] = {}
    for index, text in enumerate(texts):
        if index in plain or (text.startswith("[") and text.endswith("]")):
            vocabulary[text] = index
        else:
            vocabulary[text[1:] if text.startswith(sentencepiece.SPACE) else f"##{text}"] = index
    special = dict(wordpiece.DEFAULTS)
    for name in special:
        if (found := named[name.removesuffix("_token")]) is not None:
            special[name] = texts[found]
    return wordpiece.build(vocabulary, special, {})


def _bpe(file: GGUFFile, texts: list[str], pre: str) -> models.BPE:
    merges: list[str] = file.get("tokenizer.ggml.merges", list, ...)
    # The first space separates: a token may not begin with one, because bytes are spelled as letters ("Ġ" a space).
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    vocabulary = {text: index for index, text in enumerate(texts)}
    if len(vocabulary) != len(texts):
        raise LavraError(f"{file.path.name} lists a token twice; download it again")
    try:
        return models.BPE(vocab=vocabulary, merges=pairs, ignore_merges=pre in WHOLE_WORDS_FIRST)
    except Exception as error:  # tokenizers raises bare Exceptions, for instance for a merge of unknown tokens
        raise LavraError(f"the tokenizer tables of {file.path.name} contradict each other ({error})") from error


def _special_id(file: GGUFFile, key: str, texts: list[str]) -> int | None:
    index = file.get(key, int)
    if index is not None and not 0 <= index < len(texts):
        raise LavraError(f"{file.path.name}: {key} is {index}, outside a vocabulary of {len(texts)}; download it again")
    return index
