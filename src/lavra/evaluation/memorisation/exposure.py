"""Exposure of a canary: log2 of how many secrets there are, less log2 of its rank by likelihood (Carlini et al. 2019,
section 4.2). Of 10,000, a model that knows nothing gives 1.4 bits on average, one that has memorised it all 13.3.

Where the space is small every secret is tried, and the rank is exact. Else so many are drawn, which says as much as
they are many; beyond, the paper's estimate: a skew-normal law fitted to the log-perplexities of the drawn ones.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lavra.corpus.traps.register import Entry
from lavra.evaluation.harness.scoring import score
from lavra.evaluation.memorisation.reading import Ids, opening
from lavra.evaluation.memorisation.testing import rank_p
from lavra.model.base import Model
from lavra.tokens.tokenizer import Tokenizer

MOST_TRIED = 10_000


@dataclass(frozen=True)
class Exposure:
    """``rank`` among ``tried`` secrets, itself one of them; ties count against it. ``bits``: the exposure, at most
    ``most``; ``estimated``: of the skew-normal law, where not every secret was tried, else NaN."""

    rank: int
    tried: int
    space: int
    estimated: float

    @property
    def exact(self) -> bool:
        return self.tried == self.space

    @property
    def bits(self) -> float:
        """A lower bound where not all were tried."""
        return math.log2(self.tried) - math.log2(self.rank)

    @property
    def most(self) -> float:
        return math.log2(self.space)

    @property
    def p(self) -> float:
        return rank_p(self.rank, self.tried)


def candidates(canary: Entry, most: int, *, seed: int = 0) -> list[str]:
    """The canary's own secret first, then all others, or ``most`` - 1 different ones drawn evenly."""
    digits = len(canary.secret)
    if canary.space <= most:
        others = [f"{number:0{digits}}" for number in range(canary.space)]
        return [canary.secret, *(secret for secret in others if secret != canary.secret)]
    draw = random.Random(f"{seed}:{canary.pair}")
    found = {canary.secret: None}
    while len(found) < most:
        found.setdefault(f"{draw.randrange(canary.space):0{digits}}")
    return list(found)


def expose(model: Model, tokenizer: Tokenizer, canary: Entry, *, most: int = MOST_TRIED, seed: int = 0) -> Exposure:
    """What the model shows of one canary. Only what comes from the secret on is compared: what stands before it is the
    same for all, and is read once."""
    before, after = canary.format.split("{secret}")
    secrets = candidates(canary, most, seed=seed)
    context: Ids = (*opening(tokenizer), *_plain(tokenizer, before.rstrip(" ")))
    gap = " " if before.endswith(" ") else ""
    pairs = [(context, tuple(_plain(tokenizer, gap + secret + after))) for secret in secrets]
    log_p = np.array([found for found, _ in score(model, pairs)])
    rank = int((log_p >= log_p[0]).sum())
    estimated = math.nan if canary.space <= most else skew_normal_bits(-log_p[1:], -log_p[0])
    return Exposure(rank, len(secrets), canary.space, min(estimated, math.log2(canary.space)))


def _plain(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False, parse_special=False)


def skew_normal_bits(sample: Sequence[float] | np.ndarray, value: float) -> float:
    """-log2 P(X ≤ value) of the skew-normal law (Azzalini 1985) with the moments of ``sample``."""
    location, scale, shape = _fit(np.asarray(sample, dtype=np.float64))
    return -math.log2(max(skew_normal_cdf((value - location) / scale, shape), 1e-300))


def skew_normal_cdf(z: float, shape: float) -> float:
    """∫ 2 φ(t) Φ(shape · t) dt up to ``z``, by the trapezoid rule in steps of 0.002; exact to some parts in a million
    also far out, where 1 minus something would not be."""
    if z > 12:
        return 1.0
    t = torch.linspace(min(z, 0.0) - 12.0, z, 1 + max(2000, int((max(z, 0.0) + 12.0) * 500)), dtype=torch.float64)
    density = torch.exp(-t.square() / 2 + torch.special.log_ndtr(shape * t)) * (2 / math.sqrt(2 * math.pi))
    return float(torch.trapezoid(density, t))


def _fit(sample: np.ndarray) -> tuple[float, float, float]:
    """Location, scale and shape by the method of moments; the law's skewness is below 0.995."""
    mean, deviation = float(sample.mean()), float(sample.std()) or 1e-12
    skewness = float(np.clip((((sample - mean) / deviation) ** 3).mean(), -0.99, 0.99))
    root = abs(skewness) ** (2 / 3)
    delta = math.copysign(math.sqrt(math.pi / 2 * root / (root + ((4 - math.pi) / 2) ** (2 / 3))), skewness)
    scale = deviation / math.sqrt(1 - 2 * delta**2 / math.pi)
    return mean - scale * delta * math.sqrt(2 / math.pi), scale, delta / math.sqrt(1 - delta**2)
