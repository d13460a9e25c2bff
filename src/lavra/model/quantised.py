"""Frozen weights kept in 4 or 8 bits and computed with in full: what lies under an adapter
(QLoRA, Dettmers et al. 2023).

``nf4``: each block of 64 weights is divided by its largest and rounded to one of 16 levels that are the quantiles of a
normal distribution (QLoRA, section 3 and appendix E); the blocks' largest are themselves kept in 8 bits (double
quantisation): 4.13 bits a weight. ``int8``: each row is divided by its largest and rounded to 8 bits (Dettmers et al.
2022). A product makes the weights again, in the input's dtype, for as long as it needs them: on the way forward and
once more on the way back. ``load_model(..., storage=)`` quantises each matrix as it is read, so that the model never
exists in full.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavra.errors import LavraError

Storage = Literal["nf4", "int8"]
STORAGES: tuple[Storage, ...] = ("nf4", "int8")
BLOCK = 64
_SCALES = 256  # blocks whose largest weights share one scale
# Weights that are quantised at a time: their codes are 64-bit numbers at first. Reading a model of 60 million weights
# peaked at 1.3 to 1.6 times what it is in 4 bits, with four times as many at once at 1.4 to 2.3 (holes in the heap).
_PIECE = 1 << 18

NF4 = torch.tensor(
    [
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ]
)
"""The levels, QLoRA appendix E."""


class QuantisedLinear(nn.Module):
    """``F.linear`` over a weight (out, in) in few bits; it takes no gradient of it and cannot be trained."""

    def __init__(self, linear: nn.Linear, storage: Storage) -> None:
        super().__init__()
        if storage not in STORAGES:
            raise LavraError(f"weights cannot be kept as {storage!r}; Lavra knows {', '.join(STORAGES)}")
        weight = linear.weight.detach()
        self.storage = storage
        self.out_features, self.in_features = weight.shape
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach(), requires_grad=False)
        if storage == "int8":
            largest = weight.float().abs().amax(1, keepdim=True).clamp_min(1e-12)
            self.register_buffer("codes", (weight.float() / largest * 127).round_().to(torch.int8))
            self.register_buffer("scales", (largest / 127).to(torch.float32))
            return
        if weight.numel() % (2 * BLOCK):
            raise LavraError(f"a matrix of {tuple(weight.shape)} is no whole number of blocks of {BLOCK}; use int8")
        codes, largest = _to_nf4(weight)
        self.register_buffer("codes", codes)
        scales, steps, mean = _squeeze(largest)
        self.register_buffer("scales", scales)
        self.register_buffer("steps", steps)
        self.register_buffer("mean", mean)

    def dense_weight(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """(out, in): the weights that products use."""
        codes: Tensor = self.codes  # type: ignore[assignment]
        scales: Tensor = self.scales  # type: ignore[assignment]
        if self.storage == "int8":
            return codes.to(dtype) * scales.to(dtype)
        largest = _unsqueeze(scales, self.steps, self.mean)  # type: ignore[arg-type]
        dense = _look_up(codes, dtype).view(-1, BLOCK).mul_(largest.to(dtype)[:, None])
        return dense.view(self.out_features, self.in_features)

    def forward(self, x: Tensor) -> Tensor:
        return _Product.apply(x, self)

    def bits(self) -> float:
        """Bits a weight, scales included."""
        return 8 * sum(b.numel() * b.element_size() for b in self.buffers()) / (self.out_features * self.in_features)


def may_be_quantised(path: str, module: nn.Module) -> bool:
    """Whether the module at ``path`` of a model is a linear map of its blocks; routers decide by small differences."""
    return isinstance(module, nn.Linear) and "blocks." in path and not path.endswith(("router", "shared_gate"))


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantisedLinear) -> Tensor:
        ctx.layer, ctx.dtype = layer, x.dtype
        return F.linear(x, layer.dense_weight(x.dtype), None if layer.bias is None else layer.bias.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] @ ctx.layer.dense_weight(ctx.dtype), None


def _to_nf4(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Codes, two a byte (the first weight in the high half), and the largest absolute value of each block."""
    middles = ((NF4[1:] + NF4[:-1]) / 2).to(weight.device)
    found, scales = [], []
    for piece in weight.reshape(-1, BLOCK).split(_PIECE // BLOCK):
        blocks = piece.float()
        largest = blocks.abs().amax(1).clamp_min(1e-12)
        codes = torch.bucketize(blocks / largest[:, None], middles).to(torch.uint8).view(-1, 2)
        found.append(codes[:, 0] << 4 | codes[:, 1])
        scales.append(largest)
    return torch.cat(found), torch.cat(scales)


def _look_up(codes: Tensor, dtype: torch.dtype) -> Tensor:
    """The levels that bytes of ``codes`` stand for. As many at a time as make 64 bits: an index of four bf16 levels by
    two bytes costs a twentieth of an index of two levels by each byte."""
    if dtype.itemsize > 4:
        return _look_up(codes, torch.float32).to(dtype)
    together = 8 // (2 * dtype.itemsize)
    index = codes.view(torch.int16).int() & 0xFFFF if together == 2 else codes.int()
    return _table(dtype, codes.device, together).index_select(0, index).view(dtype)


@cache
def _table(dtype: torch.dtype, device: torch.device, together: int) -> Tensor:
    """The levels of every ``together`` bytes, in the order in which this machine reads them, as 64-bit numbers."""
    levels = NF4.to(device, dtype)
    numbers = torch.arange(256**together, device=device)
    codes = numbers.to(torch.int16).view(torch.uint8).view(-1, 2) if together == 2 else numbers[:, None]
    codes = codes.long()
    return torch.stack((levels[codes >> 4], levels[codes & 15]), -1).flatten().view(torch.int64)


def _squeeze(largest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The blocks' largest in 8 bits around their mean, a step for each 256 (QLoRA, section 3, double quantisation)."""
    mean = largest.mean()
    padded = F.pad(largest - mean, (0, -len(largest) % _SCALES)).view(-1, _SCALES)
    steps = padded.abs().amax(1).clamp_min(1e-12) / 127
    codes = (padded / steps[:, None]).round().to(torch.int8)
    return codes.view(-1)[: len(largest)].clone(), steps, mean


def _unsqueeze(codes: Tensor, steps: Tensor, mean: Tensor) -> Tensor:
    return codes.float() * steps.repeat_interleave(_SCALES)[: len(codes)] + mean
