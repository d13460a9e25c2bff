"""Gradient caching (Gao et al. 2021, Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup).

A loss over a batch needs all its vectors at once, but not all its activations. Vectors are computed without keeping
any; the loss gives a gradient for each vector; then every group of texts is computed again, with its activations this
time, and handed its vectors' gradients. Exactly the gradients of the plain way, for one more forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Compute = Callable[[Sequence[int]], Tensor]
"""The vectors, (n, D), of some of the batch's texts."""


def in_two_passes(compute: Compute, groups: Sequence[Sequence[int]]) -> Tensor:
    """The vectors of all groups, (N, D), in the texts' order; differentiable, with the activations of one group.

    Parameters receive their gradients in ``backward()`` as of a plain pass, one group after another; asking for them
    with ``torch.autograd.grad`` instead finds none. Dropout falls alike in both passes.
    """
    trigger = torch.zeros((), requires_grad=True)
    vectors: Tensor = _TwoPasses.apply(trigger, compute, groups)
    return vectors


class _TwoPasses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, trigger: Tensor, compute: Compute, groups: Sequence[Sequence[int]]) -> Tensor:
        ctx.compute, ctx.groups, ctx.random = compute, groups, []
        found = []
        for group in groups:
            ctx.random.append(_random_state())
            found.append(compute(group))
        vectors = torch.cat(found)
        order = torch.tensor([index for group in groups for index in group], device=vectors.device)
        return torch.empty_like(vectors).index_copy_(0, order, vectors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None]:
        now = _random_state()
        for group, state in zip(ctx.groups, ctx.random, strict=True):
            _restore(state)
            with torch.enable_grad():
                vectors = ctx.compute(group)
            mine = gradients[0][torch.tensor(group, device=vectors.device)]
            # As a checkpoint does it: gradients go into the parameters here, where the loop's hooks pick them up.
            torch.autograd.backward(vectors, mine)
        _restore(now)
        return None, None, None


def _random_state() -> list[Tensor]:
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else ())]


def _restore(state: list[Tensor]) -> None:
    torch.set_rng_state(state[0])
    if len(state) > 1:
        torch.cuda.set_rng_state_all(state[1:])
