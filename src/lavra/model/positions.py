"""Where a token stands: added to embeddings, turned into queries and keys, or added to attention's scores.

Rotary pairs are (i, i + D/2), the Hugging Face convention. Learned absolute positions need no code of their own: they
are an embedding, looked up in ``transformer.py``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lavra.model.config import ModelConfig, RotaryScaling
from lavra.model.tables import table


def sinusoids(length: int, width: int) -> Tensor:
    """(T, C) float32, sines and cosines of geometric frequencies side by side (Vaswani et al. 2017, section 3.5)."""
    frequency = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10_000.0) / width))
    angle = torch.outer(torch.arange(length).float(), frequency)
    return torch.stack((angle.sin(), angle.cos()), -1).flatten(1)[:, :width]


def rotary_frequencies(width: int, theta: float, scaling: RotaryScaling | None, length: int) -> tuple[Tensor, float]:
    """Radians a position for each of ``width`` / 2 pairs, in float32, and what cos and sin are multiplied by.

    Su et al. 2021 (RoFormer, eq. 15), changed as :class:`RotaryScaling` says. ``length``: of the text at hand, which
    ``dynamic`` and ``longrope`` depend on.
    """
    exponent = torch.arange(0, width, 2, dtype=torch.int64).float() / width
    if scaling is None:
        return theta**-exponent, 1.0
    factor, original = scaling.factor, scaling.original_context
    attention = 1.0 if scaling.attention_factor is None else scaling.attention_factor
    if scaling.kind == "linear":
        return theta**-exponent / factor, attention
    if scaling.kind in ("ntk", "dynamic"):
        stretch = factor
        if scaling.kind == "dynamic":
            stretch = factor * max(length, original) / original - (factor - 1)
        return (theta * stretch ** (width / (width - 2))) ** -exponent, attention
    if scaling.kind == "longrope":
        divisor = torch.tensor(scaling.long if length > original else scaling.short, dtype=torch.float32)
        if scaling.attention_factor is None and factor > 1:
            attention = math.sqrt(1 + math.log(factor) / math.log(original))
        return 1.0 / (divisor * theta**exponent), attention
    frequency = theta**-exponent
    if scaling.kind == "llama3":
        turns = original * frequency / (2 * math.pi)
        low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
        kept = ((turns - low) / (high - low)).clamp(0, 1)
        return frequency * kept + frequency / factor * (1 - kept), attention
    # YaRN: dimensions that turn often within the original context are kept, those that do not turn once are divided.
    if scaling.attention_factor is None:
        attention = 0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0

    def dimension(turns: float) -> float:
        return width * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    first, last = dimension(scaling.beta_fast), dimension(scaling.beta_slow)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, width - 1)
    ramp = (torch.arange(width // 2).float() - first) / (last - first or 0.001)
    kept = 1 - ramp.clamp(0, 1)
    return frequency * kept + frequency / factor * (1 - kept), attention


def rotary_tables(
    length: int, width: int, theta: float, scaling: RotaryScaling | None = None, text_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """``cos_TD`` and ``sin_TD`` in float32 for positions 0 … length-1.

    The first half of ``sin`` is negated, so that a rotation is ``x·cos + swap_halves(x)·sin``: three kernels
    instead of the five of "rotate_half", which is what counts when T is 1.
    """
    frequency, factor = rotary_frequencies(width, theta, scaling, length if text_length is None else text_length)
    angle = torch.outer(torch.arange(length, dtype=torch.float32), frequency)
    cos, sin = angle.cos() * factor, angle.sin() * factor
    return torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn ``x_BTND`` by the tables' angles; ``cos`` and ``sin`` broadcast as (T, 1, D) or (B, T, 1, D).

    Where they are narrower than x, its other dimensions stay as they are.
    """
    width = cos.shape[-1]
    if width < x.shape[-1]:
        turned, rest = x[..., :width], x[..., width:]
        return torch.cat((torch.addcmul(turned * cos, turned.roll(width // 2, -1), sin), rest), -1)
    return torch.addcmul(x * cos, x.roll(width // 2, -1), sin)


class RotaryCache:
    """The tables of one model, made when first needed and grown by doubling: a 128k-token model used for short
    texts does not pay for 128k rows."""

    def __init__(self, width: int, theta: float, scaling: RotaryScaling | None = None) -> None:
        self.width, self.theta, self.scaling = width, theta, scaling
        self._tables: dict[tuple[object, ...], tuple[Tensor, Tensor]] = {}

    def __call__(
        self, positions: slice | Tensor, dtype: torch.dtype, device: torch.device, length: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Rows for ``positions`` (a slice, or indices of shape (B, T)), with an axis for the heads.

        Frequencies that depend on the length of a text are those of the longest one here, or of ``length``: what a
        cache has room for, since keys that were turned once stay as they are.
        """
        needed = positions.stop if isinstance(positions, slice) else int(positions.max()) + 1
        text = 0 if self.scaling is None else self.scaling.regime(max(needed, length))
        tables = self._tables.get((dtype, device, text))
        if tables is None or len(tables[0]) < needed:
            rows = 1 << max(needed - 1, 511).bit_length()
            # Angles are exact in float32 only; the finished table is what is rounded, as transformers does.
            if text and self.scaling is not None and self.scaling.kind == "dynamic":
                self._tables.clear()  # every length has its own: only the last are kept
            cos, sin = rotary_tables(rows, self.width, self.theta, self.scaling, text)
            tables = cos.to(device, dtype).unsqueeze(1), sin.to(device, dtype).unsqueeze(1)
            self._tables[dtype, device, text] = tables
        return tables[0][positions], tables[1][positions]


def bucket(distance: Tensor, buckets: int, furthest: int, causal: bool) -> Tensor:
    """T5's bucket of each signed ``distance`` (key's place less query's), in 0 … buckets - 1.

    Half of the buckets for distances one by one, the other half on a logarithmic scale up to ``furthest`` (Raffel et
    al. 2020, section 2.1, and the reference implementation). An encoder gives one half to each direction.
    """
    found = torch.zeros_like(distance)
    if causal:
        distance = (-distance).clamp_min(0)
    else:
        buckets //= 2
        found = (distance > 0).long() * buckets
        distance = distance.abs()
    exact = buckets // 2
    scaled = torch.log(distance.clamp_min(1).float() / exact) / math.log(furthest / exact) * (buckets - exact)
    far = (exact + scaled.long()).clamp_max(buckets - 1)
    return found + torch.where(distance < exact, distance, far)


class RelativeBuckets(nn.Module):
    """T5's relative positions: one learned number a head for each bucket of distances, the same in all layers."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.causal, self.furthest = config.causal, config.relative_distance
        self.table = table(config.relative_buckets, config.heads)

    def forward(self, queries: int, keys: int) -> Tensor:
        """(1, H, T, S) for the last ``queries`` of ``keys`` places."""
        weight = self.table.weight
        # Only the T + S - 1 distances there are go through the logarithm.
        distances = torch.arange(1 - keys, queries, device=weight.device)
        per_distance_NH = weight[bucket(distances, len(weight), self.furthest, self.causal)]
        return per_distance_NH.T[:, _places(queries, keys, weight.device)].unsqueeze(0)


def alibi_slopes(heads: int) -> Tensor:
    """(H,) float32: 2^(-8/n), 2^(-16/n), …; for other than powers of two filled up from twice as many (Press et al.
    2021, section 3 and their code)."""
    power = 1 << (heads.bit_length() - 1)
    slopes = [2.0 ** (-8.0 * (head + 1) / power) for head in range(power)]
    more = [2.0 ** (-4.0 * (head + 1) / power) for head in range(0, 2 * (heads - power), 2)]
    return torch.tensor(slopes + more)


class Alibi(nn.Module):
    """Attention with linear biases: a score falls with the distance, by a slope a head. Nothing is learned."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads

    def forward(self, queries: int, keys: int, device: torch.device) -> Tensor:
        """(1, H, T, S): - slope · |distance|."""
        i = torch.arange(keys - queries, keys, device=device)[:, None]
        j = torch.arange(keys, device=device)[None, :]
        return (alibi_slopes(self.heads).to(device)[:, None, None] * -(i - j).abs()).unsqueeze(0)


class Shaw(nn.Module):
    """Relative positions by Shaw et al. 2018: a learned vector for each distance up to a clip, seen by the query
    beside the key (their eq. 4) and added to the value (eq. 3). The same for all heads of a layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.furthest = config.relative_distance
        self.keys = table(2 * self.furthest + 1, config.head_width)
        self.values = table(2 * self.furthest + 1, config.head_width)

    def index(self, queries: int, keys: int, device: torch.device) -> Tensor:
        """(T, S): the row of the tables for each pair of places."""
        i = torch.arange(keys - queries, keys, device=device)[:, None]
        j = torch.arange(keys, device=device)[None, :]
        return (j - i).clamp(-self.furthest, self.furthest) + self.furthest

    def bias(self, q_BHTD: Tensor, index_TS: Tensor, scale: float) -> Tensor:
        """(B, H, T, S): scale · q · a for each pair."""
        by_distance = q_BHTD @ self.keys.weight.T * scale
        return by_distance.gather(-1, index_TS.expand(*q_BHTD.shape[:2], *index_TS.shape))


def _places(queries: int, keys: int, device: torch.device) -> Tensor:
    """(T, S): where the distance j - i stands in 1 - keys … queries - 1."""
    i = torch.arange(keys - queries, keys, device=device)[:, None]
    j = torch.arange(keys, device=device)[None, :]
    return j - i + keys - 1
