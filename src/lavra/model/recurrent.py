"""The language models before the transformer, with its interface: LSTM, GRU and gated convolutions.

All three are ``x + output(mix(norm(x)))`` a layer, where only ``mix`` differs: the long short-term memory (Hochreiter
and Schmidhuber 1997; Gers et al. 2000), the gated recurrent unit (Cho et al. 2014), or causal convolutions with a gate
(Dauphin et al. 2017). Residuals between recurrent layers are Wu et al. 2016's (GNMT); a norm before each, where Dauphin
normalises weights, is what lets the same loop train them all. What they remember of a text has one size, however long
it is: the state of each layer, or the last ``kernel_width`` - 1 inputs of a convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lavra.model.attention import Mask
from lavra.model.base import Model
from lavra.model.blocks import make_norm
from lavra.model.cache import StateCache
from lavra.model.config import ModelConfig
from lavra.model.heads import Head
from lavra.model.tables import table

State = tuple[Tensor, ...]
"""LSTM: what it gives and its cell, (B, F) each. GRU: what it gives. Convolution: its last inputs, (B, K - 1, C)."""


@dataclass(frozen=True)
class Runs:
    """The real tokens of a batch of rows, cut into runs of one segment: each is a text that is read by itself.

    For each of N real tokens ``place_N`` in the flattened (B · T) rows, the number ``run_N`` of its run and ``rank_N``
    in it. For each of R runs its ``row_R``, ``length_R``, ``order_R`` among the runs of its row, and whether it goes
    on where the cache stopped (``continued_R``).
    """

    place_N: Tensor
    run_N: Tensor
    rank_N: Tensor
    row_R: Tensor
    length_R: Tensor
    order_R: Tensor
    continued_R: Tensor


def find_runs(mask: Mask | None, batch: int, time: int, before: int) -> Runs | None:
    """The runs of the last ``time`` tokens of ``before`` + ``time``; None where every row is one text that goes on."""
    if mask is None or (mask.valid_BS is None and mask.segments_BS is None):
        return None
    shape = (batch, before + time)
    given = mask.segments_BS if mask.valid_BS is None else mask.valid_BS
    assert given is not None
    assert tuple(given.shape) == shape, "the mask names the cached tokens too"
    valid_BS = torch.ones_like(given, dtype=torch.bool) if mask.valid_BS is None else mask.valid_BS.bool()
    segments_BS = torch.zeros_like(given, dtype=torch.long) if mask.segments_BS is None else mask.segments_BS.long()
    place_N = valid_BS[:, before:].flatten().nonzero()[:, 0]
    row_N, segment_N = place_N // time, segments_BS[:, before:].flatten()[place_N]
    begins_N = torch.ones_like(place_N, dtype=torch.bool)
    begins_N[1:] = (row_N[1:] != row_N[:-1]) | (segment_N[1:] != segment_N[:-1])
    first_R = begins_N.nonzero()[:, 0]
    run_N = begins_N.long().cumsum(0) - 1
    row_R, number_R = row_N[first_R], torch.arange(len(first_R), device=place_N.device)
    order_R = number_R - torch.searchsorted(row_R, row_R)
    continued_R = order_R == 0
    if before:  # the state is that of the last real token in the cache, if there is one
        last_B = torch.where(valid_BS, torch.arange(shape[1], device=place_N.device), -1)[:, :before].amax(1)
        held_B = segments_BS.gather(1, last_B.clamp_min(0)[:, None])[:, 0]
        continued_R = continued_R & ((segment_N[first_R] == held_B[row_R]) | (last_B[row_R] < 0))
    length_R = torch.bincount(run_N, minlength=len(first_R))
    if len(first_R) == batch and bool(continued_R.all()) and bool((length_R == time).all()):
        return None
    rank_N = torch.arange(len(place_N), device=place_N.device) - first_R[run_N]
    return Runs(place_N, run_N, rank_N, row_R, length_R, order_R, continued_R)


class RecurrentBlock(nn.Module):
    """One layer: a norm, what mixes the past into each token, and a projection back to the model's width."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.norm = make_norm(config)
        mixers = {"lstm": nn.LSTM, "gru": nn.GRU}
        self.mixer: nn.Module
        if config.architecture == "convolution":
            self.mixer = GatedConvolution(config)
        else:
            self.mixer = mixers[config.architecture](config.width, config.hidden_width, batch_first=True)
        self.output = nn.Linear(config.hidden_width, config.width, bias=config.output_bias)

    def forward(self, x_BTC: Tensor, state: State, runs: Runs | None) -> tuple[Tensor, State]:
        """The layer's output, and its state after each row's last real token."""
        mix = _convolve if isinstance(self.mixer, GatedConvolution) else _recur
        mixed, state = mix(self.mixer, self.norm(x_BTC), state, runs)
        given = self.output(mixed)
        if self.dropout and self.training:
            given = F.dropout(given, self.dropout)
        return x_BTC + given, state


class GatedConvolution(nn.Module):
    """(X ∗ W + b) ⊗ σ(X ∗ V + c) over the last ``kernel_width`` tokens (Dauphin et al. 2017, eq. 1)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.reach = config.kernel_width - 1
        # Rows: first those of W, then those of V.
        self.convolution = nn.Conv1d(config.width, 2 * config.hidden_width, config.kernel_width)

    def forward(self, x_BTC: Tensor, before_BKC: Tensor) -> Tensor:
        """(B, T, F), of T tokens and the ``reach`` before them."""
        row = torch.cat((before_BKC, x_BTC), 1)
        return F.glu(self.convolution(row.transpose(1, 2)), 1).transpose(1, 2)


def _recur(mixer: nn.Module, x_BTC: Tensor, state: State, runs: Runs | None) -> tuple[Tensor, State]:
    """An LSTM or GRU over whole rows, or over runs as rows of their own, as long as each is."""
    if runs is None:
        return _run(mixer, x_BTC, state)
    batch, time, width = x_BTC.shape
    if not len(runs.row_R):
        return x_BTC.new_zeros(batch, time, state[0].shape[-1]), state
    texts_RLC = x_BTC.new_zeros(len(runs.row_R), int(runs.length_R.max()), width)
    texts_RLC = texts_RLC.index_put((runs.run_N, runs.rank_N), x_BTC.flatten(0, 1)[runs.place_N])
    first = tuple(part[runs.row_R] * runs.continued_R[:, None] for part in state)
    packed = pack_padded_sequence(texts_RLC, runs.length_R.cpu(), batch_first=True, enforce_sorted=False)
    out, after = _run(mixer, packed, first)
    out_RLF, _ = pad_packed_sequence(out, batch_first=True)
    mixed = out_RLF.new_zeros(batch * time, out_RLF.shape[-1])
    mixed = mixed.index_put((runs.place_N,), out_RLF[runs.run_N, runs.rank_N]).view(batch, time, -1)
    ends = _last_runs(runs, batch)
    return mixed, tuple(_by_row(part, old, ends) for part, old in zip(after, state, strict=True))


def _run(mixer: nn.Module, x: Any, state: State) -> tuple[Any, State]:
    """PyTorch's kernels want an axis for layers in the state, and a tuple of states for the LSTM alone."""
    stacked = tuple(part.unsqueeze(0).contiguous() for part in state)
    out, after = mixer(x, stacked if len(stacked) == 2 else stacked[0])
    return out, tuple(part[0] for part in (after if isinstance(after, tuple) else (after,)))


def _convolve(mixer: nn.Module, x_BTC: Tensor, state: State, runs: Runs | None) -> tuple[Tensor, State]:
    """A convolution over whole rows, or over rows in which zeros keep the texts apart.

    A kernel would look from one text into the one before it; ``reach`` zeros before each text that begins give every
    token the past that it has alone, in one convolution over rows that are a little longer.
    """
    assert isinstance(mixer, GatedConvolution)
    (before,) = state
    reach = mixer.reach
    if runs is None:
        return mixer(x_BTC, before), (torch.cat((before, x_BTC), 1)[:, x_BTC.shape[1] :],)
    batch, time, width = x_BTC.shape
    # Within a row texts follow one another without padding, each ``reach`` after the one before it; so does the first
    # after the cached inputs, unless it continues them.
    continues_B = torch.zeros(batch, dtype=torch.bool, device=x_BTC.device)
    continues_B[runs.row_R[runs.order_R == 0]] = runs.continued_R[runs.order_R == 0]
    gap_R = (runs.order_R + 1 - continues_B[runs.row_R].long()) * reach
    ends_R = runs.length_R.cumsum(0)
    row_begins_R = (ends_R - runs.length_R)[torch.searchsorted(runs.row_R, runs.row_R)]
    first_R = ends_R - runs.length_R - row_begins_R + gap_R
    longest = int((first_R + runs.length_R).max()) if len(first_R) else 0
    target_N = runs.row_R[runs.run_N] * longest + first_R[runs.run_N] + runs.rank_N
    apart = x_BTC.new_zeros(batch * longest, width).index_put((target_N,), x_BTC.flatten(0, 1)[runs.place_N])
    apart = apart.view(batch, longest, width)
    out = mixer(apart, before).flatten(0, 1) if longest else x_BTC.new_zeros(0, mixer.convolution.out_channels // 2)
    mixed = out.new_zeros(batch * time, out.shape[-1]).index_put((runs.place_N,), out[target_N])
    # What a run leaves behind: the ``reach`` inputs up to its last one, counted where the cached ones stand in front.
    window_RK = (first_R + runs.length_R)[:, None] + torch.arange(reach, device=x_BTC.device)
    after_RKC = torch.cat((before, apart), 1)[runs.row_R[:, None], window_RK]
    return mixed.view(batch, time, -1), (_by_row(after_RKC, before, _last_runs(runs, batch)),)


def _last_runs(runs: Runs, batch: int) -> Tensor:
    """(B,): the number of each row's last run, -1 where a row has none."""
    number = torch.arange(len(runs.row_R), device=runs.row_R.device)
    return number.new_full((batch,), -1).scatter_reduce(0, runs.row_R, number, "amax")


def _by_row(of_runs: Tensor, before: Tensor, ends_B: Tensor) -> Tensor:
    """The state after each row: that of its last run, or what it was where the row was all padding."""
    if not len(of_runs):
        return before
    none = (ends_B < 0).view(-1, *[1] * (before.dim() - 1))
    return torch.where(none, before, of_runs[ends_B.clamp_min(0)])


class Recurrent(Model):
    """An LSTM, GRU or convolutional language model, as ``config.architecture`` says; see the module's docstring.

    A text packed with others, or after padding, is read as if it were alone. It has no positions: order is what it
    reads by.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = table(config.vocabulary_size, config.width)
        self.embedding_norm = make_norm(config) if config.embedding_norm else None
        self.blocks = nn.ModuleList(RecurrentBlock(config) for _ in range(config.layers))
        self.final_norm = make_norm(config) if config.final_norm else None
        self.head = Head(config)

    def make_cache(self, capacity: int, batch: int = 1) -> StateCache:
        """States of zeros, for :meth:`forward`; their size does not depend on ``capacity``."""
        config = self.config
        if config.architecture == "convolution":
            shape: tuple[int, ...] = (batch, config.kernel_width - 1, config.width)
        else:
            shape = (batch, config.hidden_width)
        parts = 2 if config.architecture == "lstm" else 1
        zero = torch.zeros(shape, dtype=self.dtype, device=self.device)
        return StateCache([(zero,) * parts for _ in range(config.layers)], capacity)

    def forward(
        self,
        ids_BT: Tensor | None = None,
        *,
        inputs_BTC: Tensor | None = None,
        mask: Mask | None = None,
        cache: StateCache | None = None,
        **unused: Any,
    ) -> Tensor:
        """Hidden states after the last norm, (B, T, C); see :class:`Model`.

        ``mask``: padding and segments only; with a cache they are those of the cached tokens too, as for a
        transformer. A padded token gets an unspecified but finite row. Positions and the like are not read.
        """
        if inputs_BTC is None:
            assert ids_BT is not None
            assert self.embedding is not None
            inputs_BTC = self.embedding(ids_BT)
        x = inputs_BTC if self.config.embedding_scale == 1.0 else inputs_BTC * self.config.embedding_scale
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        if self.config.dropout and self.training:
            x = F.dropout(x, self.config.dropout)
        batch, time, _ = x.shape
        cache_or_zero = self.make_cache(time, batch) if cache is None else cache
        cache_or_zero.room_for(time)
        runs = find_runs(mask, batch, time, cache_or_zero.length)
        after = []
        for block, state in zip(self.blocks, cache_or_zero.states, strict=True):
            x, state = block(x, state, runs)
            after.append(state)
        if cache is not None:
            cache.step(after, time)
        return x if self.final_norm is None else self.final_norm(x)
