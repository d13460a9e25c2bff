"""WordPiece vocabularies (Wu et al. 2016; as in BERT): a ``vocab.txt`` of one piece a line, and what beside it says
how text is made lower case."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from lavra.errors import LavraError

DEFAULTS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}


def read_vocabulary(path: Path) -> dict[str, int]:
    """Ids by piece. Raises LavraError for an unreadable file."""
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise LavraError(f"{path} could not be read ({error}); download it again") from error
    if lines and not lines[-1]:
        lines.pop()
    return {line.rstrip("\r"): index for index, line in enumerate(lines)}


def build(
    vocabulary: Mapping[str, int], special: Mapping[str, str], settings: Mapping[str, Any]
) -> tokenizers.Tokenizer:
    """A backend that cuts as BERT does.

    ``special``: texts by ``unk_token``, ``cls_token`` …; ``settings``: of ``tokenizer_config.json``, of which
    ``do_lower_case``, ``strip_accents`` and ``tokenize_chinese_chars`` count. Raises LavraError when a token that is
    needed is no piece.
    """
    for name in ("unk_token", "cls_token", "sep_token"):
        if special[name] not in vocabulary:
            raise LavraError(f"the vocabulary lacks the {name} {special[name]!r}; it is not whole")
    backend = tokenizers.Tokenizer(models.WordPiece(dict(vocabulary), unk_token=special["unk_token"]))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True) is not False,
        strip_accents=settings.get("strip_accents"),
        lowercase=settings.get("do_lower_case", True) is not False,
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    cls, sep = special["cls_token"], special["sep_token"]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(cls, vocabulary[cls]), (sep, vocabulary[sep])],
    )
    backend.add_special_tokens(
        [
            AddedToken(text, special=True, normalized=False)
            for text in dict.fromkeys(special.values())
            if text in vocabulary
        ]
    )
    return backend
