"""The ways to compute attention; ``attention.attend`` chooses between them and says when.

PyTorch's own kernels, texts packed into a row one by one, the formula itself, and what a GPU has. Attention in tiles,
for patterns and long texts, is in ``tiles.py``.

Heads: the G = H / K query heads of a key/value head are G times as many queries to the same keys; keys are not copied.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lavra.model.tiles import FEWEST_KEYS, MOST_ENTRIES, Tile, begins, tiled

if TYPE_CHECKING:
    from lavra.model.attention import Mask

# PyTorch's own kernels


def fused(q_BHTD: Tensor, k_BKSD: Tensor, v_BKSD: Tensor, causal: bool, scale: float) -> Tensor:
    """Causal with T = S, or everything sees everything: no mask exists."""
    gqa = q_BHTD.shape[1] != k_BKSD.shape[1]
    return F.scaled_dot_product_attention(q_BHTD, k_BKSD, v_BKSD, is_causal=causal, scale=scale, enable_gqa=gqa)


def dense(
    q_BHTD: Tensor, k_BKSD: Tensor, v_BKSD: Tensor, additive: Tensor | None, scale: float, dropout: float = 0.0
) -> Tensor:
    """Any mask or bias, all T · S of it."""
    return F.scaled_dot_product_attention(
        q_BHTD,
        k_BKSD,
        v_BKSD,
        additive,
        scale=scale,
        dropout_p=dropout,
        enable_gqa=q_BHTD.shape[1] != k_BKSD.shape[1],
    )


def one_query(q_BHTD: Tensor, k_BKSD: Tensor, v_BKSD: Tensor, mask: Mask, scale: float) -> Tensor:
    """One step of decoding. Of a window, only its keys are read, and the sinks."""
    batch, heads, _, width = q_BHTD.shape
    kv_heads, keys, window = k_BKSD.shape[1], k_BKSD.shape[2], mask.window
    placed = mask.valid_BS is None and mask.segments_BS is None and mask.sparse is None and mask.shift is None
    additive = None
    if mask.causal and window is not None and not mask.cross and keys > window and not mask.sinks:
        if not placed:
            additive = mask.additive(1, keys, heads, q_BHTD)
            additive = None if additive is None else additive[..., -window:]
        k_BKSD, v_BKSD = k_BKSD[:, :, -window:], v_BKSD[:, :, -window:]
    elif mask.causal and window is not None and placed and keys >= 2 * (window + mask.sinks):
        # The copy costs as much as reading as many keys again: it pays where half of the keys are not seen.
        k_BKSD, v_BKSD = (torch.cat((x[:, :, : mask.sinks], x[:, :, -window:]), 2) for x in (k_BKSD, v_BKSD))
    elif not (mask.causal and placed and (window is None or keys <= window)):
        additive = mask.additive(1, keys, heads, q_BHTD)
    if heads != kv_heads and (additive is None or additive.shape[1] == 1):
        # Measured on a CPU in bf16, 9 heads over 3 and 512 keys: 35 µs, against 225 µs with enable_gqa.
        q_BKGD = q_BHTD.reshape(batch, kv_heads, heads // kv_heads, width)
        mixed = F.scaled_dot_product_attention(q_BKGD, k_BKSD, v_BKSD, additive, scale=scale)
        return mixed.reshape(batch, heads, 1, width)
    return dense(q_BHTD, k_BKSD, v_BKSD, additive, scale)


# Texts packed into a row


def stretches(mask: Mask, batch: int, length: int) -> list[list[int]] | None:
    """Row by row the lengths of its texts and of the padding around them; None where padding lies within a text.

    For a mask of segments and padding alone, with as many queries as keys: then each stretch sees only itself.
    """
    segments, valid = mask.segments_BS, mask.valid_BS
    given = segments if valid is None else valid
    assert given is not None
    cuts = torch.zeros(batch, length, dtype=torch.bool, device=given.device)
    cuts[:, 0] = True
    if segments is not None:
        cuts |= begins(segments[:, :length])
    if valid is not None:
        resumes = begins(valid[:, :length]) & valid[:, :length]
        if bool((resumes & (mask.ranks()[:, :length] > 0)).any()):
            return None
        cuts |= begins(valid[:, :length])
    found = []
    for row in cuts:
        places = [*row.nonzero().flatten().tolist(), length]
        found.append([end - start for start, end in pairwise(places)])
    return found


def runs_pay(lengths: list[list[int]], device: torch.device, dtype: torch.dtype) -> bool:
    """Whether one call a stretch is less work than the alternative, which is one call with a mask, or tiles.

    From rows of 256 tokens a mask always lost (4 × 512 float32 in texts of 40 tokens: 8 ms against 29); below, batches
    of short padded texts are better served at once. Tiles lose only to stretches longer than half of one.
    """
    length, count = sum(lengths[0]), sum(map(len, lengths))
    if length < FEWEST_KEYS:
        return False
    return not products_are_faster(device, dtype) or length * len(lengths) >= 128 * count


def texts_pay(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether products a piece of a text beat PyTorch's kernel a text: with gradients 21 ms against 74 for 4 × 512 bf16
    tokens in texts of 128, 32 against 43 in float32; texts of 40 26 against 76, 21 against 25."""
    return device.type == "cpu" and (dtype != torch.bfloat16 or products_are_faster(device, dtype))


def runs(
    q_BHTD: Tensor,
    k_BKSD: Tensor,
    v_BKSD: Tensor,
    lengths: list[list[int]],
    alone: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    """``alone`` for each stretch of each row; stretches of one length are a batch."""
    if all(row == lengths[0] for row in lengths):
        if len(set(lengths[0])) == 1:
            size = lengths[0][0]
            mixed = alone(*(_as_batch(x, size) for x in (q_BHTD, k_BKSD, v_BKSD)))
            return mixed.transpose(1, 2).unflatten(0, (len(q_BHTD), -1)).flatten(1, 2).transpose(1, 2)
        parts = zip(*(x.split(lengths[0], 2) for x in (q_BHTD, k_BKSD, v_BKSD)), strict=True)
        return torch.cat([alone(*part) for part in parts], 2)
    rows = zip(*(x.split(1) for x in (q_BHTD, k_BKSD, v_BKSD)), lengths, strict=True)
    return torch.cat([runs(q, k, v, [row], alone) for q, k, v, row in rows])


def _as_batch(x_BHTD: Tensor, size: int) -> Tensor:
    return x_BHTD.transpose(1, 2).unflatten(1, (-1, size)).flatten(0, 1).transpose(1, 2)


@cache
def products_are_faster(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether plain matrix products beat PyTorch's fused kernel; measured once a process, some milliseconds.

    The fused CPU kernel is written around AMX; with AVX512-BF16 alone it took twice the time of the plain products for
    short texts, and three times for 4 × 512 causal tokens (31 ms against 10, with gradients 97 against 30).
    """
    if device.type != "cpu" or dtype != torch.bfloat16:
        return False
    x = torch.ones(8, 12, 128, 32, dtype=dtype, device=device)
    tile = [Tile(slice(0, 128), slice(0, 128), 128, lambda: None, True)]

    ways = lambda: tiled(x, x, x, tile, 1.0), lambda: F.scaled_dot_product_attention(x, x, x)
    best = [float("inf"), float("inf")]
    for _ in range(8):  # in turns, so that a busy machine slows them alike
        for number, kernel in enumerate(ways):
            start = time.perf_counter()
            kernel()
            best[number] = min(best[number], time.perf_counter() - start)
    return best[0] < best[1]


# The definition


def explicit(
    q_BHTD: Tensor,
    k_BKSD: Tensor,
    v_BKSD: Tensor,
    mask: Mask,
    scale: float,
    bias: Tensor | None = None,
    soft_cap: float | None = None,
    sink_logits_H: Tensor | None = None,
    relative_values: tuple[Tensor, Tensor] | None = None,
    dropout: float = 0.0,
    rows: int | None = None,
) -> Tensor:
    """The formula as it is written, its scores in float32: everything at once, and what the others are held to.

    In chunks of ``rows`` queries, each computed again in the backward pass where there are several.
    """
    batch, heads, queries, _ = q_BHTD.shape
    keys = k_BKSD.shape[2]
    rows = max(16, MOST_ENTRIES // (batch * heads * keys)) if rows is None else rows
    offset = 0 if mask.cross else keys - queries
    j = torch.arange(keys, device=q_BHTD.device)
    bias = None if bias is None else bias.expand(*bias.shape[:-2], queries, keys)
    index = table = None
    if relative_values is not None:
        index, table = relative_values

    def chunk(start: int, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, table: Tensor | None) -> Tensor:
        end = start + q.shape[2]
        allowed = mask.part(torch.arange(offset + start, offset + end, device=q.device), j, heads, offset)
        there = None if index is None else index[start:end]
        return _explicit(q, k, v, allowed, scale, bias, soft_cap, sink_logits_H, there, table, dropout)

    mixed = []
    for start, q, own in _chunks(rows, q_BHTD, bias):
        if torch.is_grad_enabled() and rows < queries:
            mixed.append(checkpoint(chunk, start, q, k_BKSD, v_BKSD, own, table, use_reentrant=False))
        else:
            mixed.append(chunk(start, q, k_BKSD, v_BKSD, own, table))
    return mixed[0] if len(mixed) == 1 else torch.cat(mixed, 2)


def _chunks(rows: int, q_BHTD: Tensor, bias: Tensor | None) -> Iterator[tuple[int, Tensor, Tensor | None]]:
    biases = None if bias is None else bias.split(rows, -2)
    for number, q in enumerate(q_BHTD.split(rows, 2)):
        yield number * rows, q, None if biases is None else biases[number]


def _explicit(
    q_BHTD: Tensor,
    k_BKSD: Tensor,
    v_BKSD: Tensor,
    allowed: Tensor,
    scale: float,
    bias: Tensor | None,
    soft_cap: float | None,
    sink_logits_H: Tensor | None,
    index_TS: Tensor | None,
    table_ND: Tensor | None,
    dropout: float,
) -> Tensor:
    batch, heads, queries, width = q_BHTD.shape
    kv_heads, keys = k_BKSD.shape[1], k_BKSD.shape[2]
    q_BKRD = q_BHTD.reshape(batch, kv_heads, -1, width)
    scores = (q_BKRD @ k_BKSD.transpose(-1, -2)).view(batch, heads, queries, keys).float() * scale
    if soft_cap is not None:
        scores = soft_cap * torch.tanh(scores / soft_cap)
    if bias is not None:
        scores = scores + bias
    scores = scores.masked_fill(~allowed, float("-inf"))
    if sink_logits_H is not None:
        sink = sink_logits_H.float().view(1, -1, 1, 1).expand(batch, heads, queries, 1)
        weights = torch.cat((scores, sink), -1).softmax(-1)[..., :-1]
    else:
        weights = scores.softmax(-1)
    weights = F.dropout(weights, dropout, training=dropout > 0).to(v_BKSD.dtype)
    mixed = (weights.reshape(batch, kv_heads, -1, keys) @ v_BKSD).view(batch, heads, queries, width)
    if index_TS is not None and table_ND is not None:
        # Weights are summed by distance first: T·S·D numbers never exist.
        by_distance = weights.new_zeros(batch, heads, queries, len(table_ND))
        by_distance = by_distance.scatter_add(-1, index_TS.expand_as(weights), weights)
        mixed = mixed + by_distance @ table_ND.to(weights.dtype)
    return mixed


# GPUs


def flex_serves(q_BHTD: Tensor) -> bool:
    """Whether :func:`flex` computes it here: its kernels are for heads of 16 and more."""
    return q_BHTD.is_cuda and q_BHTD.shape[-1] >= 16


def flex(
    q_BHTD: Tensor,
    k_BKSD: Tensor,
    v_BKSD: Tensor,
    mask: Mask,
    scale: float,
    soft_cap: float | None = None,
    *,
    compiled: bool = True,
) -> Tensor:
    """FlexAttention (Dong et al. 2024): PyTorch compiles the mask's own predicate into a kernel, which skips tiles
    that nobody sees. Not compiled it is the definition again, for tests."""
    from torch.nn.attention.flex_attention import flex_attention

    # A tensor: of a second value of a Python number the compiler makes one itself, which its kernels cannot read.
    cap = q_BHTD.new_full((), math.inf if soft_cap is None else soft_cap, dtype=torch.float32)

    def bend(score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return cap * torch.tanh(score / cap)

    kernel: Any = _compiled_flex() if compiled else flex_attention
    return kernel(
        q_BHTD,
        k_BKSD,
        v_BKSD,
        score_mod=None if soft_cap is None else bend,
        block_mask=mask.block_mask(q_BHTD, k_BKSD.shape[2]),
        scale=scale,
        enable_gqa=q_BHTD.shape[1] != k_BKSD.shape[1],
    )


@cache
def _compiled_flex() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)


def block_mask(mask: Mask, q_BHTD: Tensor, keys: int) -> Any:
    """The mask as FlexAttention takes it."""
    from torch.nn.attention.flex_attention import create_block_mask

    batch, heads, queries = q_BHTD.shape[:3]
    offset = 0 if mask.cross else keys - queries

    def allows(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return mask.allows(b, h, i + offset, j, heads=heads, offset=offset)

    by_row = mask.valid_BS is not None or mask.segments_BS is not None
    return create_block_mask(
        allows, batch if by_row else None, heads if mask.shift else None, queries, keys, device=q_BHTD.device
    )


def varlen_serves(q_BHTD: Tensor, mask: Mask, soft_cap: float | None) -> bool:
    """Whether :func:`varlen` computes it here: texts packed into rows, in half precision, on a GPU of 2020 or later,
    heads of at most 256 and a multiple of 8 (FlashAttention refuses others, and nothing pads them on this way)."""
    half = q_BHTD.is_cuda and q_BHTD.dtype in (torch.float16, torch.bfloat16)
    fits = q_BHTD.shape[-1] % 8 == 0 and q_BHTD.shape[-1] <= 256
    packed = mask.segments_BS is not None and mask.valid_BS is None and not mask.cross and soft_cap is None
    pattern = mask.sparse is not None or mask.shift is not None or mask.sinks > 0
    whole = mask.segments_BS is not None and mask.segments_BS.shape[1] == q_BHTD.shape[2]
    if not (half and fits and packed and whole and not pattern and _varlen() is not None):
        return False
    return torch.cuda.get_device_capability(q_BHTD.device) >= (8, 0)


def varlen(q_BHTD: Tensor, k_BKSD: Tensor, v_BKSD: Tensor, mask: Mask, scale: float) -> Tensor:
    """All texts of all rows in one call of FlashAttention's kernel for texts of various lengths."""
    kernel = _varlen()
    assert kernel is not None
    batch, heads, length, _ = q_BHTD.shape
    starts, longest = mask.text_starts(batch, length)
    window = -1 if mask.window is None else mask.window
    mixed = kernel(
        *(x.transpose(1, 2).flatten(0, 1) for x in (q_BHTD, k_BKSD, v_BKSD)),
        starts,
        starts,
        longest,
        longest,
        scale=scale,
        # Keys before and after: a causal window counts the query itself, theirs does not.
        window_size=(window - 1 if mask.causal and mask.window is not None else window, 0 if mask.causal else window),
        enable_gqa=heads != k_BKSD.shape[1],
    )
    return mixed.unflatten(0, (batch, length)).transpose(1, 2)


def text_starts(mask: Mask, batch: int, length: int) -> tuple[Tensor, int]:
    """Where each text begins in all rows one after the other, and the end, as int32; and the longest text's length."""
    assert mask.segments_BS is not None
    places = begins(mask.segments_BS[:, :length]).flatten().nonzero().flatten()
    starts = torch.cat((places, places.new_tensor([batch * length]))).int()
    return starts, int(starts.diff().max())


@cache
def _varlen() -> Callable[..., Tensor] | None:
    """PyTorch's kernel where this version has it, with the arguments that are used here."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    kernel: Any = varlen_attn
    return kernel if {"window_size", "enable_gqa", "scale"} <= set(inspect.signature(kernel).parameters) else None
