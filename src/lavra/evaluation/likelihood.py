"""How likely texts are to a model, each read alone from its beginning: what several measures of a model rest on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lavra.evaluation.harness.kept import Kept
from lavra.evaluation.harness.room import longest_text
from lavra.evaluation.harness.scoring import Score, score
from lavra.model.base import Model
from lavra.tokens.tokenizer import Tokenizer

Pair = tuple[tuple[int, ...], tuple[int, ...]]
Ask = Callable[[Model, Sequence[Pair]], Sequence[Score]]
"""How a model is asked for the scores of pairs: :func:`score`, or what :func:`asking_once` makes."""


def asking_once(kept: Kept, told: Callable[[int], None] = lambda count: None) -> Ask:
    """Asks only for what ``kept`` does not have yet; ``told`` after each batch how many pairs have a score."""

    def ask(model: Model, pairs: Sequence[Pair]) -> list[Score]:
        return kept.once("score", pairs, lambda missing, heard: score(model, missing, heard=heard), told)

    return ask


def log_likelihoods(model: Model, tokenizer: Tokenizer, texts: Sequence[str], *, ask: Ask = score) -> np.ndarray:
    """(N,) log p in nats of each text that is not empty."""
    return np.array([log_p for log_p, _ in ask(model, [from_beginning(tokenizer, text) for text in texts])])


def bits_per_byte(
    model: Model, tokenizer: Tokenizer, texts: Sequence[str], *, most: int | None = None, ask: Ask = score
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) of each text, and (N,) its bytes; of a longer one, of ``most`` tokens or what fits the model."""
    longest = min(longest_text(model), most or longest_text(model))
    pairs = [(before, ids[:longest]) for before, ids in (from_beginning(tokenizer, text) for text in texts)]
    nats = -np.array([log_p for log_p, _ in ask(model, pairs)])
    octets = np.array([max(1, len(tokenizer.decode(list(ids)).encode())) for _, ids in pairs], dtype=float)
    return nats / np.log(2) / octets, octets


def from_beginning(tokenizer: Tokenizer, text: str) -> Pair:
    """What is read before a text, and the text's ids. A model without a token for a beginning is given the text's own
    first token, whose likelihood is then nobody's."""
    ids = tuple(tokenizer.encode(text, add_special_tokens=False, parse_special=False))
    start = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id
    return ((start,), ids) if start is not None else (ids[:1], ids[1:])


def continuations(
    model: Model, tokenizer: Tokenizer, given: Sequence[tuple[str, str]], *, ask: Ask = score
) -> tuple[np.ndarray, np.ndarray]:
    """Of each (context, continuation): (N,) log p of the continuation in nats, and (N,) its tokens."""
    pairs = []
    for context, continuation in given:
        before, alone = from_beginning(tokenizer, context)
        _, both = from_beginning(tokenizer, context + continuation)
        whole = (*before, *both)
        cut = min(len(before) + len(alone), len(whole) - 1)  # what melts into the context has its last token
        pairs.append((whole[:cut], whole[cut:]))
    found = np.array([log_p for log_p, _ in ask(model, pairs)])
    return found, np.array([len(continuation) for _, continuation in pairs])
