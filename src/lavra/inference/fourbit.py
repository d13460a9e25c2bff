"""Weights that came from a 4-bit file are read as 4 bits again while decoding.

Decoding one token reads every weight once, so bytes are time. A Q4_1 block (GGML: 32 weights, ``d · q + m`` with q in
0 to 15) that was widened to bf16 holds no more than its 4 bits did; they are found again from the values themselves,
whatever the file's format was, and PyTorch's 4-bit kernel multiplies them. Nothing is quantised here: a matrix in
which one weight does not fit the grid of its block is left as it is. Scales are kept in bf16, as accurate as the bf16
weights they replace (the tests compare both with float32).

Only for one to a few rows: with a whole prompt the bf16 matrix units win, and the bf16 weights stay for it. Costs 0.6
bytes a weight beside them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lavra.model.base import Model

BLOCK = 32
FEW_ROWS = 4
"""Measured on Zen 5: at 4 rows 1.3 to 1.6 times as fast as bf16, at 64 less than half."""

# Rounding to bf16 (8 significant bits) moves a weight by up to 2^-8 of itself, and the block's ends likewise. A weight
# that is on no grid passes with a chance of one in eight; all 32 of a block never do.
_TOLERANCE = 2.0**-7


def recover(weight_NK: Tensor) -> tuple[Tensor, Tensor] | None:
    """The 4-bit form of a bf16 matrix that has one: codes (N, K) int32 in 0 to 15, and scales and offsets
    (K / 32, N, 2) bf16 as the kernel wants them, ``(q - 8) · scale + offset``; else None."""
    rows, columns = weight_NK.shape
    if columns % BLOCK or rows % 16:
        return None
    blocks = weight_NK.float().view(rows, columns // BLOCK, BLOCK)
    low, high = blocks.amin(-1, keepdim=True), blocks.amax(-1, keepdim=True)
    step = ((high - low) / 15).clamp_min(torch.finfo(torch.float32).tiny)
    codes = ((blocks - low) / step).round_()
    error = (blocks - (codes * step + low)).abs_()
    if bool((error > _TOLERANCE * torch.maximum(low.abs(), high.abs())).any()):
        return None
    # The line through all 32 points is closer to the file's scale than one drawn through two rounded ends.
    centred = codes - codes.mean(-1, keepdim=True)
    slope = (centred * blocks).sum(-1) / centred.square().sum(-1).clamp_min(1)
    offset = blocks.mean(-1) - slope * (codes.mean(-1) - 8)
    return codes.view(rows, columns).int(), torch.stack((slope.T, offset.T), -1).bfloat16().contiguous()


class FourBitLinear(nn.Module):
    """A linear map that reads 4-bit weights for a few rows and leaves the rest to ``many``."""

    def __init__(self, many: nn.Module, codes_NK: Tensor, scales: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.many = many
        self._packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes_NK, 1)
        self._scales, self._bias = scales, bias

    def forward(self, x: Tensor) -> Tensor:
        rows = x.numel() // x.shape[-1]
        if rows > FEW_ROWS:
            return self.many(x)
        y = torch.ops.aten._weight_int4pack_mm_for_cpu(x.reshape(rows, -1), self._packed, BLOCK, self._scales)
        y = y.view(*x.shape[:-1], -1)
        return y if self._bias is None else y + self._bias


def narrow(model: Model) -> int:
    """Replace the linear maps of the blocks whose weights are 4-bit; the number replaced.

    Only for bf16 on a CPU, and only where a measurement on the first such layer says that it is faster. To be called
    before ``lavra.model.packing.pack``, which makes the weights unreadable; it packs what serves many rows too.
    """
    if model.dtype is not torch.bfloat16 or model.device.type != "cpu":
        return 0
    replaced = 0
    for parent in list(model.blocks.modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, nn.Linear):
                continue
            found = recover(child.weight)
            if found is None:
                continue
            try:
                layer = FourBitLinear(child, *found, child.bias)
                if not replaced and not _is_faster(layer, child.in_features):
                    return 0
            except (AttributeError, RuntimeError):  # an internal operator: tried, not assumed
                return 0
            setattr(parent, name, layer)
            replaced += 1
    return replaced


def _is_faster(layer: FourBitLinear, columns: int) -> bool:
    """At one row; the best of several, a millisecond in all."""
    x = torch.ones(1, columns, dtype=torch.bfloat16)

    def seconds(function: Callable[[Tensor], Tensor]) -> float:
        best = float("inf")
        for _ in range(8):
            start = time.perf_counter()
            function(x)
            best = min(best, time.perf_counter() - start)
        return best

    with torch.inference_mode():
        return seconds(layer) < seconds(layer.many)
