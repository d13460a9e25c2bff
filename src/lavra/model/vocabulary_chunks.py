"""Through a vocabulary some positions at a time: what the losses of ``chunked.py`` and ``divergence.py`` share.

Logits exist for a chunk of positions and become their own gradient in place, which at once becomes the gradients of
hidden states and weights (:class:`Gradients`). A chunk is long, for matrix products; softmax goes over it in blocks of
rows that stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_CHUNK_BYTES = 1 << 28
"""Logits that exist at a time. More chunks cost time: each adds to the weight's gradient, which is read and written."""
_FROZEN_CHUNK_BYTES = 1 << 26
"""On a CPU where that gradient is not wanted (adapters): products of 682 × 49,152 are as fast as larger ones."""
_BLOCK = 3 << 18
"""Logits a softmax works on at a time, 3 MB in float32: fastest of 0.2 to 3 million on a Zen 5."""


def autocast(hidden_NC: Tensor) -> Tensor:
    """In the dtype of the autocast around, which does not reach into a Function's products evenly."""
    device = hidden_NC.device.type
    return hidden_NC.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else hidden_NC


class Gradients:
    """Of the hidden states, the weight and the bias, as far as they are needed; filled chunk by chunk."""

    def __init__(self, hidden_NC: Tensor, weight_VC: Tensor, bias_V: Tensor | None, needed: tuple[bool, ...]) -> None:
        self._needed, self._weight_like, self._bias_like = needed, weight_VC, bias_V
        self.any = any(needed)
        self.hidden = torch.empty_like(hidden_NC) if needed[0] else None
        self.weight: Tensor | None = None
        self.bias: Tensor | None = None

    def add(self, part: slice, dz: Tensor, hidden: Tensor, weight: Tensor) -> None:
        """What ``dz``, the gradient of the logits of ``hidden``, gives to each."""
        precise = precise_dtype(dz.dtype)
        if self.hidden is not None:
            torch.mm(dz, weight, out=self.hidden[part])
        if self._needed[1]:
            given = dz.t() @ hidden
            # The only chunk's stays as it came out of the product, which sums in float32 itself.
            self.weight = given if self.weight is None else self.weight.to(precise).add_(given)
        if self._needed[2]:
            given = dz.sum(0, dtype=precise)
            self.bias = given if self.bias is None else self.bias.add_(given)

    @property
    def tensors(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Of no position at all: zeros."""
        if self._needed[1] and self.weight is None:
            self.weight = torch.zeros_like(self._weight_like)
        if self._needed[2] and self.bias is None and self._bias_like is not None:
            self.bias = torch.zeros_like(self._bias_like)
        return self.hidden, self.weight, self.bias

    def keep(self, ctx: Any) -> None:
        """For :func:`given_back`."""
        ctx.save_for_backward(*self.tensors)
        ctx.dtypes = self._weight_like.dtype, None if self._bias_like is None else self._bias_like.dtype


def given_back(ctx: Any, above: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """What was kept, times the gradient () of the sum: all that is left to do on the way back."""
    hidden, weight, bias = ctx.saved_tensors
    weight_dtype, bias_dtype = ctx.dtypes
    return (
        _scaled(hidden, above, None if hidden is None else hidden.dtype),
        _scaled(weight, above, weight_dtype),
        _scaled(bias, above, bias_dtype),
    )


def chunk_bytes(weight: Tensor) -> int:
    """Logits over ``weight`` that exist at a time, in bytes."""
    summed = weight.requires_grad or weight.device.type != "cpu"
    return _CHUNK_BYTES if summed else _FROZEN_CHUNK_BYTES


def chunks(hidden_NC: Tensor, weight: Tensor, chunk: int | None) -> Iterator[slice]:
    """Equal parts of the positions, each of ``chunk`` at most."""
    positions = len(hidden_NC)
    if chunk is None:
        chunk = max(1, chunk_bytes(weight) // (len(weight) * hidden_NC.element_size()))
    parts = -(-positions // chunk)
    for index in range(parts):
        yield slice(positions * index // parts, positions * (index + 1) // parts)


def linear(hidden: Tensor, weight: Tensor, bias_V: Tensor | None) -> Tensor:
    return F.linear(hidden, weight, None if bias_V is None else bias_V.to(hidden.dtype))


def row_blocks(z: Tensor) -> Iterator[slice]:
    rows = max(1, _BLOCK // z.shape[1]) if z.device.type == "cpu" else len(z)
    for start in range(0, len(z), rows):
        yield slice(start, min(start + rows, len(z)))


def capped(z: Tensor, soft_cap: float | None, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """c · tanh(z / c) in ``dtype``, and its slope."""
    block = z.to(dtype)
    if soft_cap is None:
        return block, None
    tanh = block.div(soft_cap).tanh_()
    return tanh * soft_cap, 1 - tanh.square()


def _scaled(gradient: Tensor | None, by: Tensor, dtype: torch.dtype | None) -> Tensor | None:
    if gradient is None or dtype is None:
        return None
    # Multiplied before it is rounded, in one pass.
    return torch.mul(gradient, by.to(gradient.dtype), out=torch.empty_like(gradient, dtype=dtype))


def precise_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
