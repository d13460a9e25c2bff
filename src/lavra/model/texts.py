"""Attention of texts of various lengths packed into rows: each by itself, a piece of its queries at a time.

Like ``tiles.py`` it is matrix products alone. What differs: one step of autograd for all texts of all rows, so that
nothing is cut apart and put together again; a causal text of 200 tokens is two pieces, of which the first sees half of
the keys; and the weights of short texts are kept for the backward pass instead of computed again. They are a tenth of
what a block keeps at 180 tokens a text, a quarter at 512, and more beyond, where they are computed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lavra.model.tiles import MOST_SCORES, as_bias

_PIECE = 128  # queries; of 96 to 512 the fastest for texts of 180 to 1,000 tokens
_KEPT = 512  # tokens of the longest text whose weights are kept


class Piece(NamedTuple):
    """Queries ``start`` to ``end`` of row ``row``; they see keys from ``text`` to ``keys``, the causal ones of them."""

    row: int
    text: int
    start: int
    end: int
    keys: int
    kept: bool


def cut(lengths: list[list[int]], heads: int, causal: bool) -> Iterator[list[Piece]]:
    """The pieces of each text, about equally long. ``lengths``: of the texts of each row."""
    for row, texts in enumerate(lengths):
        text = 0
        for length in texts:
            size = _PIECE if causal else 2 * _PIECE
            while size > 32 and heads * size * length > MOST_SCORES:
                size //= 2
            step, stop = -(-length // -(-length // size)), text + length
            places = ((start, min(start + step, stop)) for start in range(text, stop, step))
            yield [Piece(row, text, start, end, end if causal else stop, length <= _KEPT) for start, end in places]
            text = stop


Masks = dict[tuple[int, int], Tensor]


def kept_bytes(tokens: int, length: float, heads: int, dtype: torch.dtype) -> int:
    """Of the weights that a causal layer keeps for ``tokens`` in texts of ``length``."""
    if length > _KEPT:
        return 0
    count = -(-length // _PIECE)
    return round(tokens * heads * length * (count + 1) / (2 * count) * dtype.itemsize)


def attend_texts(
    q_BHTD: Tensor,
    k_BKTD: Tensor,
    v_BKTD: Tensor,
    lengths: list[list[int]],
    causal: bool,
    scale: float,
    masks: Masks | None = None,
) -> Tensor:
    """Attention of each text of each row to itself: (B, H, T, D). The lengths of a row make T.

    ``masks``: those that pieces of equal shape share; one dictionary for all layers saves making them again.
    """
    wanted = torch.is_grad_enabled() and any(x.requires_grad for x in (q_BHTD, k_BKTD, v_BKTD))
    scores = _Scores(q_BHTD.shape[1] // k_BKTD.shape[1], causal, scale, {} if masks is None else masks)
    found: Tensor = _Texts.apply(q_BHTD, k_BKTD, v_BKTD, lengths, scores, wanted)
    return found


class _Texts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, lengths: list[list[int]], scores: _Scores, wanted: bool
    ) -> Tensor:
        batch, heads, time, width = q.shape
        mixed = q.new_empty(batch, time, heads, width)  # as its reader wants it
        texts, kept = list(cut(lengths, heads, scores.causal)), []
        for piece in chain(*texts):
            weights = scores.weights(q, k, piece)
            own = torch.bmm(weights, _keys(v, piece)).view(heads, -1, width)
            mixed[piece.row, piece.start : piece.end] = own.transpose(0, 1)
            if wanted and piece.kept:
                kept.append(weights)
        ctx.save_for_backward(q, k, v, *kept)
        ctx.texts, ctx.scores = texts, scores
        return mixed.transpose(1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_BHTD: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *kept = ctx.saved_tensors
        heads, width, kv_heads = q.shape[1], q.shape[3], k.shape[1]
        scores = ctx.scores
        dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
        for pieces in reversed(ctx.texts):
            sums: list[Tensor] = []
            for piece in reversed(pieces):  # the last sees all keys
                weights = kept.pop() if piece.kept else scores.weights(q, k, piece)
                q_KRD, grad_KRD = _queries(q, kv_heads, piece), _queries(grad_BHTD, kv_heads, piece)
                dweights = torch.bmm(grad_KRD, _keys(v, piece).transpose(1, 2))
                dscores = torch._softmax_backward_data(dweights, weights, -1, weights.dtype)
                own = scores.scaled(dscores, _keys(k, piece)).view(heads, -1, width)
                dq[piece.row, :, piece.start : piece.end] = own
                parts = scores.scaled(dscores.transpose(1, 2), q_KRD), torch.bmm(weights.transpose(1, 2), grad_KRD)
                if not sums:  # many are added in float32
                    sums = [part.float() if len(pieces) > 2 else part for part in parts]
                    continue
                for total, part in zip(sums, parts, strict=True):
                    total[:, : part.shape[1]] += part
            for given, total in zip((dk, dv), sums, strict=True):
                _keys(given, pieces[-1]).copy_(total)
        return dq, dk, dv, None, None, None


class _Scores:
    """How one layer's scores are made of its queries and keys."""

    def __init__(self, group: int, causal: bool, scale: float, masks: Masks) -> None:
        """``group``: query heads of a key/value head."""
        self.group, self.causal, self.scale, self.masks = group, causal, scale, masks

    def weights(self, q_BHTD: Tensor, k_BKTD: Tensor, piece: Piece) -> Tensor:
        """(K, G · R, S): softmax(scale · q kᵀ + mask)."""
        q_KRD, keys_KDS = _queries(q_BHTD, k_BKTD.shape[1], piece), _keys(k_BKTD, piece).transpose(1, 2)
        if not self.causal:
            return self.scaled(q_KRD, keys_KDS).softmax(-1)
        return torch.baddbmm(self._mask(piece, q_BHTD), q_KRD, keys_KDS, alpha=self.scale).softmax(-1)

    def scaled(self, a: Tensor, b: Tensor) -> Tensor:
        """scale · a b, of each of a batch."""
        return torch.baddbmm(a.new_empty(1, 1, 1), a, b, beta=0, alpha=self.scale)

    def _mask(self, piece: Piece, like: Tensor) -> Tensor:
        """(G · R, S) of 0 and -inf."""
        shape = rows, count = piece.end - piece.start, piece.keys - piece.text
        if shape not in self.masks:
            allowed = torch.ones(shape, dtype=torch.bool, device=like.device).tril(count - rows)
            self.masks[shape] = as_bias(allowed, like.dtype).repeat(self.group, 1)
        return self.masks[shape]


def _queries(x_BHTD: Tensor, kv_heads: int, piece: Piece) -> Tensor:
    """(K, G · R, D): the R rows of a piece, those of the G heads of a key/value head one after the other."""
    return x_BHTD[piece.row, :, piece.start : piece.end].reshape(kv_heads, -1, x_BHTD.shape[-1])


def _keys(x_BKTD: Tensor, piece: Piece) -> Tensor:
    return x_BKTD[piece.row, :, piece.text : piece.keys]
