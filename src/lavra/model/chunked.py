"""Losses over a vocabulary without its logits: some positions at a time, whose gradients are computed at once.

For 2,048 positions and 49,152 words logits are 200 MB in bf16, and a loss written plainly holds them four times over:
as they are, in float32, as probabilities, as gradients. Here a chunk's logits become its gradient in place, which at
once becomes the gradients of hidden states and weights, on the way forward (Hsu et al. 2024, Liger Kernel, section
3.2). The sum over positions is linear in what comes from above, so the way back only multiplies.

A chunk is long, for matrix products. Softmax goes over it a few rows at a time, which stay in the cache in float32;
sums are in float32 (float64 for float64).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lavra.model.vocabulary_chunks import (
    Gradients,
    autocast,
    capped,
    chunks,
    given_back,
    linear,
    precise_dtype,
    row_blocks,
)


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
        autocast(hidden_NC), weight_VC, bias_V, targets_N, soft_cap, label_smoothing, z_loss, chunk, wanted
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
    found: Tensor = _LogProbabilities.apply(autocast(hidden_NC), weight_VC, bias_V, targets_N, soft_cap, chunk)
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
        chunk: int | None,
        wanted: bool,
    ) -> Tensor:
        weight = weight_VC.to(hidden_NC.dtype)
        grads = Gradients(hidden_NC, weight_VC, bias_V, tuple(wanted and need for need in ctx.needs_input_grad[:3]))
        total = torch.zeros((), dtype=precise_dtype(hidden_NC.dtype), device=hidden_NC.device)
        for part in chunks(hidden_NC, weight, chunk):
            hidden, targets = hidden_NC[part], targets_N[part]
            z = linear(hidden, weight, bias_V)
            for rows in row_blocks(z):
                block, slope = capped(z[rows], soft_cap, total.dtype)
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
        grads.keep(ctx)
        return total

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        return *given_back(ctx, given[0]), None, None, None, None, None, None


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
        found = torch.empty(len(hidden_NC), dtype=precise_dtype(hidden_NC.dtype), device=hidden_NC.device)
        for part in chunks(hidden_NC, weight, chunk):
            z = linear(hidden_NC[part], weight, bias_V)
            for rows in row_blocks(z):
                block, _ = capped(z[rows], soft_cap, found.dtype)
                _, log_sum, target = _softmax(block, targets_N[part][rows])
                found[part][rows] = target - log_sum
        ctx.save_for_backward(hidden_NC, weight_VC, bias_V, targets_N)
        ctx.soft_cap, ctx.chunk = soft_cap, chunk
        return found

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        hidden_NC, weight_VC, bias_V, targets_N = ctx.saved_tensors
        weight = weight_VC.to(hidden_NC.dtype)
        grads = Gradients(hidden_NC, weight_VC, bias_V, ctx.needs_input_grad[:3])
        for part in chunks(hidden_NC, weight, ctx.chunk):
            hidden, targets, above = hidden_NC[part], targets_N[part], given[0][part]
            z = linear(hidden, weight, bias_V)
            for rows in row_blocks(z):
                block, slope = capped(z[rows], ctx.soft_cap, above.dtype)
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
