"""Attention is one function, :func:`attend`, over a small description of who may see whom.

Scaled dot-product attention (Vaswani et al. 2017, section 3.2.1) with grouped key/value heads (Ainslie et al. 2023).
A pattern (window, segments, blocks, shifted groups) is a field of :class:`Mask`; which kernel computes it is decided
here and known nowhere else. One test holds every kernel to the dense float32 answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from lavra.model.causal import attend_causally
from lavra.model.config import Sparse


@dataclass(frozen=True)
class Mask:
    """Which keys a query may see. The T queries are the last T of the S keys, but for ``cross`` attention.

    ``causal``: a query sees no later key. ``window``: causal, it sees itself and the window - 1 keys before it;
    otherwise the keys at most ``window`` away on either side. ``sinks``: beside the window, the first tokens of each
    text. ``sparse``: a pattern of blocks. ``shift``: only keys of its own group of so many; for the second half of
    the heads groups begin half a group earlier (Chen et al. 2023, LongLoRA; no wrap-around, so nothing leaks).
    ``valid_BS``: true where a key is a real token and not padding. ``segments_BS``: texts packed into a row, by
    number; they never see each other. ``cross``: keys are another sequence's, ``query_segments_BT`` then says whose
    the queries are. A query that may see nothing (padding) gets an unspecified but finite row.
    """

    causal: bool
    window: int | None = None
    sinks: int = 0
    sparse: Sparse | None = None
    shift: int | None = None
    valid_BS: Tensor | None = None
    segments_BS: Tensor | None = None
    cross: bool = False
    query_segments_BT: Tensor | None = None
    # The dense form is the same for every layer of one pass.
    _dense: dict[tuple[int, int, int], Tensor] = field(default_factory=dict, repr=False, compare=False)

    @property
    def patterned(self) -> bool:
        """Whether who sees whom depends on more than causality, padding and segments."""
        return self.window is not None or self.sparse is not None or self.shift is not None

    def everything(self, queries: int) -> bool:
        """Whether ``queries`` queries at the end see every key."""
        unbound = not self.patterned and self.valid_BS is None and self.segments_BS is None
        return unbound and (not self.causal or queries == 1)

    def local(self, window: int | None, *, sinks: int = 0) -> Mask:
        """The same mask with a window, for the layers that have one."""
        return replace(self, window=window, sinks=sinks, _dense={})

    def positions(self, queries: int) -> Tensor | None:
        """(B, T): where each of the last ``queries`` tokens stands in its own text; None where a row is one text
        without padding before it."""
        if self.cross or (self.segments_BS is None and (self.valid_BS is None or bool(self.valid_BS[:, 0].all()))):
            return None
        return self.ranks()[:, -queries:]

    def ranks(self) -> Tensor:
        """(B, S): how many real tokens of the same text stand before each key."""
        given = self.valid_BS if self.segments_BS is None else self.segments_BS
        assert given is not None
        valid = torch.ones_like(given, dtype=torch.bool) if self.valid_BS is None else self.valid_BS
        count = valid.long().cumsum(1) - valid.long()
        if self.segments_BS is not None:
            begins = torch.ones_like(valid)
            begins[:, 1:] = self.segments_BS[:, 1:] != self.segments_BS[:, :-1]
            count = count - torch.where(begins, count, 0).cummax(1).values
        return count

    def dense(self, queries: int, keys: int, heads: int, device: torch.device) -> Tensor | None:
        """Booleans that broadcast to (B, H, T, S), true where attention is allowed; None when everything is."""
        if self.everything(queries):
            return None
        place = queries, keys, heads if self.shift else 0
        if place not in self._dense:
            self._dense[place] = self._make_dense(queries, keys, heads, device)
        return self._dense[place]

    def _make_dense(self, queries: int, keys: int, heads: int, device: torch.device) -> Tensor:
        i = torch.arange(keys - queries, keys, device=device)[:, None]
        j = torch.arange(keys, device=device)[None, :]
        allowed = self.allows(i, j)[None, None]
        if self.shift is not None:
            early = (i + self.shift // 2) // self.shift == (j + self.shift // 2) // self.shift
            late = i // self.shift == j // self.shift
            allowed = torch.stack(
                [(late if head < (heads + 1) // 2 else early) & allowed[0, 0] for head in range(heads)]
            )
            allowed = allowed[None]
        if self.sinks and self.window is not None:
            first = (j < self.sinks)[None, None]
            if self.valid_BS is not None or self.segments_BS is not None:
                first = (self.ranks()[:, :keys] < self.sinks)[:, None, None, :]
            allowed = allowed | (first & (j <= i if self.causal else torch.ones_like(j <= i)))
        if self.valid_BS is not None:
            allowed = allowed & self.valid_BS[:, None, None, :keys]
        if self.segments_BS is not None:
            segments = self.segments_BS[:, :keys]
            own = segments[:, keys - queries :] if self.query_segments_BT is None else self.query_segments_BT
            allowed = allowed & (own[:, None, :, None] == segments[:, None, None, :])
        if self.valid_BS is not None or self.cross:
            # Softmax over nothing is NaN, and NaN spreads through the batch: a padded query sees itself.
            allowed = allowed | (~allowed.any(-1, keepdim=True) if self.cross else i == j)
        return allowed

    def allows(self, i: Tensor, j: Tensor) -> Tensor:
        """Whether the query at place ``i`` may see the key at ``j``, as far as only their places say."""
        allowed = j <= i if self.causal else torch.ones_like(j <= i)
        if self.window is not None:
            near = i - j < self.window if self.causal else (i - j).abs() <= self.window
            allowed = allowed & near
        if self.sparse is not None:
            local, stride = self.sparse.local, self.sparse.stride
            a, b = i // self.sparse.block, j // self.sparse.block
            if self.sparse.kind == "strided":
                seen = ((a - b).abs() < local) | ((a - b) % stride == 0)
            else:
                seen = (a // stride == b // stride) | (b % stride >= stride - local)
            allowed = allowed & seen
        return allowed


def attend(
    q_BHTD: Tensor,
    k_BKSD: Tensor,
    v_BKSD: Tensor,
    mask: Mask,
    *,
    scale: float | None = None,
    bias: Tensor | None = None,
    soft_cap: float | None = None,
    sink_logits_H: Tensor | None = None,
    relative_values: tuple[Tensor, Tensor] | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """softmax(scale · q kᵀ + bias + mask) v, of shape (B, H, T, D); each key/value head serves H/K query heads in turn.

    ``scale``: 1 / √D by default. ``bias``: broadcasts to (B, H, T, S). ``soft_cap`` c: scores become
    c · tanh(score / c) before the bias. ``sink_logits_H``: one more score a head, whose weight goes nowhere.
    ``relative_values``: Shaw's (index_TS, table_ND), added to the values that the query sees. ``dropout``: the
    probability with which a weight is dropped.
    """
    batch, heads, queries, width = q_BHTD.shape
    kv_heads, keys = k_BKSD.shape[1], k_BKSD.shape[2]
    scale = width**-0.5 if scale is None else scale
    allowed = mask.dense(queries, keys, heads, q_BHTD.device)
    if soft_cap is not None or sink_logits_H is not None or relative_values is not None:
        return attend_explicitly(
            q_BHTD, k_BKSD, v_BKSD, allowed, scale, bias, soft_cap, sink_logits_H, relative_values, dropout
        )
    if bias is None and not dropout:
        if queries == 1 and heads != kv_heads and (allowed is None or allowed.shape[1] == 1):
            # One query per head: the G heads of a group are G queries to the same keys, so nothing is repeated.
            # Measured on a CPU in bf16, 9 heads over 3 and 512 keys: 35 µs, against 225 µs with enable_gqa.
            q_BKGD = q_BHTD.reshape(batch, kv_heads, heads // kv_heads, width)
            mixed = F.scaled_dot_product_attention(q_BKGD, k_BKSD, v_BKSD, allowed, scale=scale)
            return mixed.reshape(batch, heads, 1, width)
        if not mask.causal and heads == kv_heads and _products_are_faster(q_BHTD.device, q_BHTD.dtype):
            return _attend_by_products(q_BHTD, k_BKSD, v_BKSD, allowed, scale)
    unbound = not mask.patterned and mask.valid_BS is None and mask.segments_BS is None and bias is None
    if mask.causal and unbound and queries > 1 and not dropout and _products_are_faster(q_BHTD.device, q_BHTD.dtype):
        return attend_causally(q_BHTD, k_BKSD, v_BKSD, scale)
    plain_causal = mask.causal and unbound and queries == keys and queries > 1
    return F.scaled_dot_product_attention(
        q_BHTD,
        k_BKSD,
        v_BKSD,
        None if plain_causal else _additive(allowed, bias, q_BHTD.dtype),
        is_causal=plain_causal,
        enable_gqa=heads != kv_heads,
        scale=scale,
        dropout_p=dropout,
    )


def _additive(allowed: Tensor | None, bias: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """One mask for PyTorch's kernels: booleans as they are, or the bias with -inf where nothing is allowed."""
    if bias is None:
        return allowed
    bias = bias.to(dtype)
    return bias if allowed is None else bias.masked_fill(~allowed, float("-inf"))


def attend_explicitly(
    q_BHTD: Tensor,
    k_BKSD: Tensor,
    v_BKSD: Tensor,
    allowed: Tensor | None,
    scale: float,
    bias: Tensor | None = None,
    soft_cap: float | None = None,
    sink_logits_H: Tensor | None = None,
    relative_values: tuple[Tensor, Tensor] | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """The definition, with its scores in float32: what the fused kernels cannot do, and what they are held to."""
    group = q_BHTD.shape[1] // k_BKSD.shape[1]
    k_BHSD, v_BHSD = k_BKSD.repeat_interleave(group, 1), v_BKSD.repeat_interleave(group, 1)
    scores = (q_BHTD @ k_BHSD.transpose(-1, -2)).float() * scale
    if soft_cap is not None:
        scores = soft_cap * torch.tanh(scores / soft_cap)
    if bias is not None:
        scores = scores + bias
    if allowed is not None:
        scores = scores.masked_fill(~allowed, float("-inf"))
    if sink_logits_H is not None:
        sink = sink_logits_H.float().view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        weights = torch.cat((scores, sink), -1).softmax(-1)[..., :-1]
    else:
        weights = scores.softmax(-1)
    weights = F.dropout(weights, dropout, training=dropout > 0).to(v_BHSD.dtype)
    mixed = weights @ v_BHSD
    if relative_values is not None:
        index_TS, table_ND = relative_values
        # Weights are summed by distance first: T·S·D numbers never exist.
        by_distance = weights.new_zeros(*weights.shape[:3], len(table_ND))
        by_distance.scatter_add_(-1, index_TS.expand_as(weights), weights)
        mixed = mixed + by_distance @ table_ND.to(weights.dtype)
    return mixed


def _attend_by_products(q_BHTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, allowed: Tensor | None, scale: float) -> Tensor:
    """The definition, as two batched matrix products; the scores exist, so it is for short texts without a cache."""
    batch, heads, queries, width = q_BHTD.shape
    q, k, v = (x.reshape(batch * heads, -1, width) for x in (q_BHTD, k_BHSD, v_BHSD))
    bias, beta = q.new_zeros(1), 0
    if allowed is not None:
        hidden = torch.zeros_like(allowed, dtype=q.dtype).masked_fill_(~allowed, float("-inf"))
        bias, beta = hidden.expand(batch, heads, queries, -1).reshape(batch * heads, queries, -1), 1
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), beta=beta, alpha=scale)
    return torch.bmm(scores.softmax(-1), v).view(batch, heads, queries, width)


@cache
def _products_are_faster(device: torch.device, dtype: torch.dtype) -> bool:
    """Measured once a process, some milliseconds, on eight texts of 128 tokens.

    The fused CPU kernel is written around AMX; with AVX512-BF16 alone it took twice the time of the plain products.
    """
    if device.type != "cpu" or dtype != torch.bfloat16:
        return False
    x = torch.ones(8, 12, 128, 32, dtype=dtype, device=device)

    def seconds(kernel: Callable[[], Tensor]) -> float:
        best = float("inf")
        for _ in range(4):
            start = time.perf_counter()
            kernel()
            best = min(best, time.perf_counter() - start)
        return best

    products = seconds(lambda: _attend_by_products(x, x, x, None, 1.0))
    return products < seconds(lambda: F.scaled_dot_product_attention(x, x, x))
