"""Attention tile by tile: for patterns that hide most keys, and for long texts whose scores must not all exist.

Queries are cut into tiles, each multiplies with those tiles of keys that any of its queries may see, and scores exist
for one tile at a time, in the backward pass too, where they are computed again (Dao et al. 2022, FlashAttention,
without its running softmax: a tile sees all of its keys at once). So a window costs T · window, Child's sparse patterns
T · √T, and a soft cap at 16,384 tokens no T² memory. It is made of matrix products alone, so it runs wherever they do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from lavra.model.attention import Mask

MOST_ENTRIES = 1 << 24  # of a dense mask, and of scores held at once
MOST_SCORES = 5 << 18  # of one tile, so that they stay in the cache: at 512 keys half the time of four times as many
FEWEST_KEYS = 256  # below it nothing is worth planning


def as_bias(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where allowed, -inf elsewhere: converted once a pass, not by the kernel in every layer."""
    return torch.zeros_like(allowed, dtype=dtype).masked_fill_(~allowed, float("-inf"))


def begins(numbers_BS: Tensor) -> Tensor:
    """True where a number differs from the one before it, and at the start of each row."""
    found = torch.ones_like(numbers_BS, dtype=torch.bool)
    found[:, 1:] = numbers_BS[:, 1:] != numbers_BS[:, :-1]
    return found


class Tile:
    """Some queries, and the only keys that any of them may see: a slice, or places where they are not in a row.

    The first ``clear`` of these keys are seen by all of these queries and need no mask.
    """

    def __init__(self, rows: slice, keys: slice | Tensor, clear: int, make: Callable[[], Tensor | None], hold: bool):
        self.rows, self.keys, self.clear = rows, keys, clear
        self._make, self._hold = make, hold
        self._held: Tensor | None = None

    @property
    def count(self) -> int:
        """How many keys."""
        return self.keys.stop - self.keys.start if isinstance(self.keys, slice) else len(self.keys)

    def additive(self) -> Tensor | None:
        """0 or -inf, broadcasting to (B, H, rows, keys after the clear ones)."""
        if self._held is not None:
            return self._held
        made = self._make()
        if self._hold:
            self._held = made
        return made

    def of(self, x_NSD: Tensor) -> Tensor:
        """The tile's keys or values of all of them."""
        return x_NSD[:, self.keys] if isinstance(self.keys, slice) else x_NSD.index_select(1, self.keys)

    def add_to(self, total_NSD: Tensor, part: Tensor) -> None:
        """The inverse of :meth:`of`, for gradients."""
        if isinstance(self.keys, slice):
            total_NSD[:, self.keys] += part
        else:
            total_NSD.index_add_(1, self.keys, part.to(total_NSD.dtype))


def plan(mask: Mask, q_BHTD: Tensor, keys: int, size: int | None = None) -> list[Tile]:
    """Tiles of ``size`` queries (chosen by the pattern, if not given) that together are attention under ``mask``."""
    batch, heads, queries = q_BHTD.shape[:3]
    device, dtype = q_BHTD.device, q_BHTD.dtype
    offset = 0 if mask.cross else keys - queries
    size = _tile_size(mask, batch * heads, keys) if size is None else size
    first, last = offset // size, -(-(offset + queries) // size)
    table = _seen_tiles(mask, size, first, last, -(-keys // size), keys, device).cpu()
    # Where only the distance counts, tiles at the same distance share a mask.
    by_distance: dict[tuple[int, int, int], Tensor] = {}
    alike = mask.sparse is None and mask.shift is None and not mask.sinks
    alike = alike and mask.valid_BS is None and mask.segments_BS is None
    areas = int(table.sum()) * size * size
    hold = areas * (batch if not alike else 1) * (heads if mask.shift else 1) <= 4 * MOST_ENTRIES

    def make(i: Tensor, j: Tensor) -> Tensor:
        return as_bias(mask.part(i, j, heads, offset), dtype)

    def make_alike(i: Tensor, j: Tensor) -> Tensor:
        kind = int(i[0] - j[0]), len(i), len(j)
        if kind not in by_distance:
            by_distance[kind] = make(i, j)
        return by_distance[kind]

    tiles = []
    for number, row in enumerate(table, first):
        start, end = max(number * size, offset), min((number + 1) * size, offset + queries)
        numbers = row.nonzero().flatten()
        low, high = int(numbers[0]) * size, min((int(numbers[-1]) + 1) * size, keys)
        places = torch.arange(low, high, device=device)
        seen: slice | Tensor = slice(low, high)
        if len(numbers) * size < high - low:
            places = seen = places[row.repeat_interleave(size)[low:high].to(device)]
        clear = 0
        if mask.plain:
            clear = start if mask.causal else len(places)
        i, j = torch.arange(start, end, device=device), places[clear:]
        tiles.append(
            Tile(
                slice(start - offset, end - offset),
                seen,
                clear,
                lambda i=i, j=j: None if not len(j) else (make_alike if alike else make)(i, j),  # type: ignore[misc]
                hold,
            )
        )
    return tiles


def tiles_pay(mask: Mask, q_BHTD: Tensor, keys: int) -> bool:
    """Whether the tiles are less work than all T · S scores."""
    if keys < FEWEST_KEYS:
        return False
    work = sum((tile.rows.stop - tile.rows.start) * tile.count for tile in mask.cut(q_BHTD, keys))
    return 2 * work <= q_BHTD.shape[2] * keys


def _tile_size(mask: Mask, heads: int, keys: int) -> int:
    """Small enough that a tile sees little but its window and its scores fit the cache, and a matrix product large."""
    if mask.sparse is not None:
        block = mask.sparse.block
        return block * -(-32 // block)
    near = mask.window if mask.window is not None else mask.shift
    size = 256 if near is None else min(max(1 << (near // 2).bit_length(), 64), 256)
    while size > 32 and keys > 128 and heads * size * min(keys, keys if near is None else near + size) > MOST_SCORES:
        size //= 2
    return size


def _seen_tiles(mask: Mask, size: int, first: int, last: int, count: int, keys: int, device: torch.device) -> Tensor:
    """(tiles of queries first … last - 1, all tiles of keys): whether any query of the one may see any key of the
    other. It may say so where none does, never the other way round."""
    i, j = torch.arange(first, last, device=device)[:, None] * size, torch.arange(count, device=device) * size
    i_end, j_end = i + size - 1, j + size - 1
    seen = j <= i_end if mask.causal else torch.ones_like(j <= i_end)
    behind = j <= i_end if mask.causal else seen
    texts = None
    if mask.segments_BS is not None and not mask.cross:
        starts, ends = _text_bounds(mask.segments_BS[:, :keys])
        low = starts[(i[:, 0]).clamp_max(keys - 1)]
        high = ends[(i_end[:, 0]).clamp_max(keys - 1)]
        texts = (j_end >= low[:, None]) & (j <= high[:, None])
        seen = seen & texts
    if mask.window is not None:
        seen = seen & (
            j_end > i - mask.window if mask.causal else (j_end >= i - mask.window) & (j <= i_end + mask.window)
        )
    if mask.shift is not None:
        seen = seen & (j_end > i - mask.shift) & (j < i_end + mask.shift)
    if mask.sparse is not None:
        seen = seen & _seen_blocks(mask, size, last, count, device)[first:]
    if mask.sinks and mask.window is not None:
        if mask.valid_BS is None and mask.segments_BS is None:
            sinks = j < mask.sinks
        else:
            first_ones = (mask.ranks()[:, :keys] < mask.sinks).any(0)
            sinks = F.pad(first_ones, (0, count * size - keys)).view(count, size).any(1)
        seen = seen | (sinks & behind if texts is None else sinks & behind & texts)
    return seen  # its own tile always, as a padded query's must be


def _text_bounds(segments_BS: Tensor) -> tuple[Tensor, Tensor]:
    """For each place the first place of its text and the last, over all rows."""
    length = segments_BS.shape[1]
    place = torch.arange(length, device=segments_BS.device)
    starts = torch.where(begins(segments_BS), place, 0).cummax(1).values
    ends_here = begins(segments_BS.flip(1)).flip(1)
    ends = torch.where(ends_here, place, length).flip(1).cummin(1).values.flip(1)
    return starts.amin(0), ends.amax(0)


def _seen_blocks(mask: Mask, size: int, rows: int, columns: int, device: torch.device) -> Tensor:
    """The sparse pattern between tiles, by their blocks; a tile is a whole number of blocks."""
    assert mask.sparse is not None
    each = size // mask.sparse.block
    i, j = torch.arange(rows * each, device=device), torch.arange(columns * each, device=device)
    fine = mask.sparse_allows(i[:, None], j)
    return fine.view(rows, each, columns, each).any(3).any(1)


def tiled(
    q_BHTD: Tensor,
    k_BKSD: Tensor,
    v_BKSD: Tensor,
    tiles: list[Tile],
    scale: float,
    soft_cap: float | None = None,
    sink_logits_H: Tensor | None = None,
) -> Tensor:
    """Attention tile by tile, as :func:`plan` cut it; cost and memory are those of the tiles."""
    given = q_BHTD, k_BKSD, v_BKSD, sink_logits_H
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in given):
        return _Tiled.apply(*given, tiles, scale, soft_cap)
    return _tiled(*given, tiles, scale, soft_cap)


def _tiled(
    q_BHTD: Tensor,
    k_BKSD: Tensor,
    v_BKSD: Tensor,
    sink_logits_H: Tensor | None,
    tiles: list[Tile],
    scale: float,
    soft_cap: float | None,
) -> Tensor:
    batch, heads, queries, width = q_BHTD.shape
    k_NSD, v_NSD = k_BKSD.flatten(0, 1), v_BKSD.flatten(0, 1)
    mixed = q_BHTD.new_empty(batch, queries, heads, width).transpose(1, 2)  # as its reader wants it
    for tile in tiles:
        q_NRD = _grouped(q_BHTD, tile, len(k_NSD)) * scale
        weights, _, _ = _weigh(q_NRD, tile.of(k_NSD), tile, batch, heads, soft_cap, sink_logits_H)
        mixed[:, :, tile.rows] = torch.bmm(weights, tile.of(v_NSD)).view(batch, heads, -1, width)
    return mixed


class _Tiled(torch.autograd.Function):
    """:func:`_tiled` with gradients; scores are computed again, so what is kept is linear in T."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, sink: Tensor | None, *rest: Any) -> Tensor:
        ctx.save_for_backward(q, k, v, sink)
        ctx.rest = rest
        return _tiled(q, k, v, sink, *rest)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_BHTD: Tensor) -> tuple[Tensor | None, ...]:
        q_BHTD, k_BKSD, v_BKSD, sink = ctx.saved_tensors
        tiles, scale, soft_cap = ctx.rest
        batch, heads, queries, width = q_BHTD.shape
        k_NSD, v_NSD = k_BKSD.flatten(0, 1), v_BKSD.flatten(0, 1)
        dq = q_BHTD.new_empty(batch, queries, heads, width).transpose(1, 2)
        # Keys are seen by many tiles: their gradients are summed in float32.
        dk, dv = (torch.zeros_like(x, dtype=torch.float32) for x in (k_NSD, v_NSD))
        dsink = None if sink is None else torch.zeros_like(sink, dtype=torch.float32)
        for tile in tiles:
            q_NRD = _grouped(q_BHTD, tile, len(k_NSD)) * scale
            grad_NRD = _grouped(grad_BHTD, tile, len(k_NSD))
            keys, values = tile.of(k_NSD), tile.of(v_NSD)
            weights, slope, to_sink = _weigh(q_NRD, keys, tile, batch, heads, soft_cap, sink)
            tile.add_to(dv, torch.bmm(weights.transpose(1, 2), grad_NRD))
            dweights = torch.bmm(grad_NRD, values.transpose(1, 2))
            if dsink is not None and to_sink is not None:
                drawn = (dweights.float() * weights).sum(-1).view(batch, heads, -1)
                dsink -= (drawn * to_sink).sum((0, 2))
            dscores = torch._softmax_backward_data(dweights, weights, -1, weights.dtype)
            if slope is not None:
                dscores = dscores * slope.view(dscores.shape)
            dq[:, :, tile.rows] = (torch.bmm(dscores, keys) * scale).view(batch, heads, -1, width)
            tile.add_to(dk, torch.bmm(dscores.transpose(1, 2), q_NRD))
        dk, dv = dk.view(k_BKSD.shape).to(k_BKSD.dtype), dv.view(v_BKSD.shape).to(v_BKSD.dtype)
        return dq, dk, dv, None if dsink is None else dsink.to(sink.dtype), None, None, None


def _grouped(x_BHTD: Tensor, tile: Tile, count: int) -> Tensor:
    """(N = B·K, G · rows, D): the tile's rows, those of a key/value head's group one after the other."""
    return x_BHTD[:, :, tile.rows].reshape(count, -1, x_BHTD.shape[-1])


def _weigh(
    q_NRD: Tensor, k_NSD: Tensor, tile: Tile, batch: int, heads: int, soft_cap: float | None, sink: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Weights (N, R, S), the soft cap's slope, and the weight that goes to the sink (B, H, rows)."""
    scores = torch.bmm(q_NRD, k_NSD.transpose(1, 2)).view(batch, heads, -1, k_NSD.shape[1])
    slope = to_sink = None
    if soft_cap is not None:
        bent = torch.tanh(scores.float() / soft_cap)
        scores, slope = soft_cap * bent, (1 - bent.square()).to(q_NRD.dtype)
    additive = tile.additive()
    if additive is not None:
        scores[..., tile.clear :] += additive
    if sink is not None:
        drain = sink.float().view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        weights = torch.cat((scores.float(), drain), -1).softmax(-1)
        weights, to_sink = weights[..., :-1], weights[..., -1]
    else:
        weights = scores.softmax(-1)
    return weights.to(q_NRD.dtype).reshape(len(q_NRD), -1, k_NSD.shape[1]), slope, to_sink
