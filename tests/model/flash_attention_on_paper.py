"""PyTorch's flash attention for packed texts without a GPU: what lies under ``varlen_attn``, by the formula."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor


class FlashAttentionOnPaper:
    """The two operators under PyTorch's ``varlen_attn``, which have kernels on GPUs alone, by the formula.

    What stands above them is PyTorch's own: the signature, the operator's schema, its autograd. What they refuse is
    refused here too (``mha_varlen_fwd`` and ``mha_varlen_bwd`` in aten/src/ATen/native/transformers/cuda/flash_attn/
    flash_api.cpp), and what they return is held to PyTorch's own description of it, the implementation for ``meta``.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.library = torch.library.Library("aten", "IMPL")
        self.library.impl("_flash_attention_forward", self.forward, "CPU")
        self.library.impl("_flash_attention_backward", self.backward, "CPU")

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *rest: Any, **options: Any) -> tuple[Tensor, ...]:
        starts_q, starts_k, longest_q, longest_k, dropout, causal, debug = rest
        self.calls += 1
        assert not debug
        assert dropout == 0.0
        self.refuse(q, k, v, starts_q, starts_k, longest_q, longest_k)
        mixed, sums = [], []
        for text, scores in self.scores(q, k, starts_q, longest_q, causal, **options):
            mixed.append((scores.softmax(-1) @ self.of_each_head(v[text], q)).transpose(0, 1))
            sums.append(scores.logsumexp(-1))
        seed, unused = torch.zeros(2, dtype=torch.uint64), torch.zeros((), dtype=torch.uint64)
        given = torch.cat(mixed).to(q.dtype), torch.cat(sums, 1), seed, unused, q.new_empty(0)
        described = torch.ops.aten._flash_attention_forward(
            *(x.to("meta") if isinstance(x, Tensor) else x for x in (q, k, v, *rest)), **options
        )
        assert [(x.shape, x.dtype) for x in given] == [(x.shape, x.dtype) for x in described]
        return given

    def backward(self, pull: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any, **options: Any) -> tuple[Tensor, ...]:
        """Dao et al. 2022, algorithm 4: the weights come from the sums that were kept."""
        out, sums, starts_q, starts_k, longest_q, longest_k, dropout, causal, _seed, _unused = rest
        self.calls += 1
        assert dropout == 0.0
        self.refuse(q, k, v, starts_q, starts_k, longest_q, longest_k)
        assert out.shape == pull.shape == q.shape
        assert out.dtype == pull.dtype == q.dtype
        assert out.stride(-1) == pull.stride(-1) == 1
        scale, group = options["scale"], q.shape[1] // k.shape[1]
        pulls: list[list[Tensor]] = [[], [], []]
        for text, scores in self.scores(q, k, starts_q, longest_q, causal, **options):
            weights = (scores - sums[:, text, None]).exp()
            own, back = (x[text].transpose(0, 1).float() for x in (q, pull))
            inward = (back * out[text].transpose(0, 1).float()).sum(-1, keepdim=True)
            bent = weights * (back @ self.of_each_head(v[text], q).transpose(1, 2) - inward) * scale
            for_k, for_v = (
                x.unflatten(0, (-1, group)).sum(1) for x in (bent.transpose(1, 2) @ own, weights.transpose(1, 2) @ back)
            )
            for place, x in enumerate((bent @ self.of_each_head(k[text], q), for_k, for_v)):
                pulls[place].append(x.transpose(0, 1))
        of_q, of_k, of_v = (torch.cat(x).to(q.dtype) for x in pulls)
        return of_q, of_k, of_v

    def refuse(
        self, q: Tensor, k: Tensor, v: Tensor, starts_q: Tensor, starts_k: Tensor, longest_q: int, longest_k: int
    ) -> None:
        assert q.dtype in (torch.float16, torch.bfloat16)
        assert k.dtype == v.dtype == q.dtype
        assert q.stride(-1) == k.stride(-1) == v.stride(-1) == 1
        assert q.ndim == 3
        assert k.shape == v.shape
        assert (q.shape[0], q.shape[2]) == (k.shape[0], k.shape[2])
        assert q.shape[1] % k.shape[1] == 0
        assert q.shape[2] % 8 == 0
        assert q.shape[2] <= 256
        for starts, longest in ((starts_q, longest_q), (starts_k, longest_k)):
            assert starts.dtype == torch.int32
            assert starts.is_contiguous()
            # The kernel believes these: what is wrong here is read beyond the end there.
            assert (int(starts[0]), int(starts[-1])) == (0, len(q))
            assert type(longest) is int
            assert 0 < int(starts.diff().min()) <= int(starts.diff().max()) <= longest

    def scores(
        self,
        q: Tensor,
        k: Tensor,
        starts: Tensor,
        longest: int,
        causal: bool,
        *,
        scale: float,
        window_size_left: int,
        window_size_right: int,
        **unused: Any,
    ) -> Iterator[tuple[slice, Tensor]]:
        """Each text, and its scores (H, T, T)."""
        assert not any(option is not None for option in unused.values())
        before, after = window_size_left, 0 if causal else window_size_right
        before, after = (-1 if size >= longest else size for size in (before, after))
        for start, end in pairwise(starts.tolist()):
            text = slice(start, end)
            scores = q[text].transpose(0, 1).float() @ self.of_each_head(k[text], q).transpose(1, 2) * scale
            i, j = torch.arange(end - start)[:, None], torch.arange(end - start)
            seen = ((before < 0) | (i - j <= before)) & ((after < 0) | (j - i <= after))
            yield text, scores.masked_fill(~seen, -math.inf)

    def of_each_head(self, x_NKD: Tensor, q: Tensor) -> Tensor:
        return x_NKD.float().transpose(0, 1).repeat_interleave(q.shape[1] // x_NKD.shape[1], 0)


@cache
def flash_attention_on_paper() -> FlashAttentionOnPaper:
    return FlashAttentionOnPaper()
