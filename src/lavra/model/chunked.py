"""Losses over a vocabulary without its logits: some positions at a time, whose gradients are computed at once.

For 2,048 positions and 49,152 words logits are 200 MB in bf16, and a loss written plainly holds them four times over:
as they are, in float32, as probabilities, as gradients. Here a chunk's logits become its gradient in place, which at
once becomes the gradients of hidden states and weights, on the way forward (Hsu et al. 2024, Liger Kernel, section
3.2). The sum over positions is linear in what comes from above, so the way back only multiplies.

A chunk is long, for matrix products. Softmax goes over it a few rows at a time, which stay in the cache in float32;
sums are in float32 (float64 for float64).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_CHUNK_BYTES = 1 << 28
"""Logits that exist at a time. More chunks cost time: each adds to the weight's gradient, which is read and written."""
_BLOCK = 3 << 18
"""Logits a softmax works on at a time, 3 MB in float32: fastest of 0.2 to 3 million on a Zen 5."""


def chunked_cross_entropy(
    hidden_NC: Tensor,
    weight_VC: Tensor,
    bias_V: Tensor | None,
    targets_N: Tensor,
    *,
    soft_cap: float | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    chunk: int | None = None,
) -> Tensor:
    """Σ -log softmax(cap(hidden · weightᵀ + bias))[target]; see ``heads.cross_entropy`` for the terms.

    ``chunk``: positions at a time; by default what makes 256 MB of logits.
    """
    # Inside a Function gradients are always off, so it is told whether anyone will ask for them.
    wanted = torch.is_grad_enabled()
    found: Tensor = _CrossEntropy.apply(
        _autocast(hidden_NC), weight_VC, bias_V, targets_N, soft_cap, label_smoothing, z_loss, chunk, wanted
    )
    return found


def chunked_log_probabilities(
    hidden_NC: Tensor,
    weight_VC: Tensor,
    bias_V: Tensor | None,
    targets_N: Tensor,
    *,
    soft_cap: float | None = None,
    chunk: int | None = None,
) -> Tensor:
    """log softmax(cap(hidden · weightᵀ + bias))[target], (N,). What comes from above differs by position, so logits
    are made a second time on the way back."""
    found: Tensor = _LogProbabilities.apply(_autocast(hidden_NC), weight_VC, bias_V, targets_N, soft_cap, chunk)
    return found


def _autocast(hidden_NC: Tensor) -> Tensor:
    """In the dtype of the autocast around, which does not reach into a Function's products evenly."""
    device = hidden_NC.device.type
    return hidden_NC.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else hidden_NC


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
        chunk: int | None,
        wanted: bool,
    ) -> Tensor:
        weight = weight_VC.to(hidden_NC.dtype)
        grads = _Gradients(hidden_NC, weight_VC, bias_V, tuple(wanted and need for need in ctx.needs_input_grad[:3]))
        total = torch.zeros((), dtype=_precise(hidden_NC.dtype), device=hidden_NC.device)
        for part in _chunks(hidden_NC, weight, chunk):
            hidden, targets = hidden_NC[part], targets_N[part]
            z = _linear(hidden, weight, bias_V)
            for rows in _row_blocks(z):
                block, slope = _capped(z[rows], soft_cap, total.dtype)
                mean = block.mean(1) if label_smoothing else None
                p, log_sum, target = _softmax(block, targets[rows])
                loss = log_sum - (1 - label_smoothing) * target
                if mean is not None:
                    loss -= label_smoothing * mean
                if z_loss:
                    loss += z_loss * log_sum.square()
                total += loss.sum()
                if grads.any:
                    # d loss / d capped logit = p · (1 + 2 λ log Σ exp) - (1 - ε) [target] - ε / V
                    if z_loss:
                        p.mul_((1 + 2 * z_loss * log_sum)[:, None])
                    if label_smoothing:
                        p.sub_(label_smoothing / p.shape[1])
                    _less_target(p, targets[rows], 1 - label_smoothing)
                    z[rows] = p if slope is None else p.mul_(slope)
            if grads.any:
                grads.add(part, z, hidden, weight)
            del z  # before the next is made
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
        chunk: int | None,
    ) -> Tensor:
        weight = weight_VC.to(hidden_NC.dtype)
        found = torch.empty(len(hidden_NC), dtype=_precise(hidden_NC.dtype), device=hidden_NC.device)
        for part in _chunks(hidden_NC, weight, chunk):
            z = _linear(hidden_NC[part], weight, bias_V)
            for rows in _row_blocks(z):
                block, _ = _capped(z[rows], soft_cap, found.dtype)
                _, log_sum, target = _softmax(block, targets_N[part][rows])
                found[part][rows] = target - log_sum
        ctx.save_for_backward(hidden_NC, weight_VC, bias_V, targets_N)
        ctx.soft_cap, ctx.chunk = soft_cap, chunk
        return found

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        hidden_NC, weight_VC, bias_V, targets_N = ctx.saved_tensors
        weight = weight_VC.to(hidden_NC.dtype)
        grads = _Gradients(hidden_NC, weight_VC, bias_V, ctx.needs_input_grad[:3])
        for part in _chunks(hidden_NC, weight, ctx.chunk):
            hidden, targets, above = hidden_NC[part], targets_N[part], given[0][part]
            z = _linear(hidden, weight, bias_V)
            for rows in _row_blocks(z):
                block, slope = _capped(z[rows], ctx.soft_cap, above.dtype)
                p, _, _ = _softmax(block, targets[rows])
                # d log p / d logit = [target] - p
                _less_target(p, targets[rows], 1.0)
                p.mul_(-above[rows, None])
                z[rows] = p if slope is None else p.mul_(slope)
            grads.add(part, z, hidden, weight)
            del z
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
        self._needed, self._weight_like, self._bias_like = needed, weight_VC, bias_V
        self.any = any(needed)
        self.hidden = torch.empty_like(hidden_NC) if needed[0] else None
        self.weight: Tensor | None = None
        self.bias: Tensor | None = None

    def add(self, part: slice, dz: Tensor, hidden: Tensor, weight: Tensor) -> None:
        """What ``dz``, the gradient of the logits of ``hidden``, gives to each."""
        precise = _precise(dz.dtype)
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


def _chunks(hidden_NC: Tensor, weight: Tensor, chunk: int | None) -> Iterator[slice]:
    """Equal parts of the positions, each of ``chunk`` at most."""
    positions = len(hidden_NC)
    if chunk is None:
        chunk = max(1, _CHUNK_BYTES // (len(weight) * hidden_NC.element_size()))
    parts = -(-positions // chunk)
    for index in range(parts):
        yield slice(positions * index // parts, positions * (index + 1) // parts)


def _linear(hidden: Tensor, weight: Tensor, bias_V: Tensor | None) -> Tensor:
    return F.linear(hidden, weight, None if bias_V is None else bias_V.to(hidden.dtype))


def _row_blocks(z: Tensor) -> Iterator[slice]:
    rows = max(1, _BLOCK // z.shape[1]) if z.device.type == "cpu" else len(z)
    for start in range(0, len(z), rows):
        yield slice(start, min(start + rows, len(z)))


def _capped(z: Tensor, soft_cap: float | None, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """c · tanh(z / c) in ``dtype``, and its slope."""
    block = z.to(dtype)
    if soft_cap is None:
        return block, None
    tanh = block.div(soft_cap).tanh_()
    return tanh * soft_cap, 1 - tanh.square()


def _softmax(block: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities, log Σ exp, and the target's logit.

    The sum is told from the largest probability, which is at least 1 / V: the fused softmax went over a block in a
    third of the time of logsumexp and exp.
    """
    target = block.gather(1, targets[:, None]).squeeze(1)
    p = torch.softmax(block, 1)
    return p, block.amax(1) - p.amax(1).log(), target


def _less_target(p: Tensor, targets: Tensor, amount: float) -> None:
    p.scatter_add_(1, targets[:, None], p.new_full((len(p), 1), -amount))


def _scaled(gradient: Tensor | None, by: Tensor, dtype: torch.dtype | None) -> Tensor | None:
    if gradient is None or dtype is None:
        return None
    # Multiplied before it is rounded, in one pass.
    return torch.mul(gradient, by.to(gradient.dtype), out=torch.empty_like(gradient, dtype=dtype))


def _precise(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
