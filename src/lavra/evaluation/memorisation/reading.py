"""What a model says of a text, token by token: log p of the token that stands there, and mean and spread of log p over
the whole vocabulary at that place, which Min-K%++ asks for (Zhang et al. 2024, section 3).

Logits exist for some positions at a time. Each text is read alone, after the token that begins a text where the model
has one, so that its first token is predicted too.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lavra.errors import LavraError
from lavra.evaluation.harness.room import Room, longest_text
from lavra.evaluation.harness.scoring import padded
from lavra.inference.lone_threads import lone_threads
from lavra.model.base import Model
from lavra.model.heads import logits
from lavra.tokens.tokenizer import Tokenizer

Ids = tuple[int, ...]
Heard = Callable[[int, int], None]
_LOGITS = 1 << 22
"""Logits that exist at a time for each core: 16 MB in float32, and as much for their probabilities."""


@dataclass(frozen=True)
class Reading:
    """``log_p``, ``mean`` and ``spread``: (T,) float64, in nats; ``octets``: of the text as UTF-8, and ``packed`` by
    zlib; ``was_cut``: the model's context did not take all of it, and the rest was not read."""

    log_p: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    octets: int
    packed: int
    was_cut: bool = False

    @property
    def tokens(self) -> int:
        return len(self.log_p)

    @property
    def loss(self) -> float:
        """Nats a token."""
        return -float(self.log_p.mean())

    @property
    def perplexity(self) -> float:
        return float(np.exp(self.loss))


def opening(tokenizer: Tokenizer) -> list[int]:
    """What stands before a text that begins: the token for it, or the one that ended the text before."""
    start = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id
    return [] if start is None else [start]


def text_ids(tokenizer: Tokenizer, text: str) -> Ids:
    """Opening and tokens; control tokens that the text spells are plain characters."""
    return (*opening(tokenizer), *tokenizer.encode(text, add_special_tokens=False, parse_special=False))


def read_texts(
    model: Model, tokenizer: Tokenizer, texts: Sequence[str], *, most: int | None = None, heard: Heard | None = None
) -> list[Reading]:
    """A reading of each text, of its first ``most`` tokens at most (by default what the model's context takes).

    ``heard(done, total)`` after each batch. Raises LavraError for a text in which no token can be predicted.
    """
    longest = min(longest_text(model), most or longest_text(model))
    encoded = [text_ids(tokenizer, text) for text in texts]
    for text, ids in zip(texts, encoded, strict=True):
        if len(ids) < 2:
            raise LavraError(f"the text {text[:40]!r} has no token that could be predicted: leave it out.")
    cut = [ids[: longest + 1] for ids in encoded]
    found: list[Reading | None] = [None] * len(cut)
    done = 0
    mapped = lone_threads().map if model.device.type == "cpu" else map
    for numbers, figures in mapped(
        lambda batch: (batch, _read(model, [cut[n] for n in batch])), _batches(cut, Room.of(model))
    ):
        for number, (log_p, mean, spread) in zip(numbers, figures, strict=True):
            was_cut = len(cut[number]) < len(encoded[number])
            text = tokenizer.decode(cut[number][len(opening(tokenizer)) :]) if was_cut else texts[number]
            data = text.encode("utf-8", "surrogatepass")
            found[number] = Reading(log_p, mean, spread, len(data), len(zlib.compress(data)), was_cut)
        done += len(numbers)
        if heard is not None:
            heard(done, len(texts))
    return [reading for reading in found if reading is not None]


def _batches(texts: Sequence[Ids], room: Room) -> list[list[int]]:
    """By number, of like length together, longest first."""
    found: list[list[int]] = []
    widest = 0
    for number in sorted(range(len(texts)), key=lambda number: -len(texts[number])):
        if not found or (len(found[-1]) + 1) * widest > room.tokens:
            found.append([])
            widest = len(texts[number])
        found[-1].append(number)
    return found


@torch.no_grad()  # and not inference_mode: what it leaves behind in the model may be trained on (tuned_gap.py)
def _read(model: Model, batch: Sequence[Ids]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    hidden_BTC = model(padded([ids[:-1] for ids in batch], model.device))
    rows = [row for row, ids in enumerate(batch) for _ in ids[1:]]
    times = [time for ids in batch for time in range(len(ids) - 1)]
    targets_N = torch.tensor([token for ids in batch for token in ids[1:]], device=model.device)
    figures_3N = token_statistics(model, hidden_BTC[rows, times], targets_N).double().cpu().numpy()
    ends = np.cumsum([len(ids) - 1 for ids in batch])[:-1]
    return [(part[0], part[1], part[2]) for part in np.split(figures_3N, ends, axis=1)]


def token_statistics(model: Model, hidden_NC: Tensor, targets_N: Tensor) -> Tensor:
    """(3, N) float32: log p of the targets, and Σ p log p and its standard deviation √Σ p (log p - mean)² over the
    vocabulary."""
    each = max(1, _LOGITS // model.config.vocabulary_size)
    found = []
    for start in range(0, len(hidden_NC), each):
        part = slice(start, start + each)
        log_p_NV = torch.log_softmax(logits(model, hidden_NC[part]).float(), 1)
        target_N = log_p_NV.gather(1, targets_N[part, None])[:, 0]
        p_NV = log_p_NV.exp()
        mean_N = (p_NV * log_p_NV).sum(1)
        # Around the mean: a difference of two sums would lose the small spreads of a model that is sure.
        spread_N = (p_NV * log_p_NV.sub_(mean_N[:, None]).square_()).sum(1).sqrt()
        found.append(torch.stack((target_N, mean_N, spread_N)))
    return torch.cat(found, 1)
