"""Where a token stands: rotary positions (Su et al. 2021, RoFormer, eq. 34).

Pairs are (i, i + D/2), the Hugging Face convention. Learned absolute positions need no code of their own: they are
an embedding, looked up in ``transformer.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_tables(length: int, head_width: int, theta: float) -> tuple[Tensor, Tensor]:
    """``cos_TD`` and ``sin_TD`` in float32 for positions 0 … length-1.

    The first half of ``sin`` is negated, so that a rotation is ``x·cos + swap_halves(x)·sin``: three kernels
    instead of the five of "rotate_half", which is what counts when T is 1.
    """
    frequency = theta ** -(torch.arange(0, head_width, 2, dtype=torch.int64).float() / head_width)
    angle = torch.outer(torch.arange(length, dtype=torch.float32), frequency)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn ``x_BTND`` by the tables' angles; ``cos`` and ``sin`` broadcast as (T, 1, D) or (B, T, 1, D)."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


class RotaryCache:
    """The tables of one model, made when first needed and grown by doubling: a 128k-token model used for short
    texts does not pay for 128k rows."""

    def __init__(self, head_width: int, theta: float) -> None:
        self.head_width, self.theta = head_width, theta
        self._tables: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}

    def __call__(self, positions: slice | Tensor, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
        """Rows for ``positions`` (a slice, or indices of shape (B, T)), with an axis for the heads."""
        needed = positions.stop if isinstance(positions, slice) else int(positions.max()) + 1
        tables = self._tables.get((dtype, device))
        if tables is None or len(tables[0]) < needed:
            length = 1 << max(needed - 1, 511).bit_length()
            # Angles are exact in float32 only; the finished table is what is rounded, as transformers does.
            cos, sin = rotary_tables(length, self.head_width, self.theta)
            tables = cos.to(device, dtype).unsqueeze(1), sin.to(device, dtype).unsqueeze(1)
            self._tables[dtype, device] = tables
        return tables[0][positions], tables[1][positions]
