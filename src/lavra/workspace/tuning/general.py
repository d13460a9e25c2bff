"""Bits per byte of general text: how well a model still reads what it was not tuned on.

Bits per byte (Gao et al. 2020, The Pile, section 3.1) do not depend on the tokenizer. The general text that comes with
Lavra was written for it, in three languages, so no model has learned it by heart; it is small, and says in which
direction and about how far a model went, not more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import torch

from lavra.errors import LavraError, why
from lavra.model.base import Model
from lavra.model.heads import cross_entropy
from lavra.tokens.tokenizer import Tokenizer

_ALONE = 1024  # tokens of a paragraph that are read at once


def general_text(path: Path | None = None) -> list[str]:
    """Paragraphs of ``path``, or of the text that comes with Lavra."""
    if path is None:
        text = files(__package__).joinpath("general.txt").read_text(encoding="utf-8")
    else:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise LavraError(
                f"the general text {path} cannot be read ({why(error)}): give a UTF-8 text file."
            ) from error
    found = [paragraph.strip() for paragraph in text.split("\n\n") if paragraph.strip()]
    if not found:
        raise LavraError(f"the general text {path} is empty: give a file with some pages of text.")
    return found


def opening(tokenizer: Tokenizer) -> list[int]:
    """What stands before a text that begins: the token for it, or the one that ended the text before."""
    start = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id
    return [] if start is None else [start]


@torch.no_grad()
def bits_per_byte(model: Model, tokenizer: Tokenizer, paragraphs: Sequence[str]) -> float:
    """Of all ``paragraphs``, each read alone from its beginning."""
    nats, octets = 0.0, 0
    start = opening(tokenizer)
    for paragraph in paragraphs:
        ids = tokenizer.encode(paragraph, add_special_tokens=False, parse_special=False)[:_ALONE]
        given = torch.tensor([start + ids], device=model.device)
        total, _ = cross_entropy(model, model(given[:, :-1]), given[:, 1:])
        nats += float(total)
        octets += len(tokenizer.decode(ids).encode())
    return nats / math.log(2) / max(1, octets)
