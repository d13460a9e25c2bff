"""The next token, drawn from logits: penalty → temperature → top-k → top-p → min-p, each on what the last one left.

The order and the definitions are those of transformers' logits processors, which the tests hold this file to. The
work differs: the vocabulary is not sorted when the most likely thousand tokens already hold the mass that top-p asks
for, which they nearly always do.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable

import torch
from torch import Tensor

from lavra.errors import LavraError
from lavra.inference.sampling import Sampling

_NUCLEUS_GUESS = 1024
"""Tokens sorted before all of them are; torch.topk of this many from 49,152 takes a tenth of a full sort."""


def validate(sampling: Sampling) -> Sampling:
    """The settings themselves, if every one makes sense; else ``LavraError`` naming the setting and its range."""
    rules = (
        ("temperature", sampling.temperature, 0 <= sampling.temperature < math.inf, "0 (greedy) or more"),
        ("top_k", sampling.top_k, sampling.top_k >= 0, "0 (off) or more"),
        ("top_p", sampling.top_p, 0 < sampling.top_p <= 1, "above 0 and at most 1 (off)"),
        ("min_p", sampling.min_p, 0 <= sampling.min_p <= 1, "between 0 (off) and 1"),
        (
            "repetition_penalty",
            sampling.repetition_penalty,
            0 < sampling.repetition_penalty < math.inf,
            "above 0 (1 is off)",
        ),
        ("max_tokens", sampling.max_tokens, sampling.max_tokens >= 1, "1 or more"),
        ("stop", sampling.stop, all(sampling.stop), "strings that are not empty"),
    )
    for name, value, sensible, wanted in rules:
        if not sensible:
            raise LavraError(f"{name} is {value!r}; it must be {wanted}")
    return sampling


def probabilities(logits_V: Tensor, sampling: Sampling, seen: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The tokens that may come next (most likely first, where a filter sorted them) and their probabilities, which
    sum to 1.

    In float64: a running sum over a vocabulary in float32 is off by up to 1e-5, enough to move the top-p line.

    ``logits_V``: (V,). ``seen``: ids of the prompt and the answer so far, for the repetition penalty.
    ``sampling.temperature`` must be above 0.
    """
    scores = penalise(logits_V, sampling.repetition_penalty, seen).double()
    # Subtracting the largest first: a tiny temperature must not overflow to inf - inf.
    scores = (scores - scores.max()) / sampling.temperature
    if 0 < sampling.top_k < len(scores):
        # By value and not by count: equal logits stand or fall together, as in transformers.
        threshold = scores.topk(sampling.top_k).values[-1]
        ids = (scores >= threshold).nonzero().squeeze(1)
        kept, order = scores[ids].sort(descending=True, stable=True)
        return _nucleus(ids[order], kept, kept.logsumexp(0), sampling)
    if sampling.top_p == 1 and sampling.min_p == 0:
        return torch.arange(len(scores)), scores.softmax(0)
    mass = scores.logsumexp(0)
    kept, ids = scores.topk(min(_NUCLEUS_GUESS, len(scores)))
    found = (kept - mass).exp()
    below_min_p = sampling.min_p > 0 and bool(found[-1] < sampling.min_p * found[0])
    if len(kept) < len(scores) and not below_min_p and not float(found.sum()) > sampling.top_p + 1e-6:
        kept, ids = scores.sort(descending=True, stable=True)
    return _nucleus(ids, kept, mass, sampling)


def _nucleus(ids: Tensor, scores: Tensor, mass: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Top-p (Holtzman et al. 2020), then min-p (Nguyen et al. 2024), on scores in descending order."""
    chance = (scores - mass).exp()
    count = len(chance)
    if sampling.top_p < 1:
        # A token stays while those before it hold less than top_p: the one that crosses the line is still in.
        before = chance.cumsum(0) - chance
        count = max(1, int((before < sampling.top_p).sum()))
    if sampling.min_p > 0:
        # Relative to the most likely one, so what top-p dropped does not matter.
        count = min(count, max(1, int((chance >= sampling.min_p * chance[0]).sum())))
    kept = chance[:count]
    return ids[:count], kept / kept.sum()


def penalise(logits_V: Tensor, penalty: float, seen: Tensor | None) -> Tensor:
    """CTRL's repetition penalty (Keskar et al. 2019, section 4.1): positive logits of seen tokens are divided by it,
    negative ones multiplied."""
    if penalty == 1.0 or seen is None or len(seen) == 0:
        return logits_V
    logits_V = logits_V.float().clone()
    value = logits_V[seen]
    # Duplicates in ``seen`` write the same value twice, not the penalty twice.
    logits_V[seen] = torch.where(value > 0, value / penalty, value * penalty)
    return logits_V


class Sampler:
    """One request's draws: the settings, what was seen, and a generator of its own.

    The same seed, settings and logits give the same tokens, whatever else the process draws meanwhile.
    """

    def __init__(self, sampling: Sampling, prompt: Iterable[int] = ()) -> None:
        self.sampling = validate(sampling)
        self._penalises = sampling.repetition_penalty != 1.0
        self._seen = list(dict.fromkeys(prompt)) if self._penalises else []
        self._generator = torch.Generator()
        # Any integer is a fair seed from a user; the generator takes 64 bits.
        seed = secrets.randbits(63) if sampling.seed is None else sampling.seed % 2**63
        self._generator.manual_seed(seed)

    def draw(self, logits_V: Tensor) -> int:
        """The next token for logits of shape (V,)."""
        seen = torch.tensor(self._seen, dtype=torch.long) if self._penalises else None
        if self.sampling.temperature == 0:
            token = int(penalise(logits_V, self.sampling.repetition_penalty, seen).argmax())
        else:
            ids, chances = probabilities(logits_V, self.sampling, seen)
            point = torch.rand((), generator=self._generator, dtype=torch.float64)
            cumulative = chances.cumsum(0)
            index = int(torch.searchsorted(cumulative, point * cumulative[-1], right=True))
            token = int(ids[min(index, len(ids) - 1)])
        if self._penalises:
            self._seen.append(token)
        return token
