"""Pieces of a block whose backward pass PyTorch would make of many small ones: written out, they read and keep less.

Each is equal to the plain expression, which inference uses; the tests compare values and gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Heads = tuple[Tensor, Tensor, Tensor]


def gated_silu(up_NF: Tensor) -> Tensor:
    """silu(gate) · value for rows that hold gate and value one after the other: (…, 2F) to (…, F) (Shazeer 2020)."""
    return _GatedSilu.apply(up_NF)


class _GatedSilu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, up: Tensor) -> Tensor:
        ctx.save_for_backward(up)
        gate, value = up.chunk(2, -1)
        return F.silu(gate).mul_(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (up,) = ctx.saved_tensors
        gate, value = up.chunk(2, -1)
        dup = torch.empty_like(up)
        dgate, dvalue = dup.chunk(2, -1)
        torch.mul(gradients[0], value, out=dgate)
        torch.ops.aten.silu_backward.grad_input(dgate, gate, grad_input=dgate)
        torch.mul(gradients[0], F.silu(gate), out=dvalue)
        return dup


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / √(mean x² + eps) · weight over the last axis, in float32 within (Zhang and Sennrich 2019, eq. 4)."""
    return _RMSNorm.apply(x, weight, eps)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        inverse = torch.linalg.vecdot(wide, wide).div_(x.shape[-1]).add_(eps).rsqrt_().unsqueeze(-1)
        ctx.save_for_backward(x, weight, inverse)
        return wide.mul(inverse).mul_(weight.float()).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, inverse = ctx.saved_tensors
        normed = x.float().mul_(inverse) if x.dtype is not torch.float32 else x * inverse
        due = gradients[0].float()
        product = due * normed
        dweight = product.flatten(0, -2).sum(0).to(weight.dtype) if ctx.needs_input_grad[1] else None
        wide = weight.float()
        along = torch.mv(product.flatten(0, -2), wide).div_(x.shape[-1]).view(inverse.shape)
        dx = torch.mul(due, wide, out=product).addcmul_(normed, along, value=-1).mul_(inverse)
        return dx.to(x.dtype), dweight, None


def split_heads(qkv_BTND: Tensor, heads: int, kv_heads: int, cos: Tensor, sin: Tensor) -> Heads:
    """Queries, keys and values, heads first, (B, H, T, D) and twice (B, K, T, D), with rotary positions turned into
    queries and keys; ``cos`` and ``sin`` as ``positions.rotate`` takes them, as wide as a head."""
    return _SplitHeads.apply(qkv_BTND, heads, kv_heads, cos, sin)


class _SplitHeads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, heads: int, kv_heads: int, cos: Tensor, sin: Tensor) -> Heads:
        ctx.save_for_backward(cos, sin)
        ctx.heads, ctx.kv_heads = heads, kv_heads
        turned = _turn(qkv[:, :, : heads + kv_heads], cos, sin)
        q, k, v = turned[:, :, :heads], turned[:, :, heads:], qkv[:, :, heads + kv_heads :]
        return q.transpose(1, 2).contiguous(), k.transpose(1, 2).contiguous(), v.transpose(1, 2).contiguous()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        dq, dk, dv = (gradient.transpose(1, 2) for gradient in gradients)
        batch, time, _, width = dq.shape
        turned = ctx.heads + ctx.kv_heads
        dqkv = dq.new_empty(batch, time, turned + ctx.kv_heads, width)
        # A rotation's transpose is the rotation back: sine changes its sign.
        dqkv[:, :, : ctx.heads] = _turn(dq, cos, -sin)
        dqkv[:, :, ctx.heads : turned] = _turn(dk, cos, -sin)
        dqkv[:, :, turned:] = dv
        return dqkv, None, None, None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)
