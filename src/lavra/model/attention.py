"""Attention is one function, :func:`attend`, over a small description of who may see whom.

Scaled dot-product attention (Vaswani et al. 2017, section 3.2.1) with grouped key/value heads (Ainslie et al. 2023).
A pattern (window, segments, blocks, shifted groups) is a field of :class:`Mask`, and :meth:`Mask.allows` its only
definition. Which kernel of ``kernels.py`` computes it is decided in :func:`attend` and known nowhere else. One test
holds every kernel to the dense float32 answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from lavra.model import kernels, texts, tiles
from lavra.model.config import Sparse

Made = TypeVar("Made")

FEW_ENTRIES = 48 * 48
"""Of a dense mask: one short text, a question, for which PyTorch's one kernel takes .03 ms where four products take
.06 (12 heads of 32, 16 tokens); at 48 tokens both take .10."""


@dataclass(frozen=True)
class Mask:
    """Which keys a query may see. The T queries are the last T of the S keys, but for ``cross`` attention.

    ``causal``: a query sees no later key. ``window``: causal, it sees itself and the window - 1 keys before it;
    otherwise the keys at most ``window`` away on either side. ``sinks``: beside the window, the first tokens of each
    text. ``sparse``: a pattern of blocks. ``shift``: only keys of its own group of so many; for the second half of
    the heads groups begin half a group earlier (Chen et al. 2023, LongLoRA; no wrap-around, so nothing leaks).
    ``valid_BS``: true where a key is a real token and not padding. ``segments_BS``: texts packed into a row, by
    number, each in one stretch; they never see each other. ``cross``: keys are another sequence's,
    ``query_segments_BT`` then says whose the queries are. ``sparse`` and ``shift`` go by the place in the row, not in
    the text. Rows of padded queries, and of those that may see nothing, are unspecified but finite.

    What is derived from a mask is kept for the layers of a pass, the latest of each kind only; a mask's tensors must
    not change in place while it is in use.
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
    _derived: dict[str, tuple[Any, Any]] = field(init=False, default_factory=dict, repr=False, compare=False)

    @property
    def patterned(self) -> bool:
        """Whether who sees whom depends on more than causality, padding and segments."""
        return self.window is not None or self.sparse is not None or self.shift is not None

    @property
    def plain(self) -> bool:
        """Whether it depends on causality alone."""
        return not self.patterned and self.valid_BS is None and self.segments_BS is None

    def local(self, window: int | None, *, sinks: int = 0) -> Mask:
        """The same mask with a window, for the layers that have one."""
        return replace(self, window=window, sinks=sinks)

    def last(self, keys: int) -> Mask:
        """The same mask of the last ``keys`` keys alone, for patterns that go by distance."""
        assert self.sparse is None, "blocks go by the place in the row"
        assert self.shift is None, "groups go by the place in the row"
        valid = None if self.valid_BS is None else self.valid_BS[:, -keys:]
        segments = None if self.segments_BS is None else self.segments_BS[:, -keys:]
        return replace(self, valid_BS=valid, segments_BS=segments)

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
            count = count - torch.where(tiles.begins(self.segments_BS), count, 0).cummax(1).values
        return count

    def allows(self, b: Tensor, h: Tensor, i: Tensor, j: Tensor, *, heads: int, offset: int) -> Tensor:
        """Whether in row ``b`` the query of head ``h`` at place ``i`` may see the key at place ``j``.

        Indices broadcast against each other, so this is the dense mask, any part of it, and FlexAttention's mask_mod.
        ``offset``: the place of the first query.
        """
        allowed = self._places_allow(h, i, j, heads)
        if self.sinks and self.window is not None:
            first = j < self.sinks
            if self.valid_BS is not None or self.segments_BS is not None:
                first = self._kept("ranks", None, self.ranks)[b, j] < self.sinks
            allowed = allowed | (first & (j <= i) if self.causal else first)
        if self.segments_BS is not None:
            whose = self.segments_BS[b, i] if self.query_segments_BT is None else self.query_segments_BT[b, i - offset]
            allowed = allowed & (whose == self.segments_BS[b, j])
        if self.valid_BS is not None:
            allowed = allowed & self.valid_BS[b, j]
            if not self.cross:
                # Softmax over nothing is NaN, and NaN spreads through the batch: a padded query sees itself.
                allowed = allowed | (i == j)
        return allowed

    def _places_allow(self, h: Tensor, i: Tensor, j: Tensor, heads: int) -> Tensor:
        """As far as places in the row say."""
        allowed = j <= i if self.causal else j == j
        if self.window is not None:
            allowed = allowed & (i - j < self.window if self.causal else (i - j).abs() <= self.window)
        if self.sparse is not None:
            allowed = allowed & self.sparse_allows(i // self.sparse.block, j // self.sparse.block)
        if self.shift is not None:
            early = torch.where(h < (heads + 1) // 2, 0, self.shift // 2)
            allowed = allowed & ((i + early) // self.shift == (j + early) // self.shift)
        return allowed

    def sparse_allows(self, i: Tensor, j: Tensor) -> Tensor:
        """Whether block ``i`` may see block ``j``, causality aside."""
        assert self.sparse is not None
        local, stride = self.sparse.local, self.sparse.stride
        if self.sparse.kind == "strided":
            return ((i - j).abs() < local) | ((i - j) % stride == 0)
        return (i // stride == j // stride) | (j % stride >= stride - local)

    def part(self, i: Tensor, j: Tensor, heads: int, offset: int) -> Tensor:
        """Booleans that broadcast to (B, H, len(i), len(j)), for queries at places ``i`` and keys at ``j``."""
        given = self.valid_BS if self.segments_BS is None else self.segments_BS
        b = torch.arange(1 if given is None else len(given), device=i.device)
        h = torch.arange(heads if self.shift else 1, device=i.device)
        where = b[:, None, None, None], h[:, None, None], i[:, None], j
        allowed = self.allows(*where, heads=heads, offset=offset)
        allowed = allowed[(None,) * (4 - allowed.ndim)]
        if self.cross and not self.plain:
            allowed = allowed | ~allowed.any(-1, keepdim=True)
        return allowed

    def dense(self, queries: int, keys: int, heads: int, device: torch.device) -> Tensor:
        """Booleans that broadcast to (B, H, T, S), true where attention is allowed."""
        offset = 0 if self.cross else keys - queries
        i, j = torch.arange(offset, offset + queries, device=device), torch.arange(keys, device=device)
        return self.part(i, j, heads, offset)

    def additive(self, queries: int, keys: int, heads: int, like: Tensor) -> Tensor | None:
        """0 where attention is allowed and -inf elsewhere; None when everything is."""
        if self.plain and (not self.causal or queries == 1):
            return None

        def make() -> Tensor:
            return tiles.as_bias(self.dense(queries, keys, heads, like.device), like.dtype)

        return self._kept("additive", (queries, keys, heads if self.shift else 0, like.dtype, like.device), make)

    def cut(self, q_BHTD: Tensor, keys: int, size: int | None = None) -> list[tiles.Tile]:
        """See :func:`tiles.plan`."""
        place = (q_BHTD.shape[:3], keys, q_BHTD.dtype, q_BHTD.device, size)
        return self._kept("tiles", place, lambda: tiles.plan(self, q_BHTD, keys, size))

    def stretches(self, batch: int, length: int) -> list[list[int]] | None:
        """See :func:`kernels.stretches`."""
        return self._kept("stretches", (batch, length), lambda: kernels.stretches(self, batch, length))

    def text_masks(self, q_BHTD: Tensor, kv_heads: int) -> texts.Masks:
        """See :func:`texts.attend_texts`."""
        place = (q_BHTD.shape[1], kv_heads, q_BHTD.dtype, q_BHTD.device)
        return self._kept("text masks", place, dict)

    def block_mask(self, q_BHTD: Tensor, keys: int) -> Any:
        """See :func:`kernels.block_mask`."""
        place = (q_BHTD.shape[:3], keys, q_BHTD.device)
        return self._kept("block mask", place, lambda: kernels.block_mask(self, q_BHTD, keys))

    def text_starts(self, batch: int, length: int) -> tuple[Tensor, int]:
        """See :func:`kernels.text_starts`."""
        return self._kept("text starts", (batch, length), lambda: kernels.text_starts(self, batch, length))

    def halves(self, batch: int, length: int, device: torch.device) -> tuple[Mask, Mask]:
        """The masks of the two halves of the heads under ``shift``, whose groups are but more segments."""

        def make() -> tuple[Mask, Mask]:
            assert self.shift is not None
            given, place = self.segments_BS, torch.arange(length, device=device)
            halves = []
            for early in (0, self.shift // 2):
                group = ((place + early) // self.shift).expand(batch, -1)
                both = group if given is None else given.long() * (length + 1) + group
                halves.append(replace(self, shift=None, segments_BS=both))
            return halves[0], halves[1]

        return self._kept("halves", (batch, length, device), make)

    def _kept(self, kind: str, place: Any, make: Callable[[], Made]) -> Made:
        """What ``make`` gave for the same place before; only the latest place is remembered."""
        found = self._derived.get(kind)
        if found is None or found[0] != place:
            found = self._derived[kind] = place, make()
        return found[1]


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

    The first line that fits decides; ``docs/attention.md`` has the measurements behind it. "Alone": T = S, and no
    window or blocks beside.

    ======================================================  ==============================================
    Shaw's values; a soft cap or sink logits with a bias    explicit, in chunks of queries
      or dropout
    a bias, or dropout                                      dense
    one query (a decoding step)                             one_query: of a window only its keys are read
    a GPU, 256 queries, and a pattern, segments or a cap    varlen for segments, otherwise FlexAttention (heads of 16
                                                              and more)
    a soft cap, or sink logits                              tiles
    LongLoRA's shifted groups, alone, 256 keys              each half of the heads as segments, see below
    segments, or padding around texts, alone, 256 keys      texts, where they pay (float32; bf16 without AMX);
                                                              else runs: every text by itself, as a plain one
    more than one short text, and products beat PyTorch's   tiles
      kernel (bf16 without AMX)
    causal or everything, nothing else                      fused
    a pattern that hides half of the scores, 256 keys; a    tiles
      mask of more than 2²⁴ entries
    anything else                                           dense
    ======================================================  ==============================================
    """
    batch, heads, queries, width = q_BHTD.shape
    keys = k_BKSD.shape[2]
    scale = width**-0.5 if scale is None else scale
    special = soft_cap is not None or sink_logits_H is not None
    if relative_values is not None or (special and (bias is not None or dropout)):
        return kernels.explicit(
            q_BHTD, k_BKSD, v_BKSD, mask, scale, bias, soft_cap, sink_logits_H, relative_values, dropout
        )
    if bias is not None or dropout:
        additive = mask.additive(queries, keys, heads, q_BHTD)
        if bias is not None:
            bias = bias.to(q_BHTD.dtype)
            additive = bias if additive is None else additive + bias
        return kernels.dense(q_BHTD, k_BKSD, v_BKSD, additive, scale, dropout)
    if queries == 1 and not special:
        return kernels.one_query(q_BHTD, k_BKSD, v_BKSD, mask, scale)
    bent = soft_cap is not None or mask.patterned or mask.segments_BS is not None
    if q_BHTD.is_cuda and bent and sink_logits_H is None and queries >= tiles.FEWEST_KEYS:
        if kernels.varlen_serves(q_BHTD, mask, soft_cap):
            return kernels.varlen(q_BHTD, k_BKSD, v_BKSD, mask, scale)
        if kernels.flex_serves(q_BHTD):
            return kernels.flex(q_BHTD, k_BKSD, v_BKSD, mask, scale, soft_cap)
    if special:
        return tiles.tiled(q_BHTD, k_BKSD, v_BKSD, mask.cut(q_BHTD, keys), scale, soft_cap, sink_logits_H)
    alone = queries == keys and not mask.cross and mask.window is None and mask.sparse is None
    if alone and mask.shift is not None and keys >= tiles.FEWEST_KEYS:
        return _by_halves(q_BHTD, k_BKSD, v_BKSD, mask, scale)
    if alone and not mask.plain and keys >= tiles.FEWEST_KEYS:
        lengths = mask.stretches(batch, keys)
        if lengths is not None and kernels.runs_pay(lengths, q_BHTD.device, q_BHTD.dtype):
            various = any(length != lengths[0][0] for row in lengths for length in row)
            if various and kernels.texts_pay(q_BHTD.device, q_BHTD.dtype):
                masks = mask.text_masks(q_BHTD, k_BKSD.shape[1])
                return texts.attend_texts(q_BHTD, k_BKSD, v_BKSD, lengths, mask.causal, scale, masks)
            bare = Mask(causal=mask.causal)
            return kernels.runs(q_BHTD, k_BKSD, v_BKSD, lengths, lambda q, k, v: attend(q, k, v, bare, scale=scale))
    entries = batch * queries * keys
    if entries > FEW_ENTRIES and kernels.products_are_faster(q_BHTD.device, q_BHTD.dtype):
        return tiles.tiled(q_BHTD, k_BKSD, v_BKSD, mask.cut(q_BHTD, keys), scale)
    if mask.plain and (not mask.causal or queries == keys):
        return kernels.fused(q_BHTD, k_BKSD, v_BKSD, mask.causal, scale)
    if entries > tiles.MOST_ENTRIES or (mask.patterned and tiles.tiles_pay(mask, q_BHTD, keys)):
        return tiles.tiled(q_BHTD, k_BKSD, v_BKSD, mask.cut(q_BHTD, keys), scale)
    return kernels.dense(q_BHTD, k_BKSD, v_BKSD, mask.additive(queries, keys, heads, q_BHTD), scale)


def _by_halves(q_BHTD: Tensor, k_BKSD: Tensor, v_BKSD: Tensor, mask: Mask, scale: float) -> Tensor:
    """LongLoRA's groups: for half of the heads they are segments, for the other half they are others."""
    batch, heads, length, _ = q_BHTD.shape
    group, middle = heads // k_BKSD.shape[1], (heads + 1) // 2
    if middle % group:  # the halves share a key/value head
        k_BKSD, v_BKSD, group = k_BKSD.repeat_interleave(group, 1), v_BKSD.repeat_interleave(group, 1), 1
    late, early = mask.halves(batch, length, q_BHTD.device)
    cut = middle // group
    mixed = attend(q_BHTD[:, :middle], k_BKSD[:, :cut], v_BKSD[:, :cut], late, scale=scale)
    if heads == 1:
        return mixed
    rest = attend(q_BHTD[:, middle:], k_BKSD[:, cut:], v_BKSD[:, cut:], early, scale=scale)
    return torch.cat((mixed, rest), 1)
