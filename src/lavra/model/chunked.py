"""Losses over a vocabulary without its logits: a few hundred positions at a time, whose gradients are computed at once.

For 2,048 positions and 49,152 words logits are 200 MB in bf16, and a loss written plainly holds them four times over:
as they are, in float32, as probabilities, as gradients. Here a chunk's logits become its gradient in place, which at
once becomes the gradients of hidden states and weights, on the way forward (Hsu et al. 2024, Liger Kernel, section
3.2). The sum over positions is linear in what comes from above, so the way back only multiplies.

A chunk is as long as matrix products like. Softmax goes over it a few rows at a time, which stay in the cache in
float32; sums are in float32 (float64 for float64).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 512
"""Positions whose logits exist at a time."""
_BLOCK = 1 << 20
"""Logits a softmax works on at a time: 4 MB in float32."""


def chunked_cross_entropy(
    hidden_NC: Tensor,
    weight_VC: Tensor,
    bias_V: Tensor | None,
    targets_N: Tensor,
    *,
    soft_cap: float | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    chunk: int = CHUNK,
) -> Tensor:
    """Σ -log softmax(cap(hidden · weightᵀ + bias))[target]; see ``heads.cross_entropy`` for the terms."""
    # Inside a Function gradients are always off, so it is told whether anyone will ask for them.
    wanted = torch.is_grad_enabled()
    found: Tensor = _CrossEntropy.apply(
        hidden_NC, weight_VC, bias_V, targets_N, soft_cap, label_smoothing, z_loss, chunk, wanted
    )
    return found


def chunked_log_probabilities(
    hidden_NC: Tensor,
    weight_VC: Tensor,
    bias_V: Tensor | None,
    targets_N: Tensor,
    *,
    soft_cap: float | None = None,
    chunk: int = CHUNK,
) -> Tensor:
    """log softmax(cap(hidden · weightᵀ + bias))[target], (N,). What comes from above differs by position, so logits
    are made a second time on the way back."""
    found: Tensor = _LogProbabilities.apply(hidden_NC, weight_VC, bias_V, targets_N, soft_cap, chunk)
    return found


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_NC: Tensor,
        weight_VC: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        soft_cap: float | None,
        label_smoothing: float,
        z_loss: float,
        chunk: int,
        wanted: bool,
    ) -> Tensor:
        weight = weight_VC.to(hidden_NC.dtype)
        grads = _Gradients(hidden_NC, weight_VC, bias_V, tuple(wanted and need for need in ctx.needs_input_grad[:3]))
        total = torch.zeros((), dtype=_precise(hidden_NC.dtype), device=hidden_NC.device)
        for start in range(0, len(hidden_NC), chunk):
            hidden, targets = hidden_NC[start : start + chunk], targets_N[start : start + chunk]
            z = _linear(hidden, weight, bias_V)
            for rows in _row_blocks(z):
                block = z[rows].to(total.dtype)
                log_sum, target, mean = _log_sum_exp(block, targets[rows], soft_cap, label_smoothing > 0)
                loss = log_sum - (1 - label_smoothing) * target
                if mean is not None:
                    loss -= label_smoothing * mean
                if z_loss:
                    loss += z_loss * log_sum.square()
                total += loss.sum()
                if grads.any:
                    # d loss / d capped logit = p · (1 + 2 λ log Σ exp) - (1 - ε) [target] - ε / V
                    factor = 1 + 2 * z_loss * log_sum if z_loss else None
                    _gradient(block, z[rows], targets[rows], log_sum, soft_cap, label_smoothing, factor, None)
            if grads.any:
                grads.add(start, z, hidden, weight)
        ctx.save_for_backward(*grads.tensors)
        ctx.dtypes = weight_VC.dtype, None if bias_V is None else bias_V.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias = ctx.saved_tensors
        weight_dtype, bias_dtype = ctx.dtypes
        scaled = (
            _scaled(hidden, given[0], hidden.dtype if hidden is not None else None),
            _scaled(weight, given[0], weight_dtype),
            _scaled(bias, given[0], bias_dtype),
        )
        return *scaled, None, None, None, None, None, None


class _LogProbabilities(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_NC: Tensor,
        weight_VC: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        soft_cap: float | None,
        chunk: int,
    ) -> Tensor:
        weight = weight_VC.to(hidden_NC.dtype)
        found = torch.empty(len(hidden_NC), dtype=_precise(hidden_NC.dtype), device=hidden_NC.device)
        log_sums = torch.empty_like(found)
        for start in range(0, len(hidden_NC), chunk):
            z = _linear(hidden_NC[start : start + chunk], weight, bias_V)
            for rows in _row_blocks(z):
                here = slice(start + rows.start, start + rows.stop)
                log_sum, target, _ = _log_sum_exp(z[rows].to(found.dtype), targets_N[here], soft_cap, False)
                found[here], log_sums[here] = target - log_sum, log_sum
        ctx.save_for_backward(hidden_NC, weight_VC, bias_V, targets_N, log_sums)
        ctx.soft_cap, ctx.chunk = soft_cap, chunk
        return found

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        hidden_NC, weight_VC, bias_V, targets_N, log_sums = ctx.saved_tensors
        weight = weight_VC.to(hidden_NC.dtype)
        grads = _Gradients(hidden_NC, weight_VC, bias_V, ctx.needs_input_grad[:3])
        for start in range(0, len(hidden_NC), ctx.chunk):
            hidden = hidden_NC[start : start + ctx.chunk]
            z = _linear(hidden, weight, bias_V)
            for rows in _row_blocks(z):
                here = slice(start + rows.start, start + rows.stop)
                block = z[rows].to(log_sums.dtype)
                if ctx.soft_cap is not None:
                    _cap(block, ctx.soft_cap)
                # From above comes d / d log p = -d / d loss.
                _gradient(block, z[rows], targets_N[here], log_sums[here], ctx.soft_cap, 0.0, None, -given[0][here])
            grads.add(start, z, hidden, weight)
        hidden_grad, weight_grad, bias_grad = grads.tensors
        return (
            hidden_grad,
            None if weight_grad is None else weight_grad.to(weight_VC.dtype),
            None if bias_grad is None else bias_grad.to(bias_V.dtype),
            None,
            None,
            None,
        )


class _Gradients:
    """Of the hidden states, the weight and the bias, as far as they are needed; filled chunk by chunk."""

    def __init__(self, hidden_NC: Tensor, weight_VC: Tensor, bias_V: Tensor | None, needed: tuple[bool, ...]) -> None:
        precise = _precise(hidden_NC.dtype)
        self.hidden = torch.empty_like(hidden_NC) if needed[0] else None
        self.weight = weight_VC.new_zeros(weight_VC.shape, dtype=precise) if needed[1] else None
        self.bias = bias_V.new_zeros(bias_V.shape, dtype=precise) if needed[2] and bias_V is not None else None

    @property
    def tensors(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        return self.hidden, self.weight, self.bias

    @property
    def any(self) -> bool:
        return any(tensor is not None for tensor in self.tensors)

    def add(self, start: int, dz: Tensor, hidden: Tensor, weight: Tensor) -> None:
        """What ``dz``, the gradient of the logits of ``hidden``, gives to each."""
        if self.hidden is not None:
            torch.mm(dz, weight, out=self.hidden[start : start + len(dz)])
        if self.weight is not None:
            if self.weight.dtype == dz.dtype:
                self.weight.addmm_(dz.t(), hidden)
            else:
                self.weight += dz.t() @ hidden
        if self.bias is not None:
            self.bias += dz.sum(0, dtype=self.bias.dtype)


def _linear(hidden: Tensor, weight: Tensor, bias_V: Tensor | None) -> Tensor:
    return F.linear(hidden, weight, None if bias_V is None else bias_V.to(hidden.dtype))


def _row_blocks(z: Tensor) -> Iterator[slice]:
    rows = max(1, _BLOCK // z.shape[1]) if z.device.type == "cpu" else len(z)
    for start in range(0, len(z), rows):
        yield slice(start, min(start + rows, len(z)))


def _log_sum_exp(
    block: Tensor, targets: Tensor, soft_cap: float | None, average: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """log Σ exp, the target's logit, and the mean logit where it is asked for; ``block`` is capped in place."""
    if soft_cap is not None:
        _cap(block, soft_cap)
    target = block.gather(1, targets[:, None]).squeeze(1)
    return torch.logsumexp(block, 1), target, block.mean(1) if average else None


def _cap(block: Tensor, soft_cap: float) -> None:
    block.div_(soft_cap).tanh_().mul_(soft_cap)


def _gradient(
    block: Tensor,
    out: Tensor,
    targets: Tensor,
    log_sum: Tensor,
    soft_cap: float | None,
    label_smoothing: float,
    factor: Tensor | None,
    given: Tensor | None,
) -> None:
    """Write into ``out`` the gradient of the loss by the logits before the cap, from the capped ones in ``block``,
    which is overwritten. ``factor`` of each row's probabilities, ``given`` of each row's gradient."""
    slope = None if soft_cap is None else 1 - (block / soft_cap).square()
    block.sub_(log_sum[:, None]).exp_()
    if factor is not None:
        block.mul_(factor[:, None])
    if label_smoothing:
        block.sub_(label_smoothing / block.shape[1])
    block.scatter_add_(1, targets[:, None], block.new_full((len(block), 1), label_smoothing - 1))
    if slope is not None:
        block.mul_(slope)
    if given is not None:
        block.mul_(given[:, None])
    out.copy_(block)


def _scaled(gradient: Tensor | None, by: Tensor, dtype: torch.dtype | None) -> Tensor | None:
    if gradient is None or dtype is None:
        return None
    # Multiplied before it is rounded, in one pass.
    return torch.mul(gradient, by.to(gradient.dtype), out=torch.empty_like(gradient, dtype=dtype))


def _precise(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
