"""A memory of one size for texts of any length: the Compressive Transformer (Rae et al. 2020).

A text is read in segments. Each layer keeps what its attention read of the last ``recent`` tokens; older states are
not dropped, as in Transformer-XL (Dai et al. 2019), but every ``rate`` of them become one, and the last ``compressed``
of those are kept as well. A token attends to compressed states, recent states, and its own segment so far, with keys
and values by the layer's own projections; so a segment costs the same wherever in the text it stands.

States are remembered as attention reads them, after the norm. Positions are rotary and count from the oldest state
that is remembered; a compressed state stands where the last of its tokens stood. Gradients stop at the memory. What
learns is the compression, by its own loss (section 3.2): attention to compressed states should give what attention to
the states themselves gave.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lavra.errors import LavraError
from lavra.model.attention import Mask, attend
from lavra.model.cache import StateCache
from lavra.model.config import Memory, ModelConfig
from lavra.model.positions import rotate

if TYPE_CHECKING:
    from lavra.model.blocks import Attention, Rotary


class Compression(nn.Module):
    """``rate`` states to one: (B, n · rate, C) to (B, n, C) by a convolution, their mean, or their maximum."""

    def __init__(self, memory: Memory, width: int) -> None:
        super().__init__()
        self.rate, self.function = memory.rate, memory.function
        learned = memory.function == "convolution"
        self.convolution = nn.Conv1d(width, width, memory.rate, memory.rate) if learned else None

    def forward(self, states_BSC: Tensor) -> Tensor:
        if self.convolution is not None:
            return self.convolution(states_BSC.transpose(1, 2)).transpose(1, 2)
        groups = states_BSC.unflatten(1, (-1, self.rate))
        return groups.mean(2) if self.function == "mean" else groups.amax(2)


class CompressiveMemory(StateCache):
    """What a decoder remembers of a text between segments; passed to the forward as its cache.

    A layer's state is (recent (B, m, C), compressed (B, n, C)), oldest first, and where nothing is learned their keys
    and values, (2, B, K, n + m, D). m is at most ``recent`` + ``rate`` - 1, since states wait until there are ``rate``
    of them to compress. All rows are texts of their own, without padding.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        batch: int = 1,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        assert config.memory is not None
        nothing = torch.zeros(batch, 0, config.width, dtype=dtype, device=device)
        super().__init__([(nothing, nothing)] * config.layers, sys.maxsize)
        self.memory = config.memory
        self._next = list(self.states)
        self._losses: list[Tensor | None] = [None] * config.layers

    @property
    def held(self) -> int:
        """States a layer that a token attends to beside its own segment."""
        recent, compressed = self.states[0][:2]
        return recent.shape[1] + compressed.shape[1]

    @property
    def reach(self) -> int:
        """The tokens of a text that the fullest memory stands for."""
        memory = self.memory
        return memory.recent + (memory.rate * (memory.compressed + 1) - 1 if memory.compressed else 0)

    def positions(self, time: int, device: torch.device) -> Tensor:
        """(n + m + T,): where compressed states, recent states and a segment's T tokens stand; never negative, at most
        ``compressed`` · ``rate`` + m + T - 1."""
        recent, compressed = self.states[0][:2]
        rate, count = self.memory.rate, compressed.shape[1]
        far = (torch.arange(count, device=device) + 1) * rate - 1
        near = torch.arange(count * rate, count * rate + recent.shape[1] + time, device=device)
        return torch.cat((far, near))

    def project(self, attention: Attention, x_BTC: Tensor, rotary: Rotary | None) -> tuple[Tensor, Tensor, Tensor]:
        """A segment's queries, and keys and values of all it attends to; the segment joins the layer's memory, to be
        seen from the next one on. ``rotary``: for :meth:`positions`.

        While learning, the projections learn from remembered states too. Otherwise keys and values are kept as well,
        before they are turned, so that a token that is generated costs no product with what is remembered.
        """
        layer, time = attention.layer, x_BTC.shape[1]
        recent, compressed = self.states[layer][:2]
        if torch.is_grad_enabled():
            q, k, v = attention.project(torch.cat((compressed, recent, x_BTC), 1), rotary)
            self._remember(attention, x_BTC, None)
            return q[:, :, -time:], k, v
        q, *own = attention.project(x_BTC, None)
        held = self.states[layer][2] if len(self.states[layer]) == 3 else None
        if held is None:
            held = torch.stack(attention.project(torch.cat((compressed, recent), 1), None)[1:])
        keys_values = torch.cat((held, torch.stack(own)), -2)
        self._remember(attention, x_BTC, keys_values)
        k, v = keys_values
        if rotary is not None:
            cos, sin = rotary
            q, k = _turn(q, cos[-time:], sin[-time:]), _turn(k, cos, sin)
        return q, k, v

    def _remember(self, attention: Attention, x_BTC: Tensor, keys_values: Tensor | None) -> None:
        """The layer's state after a segment: the oldest recent states compressed, the oldest compressed forgotten."""
        compression, rate, loss = attention.compression, self.memory.rate, None
        recent, compressed = self.states[attention.layer][:2]
        count = compressed.shape[1]
        recent = torch.cat((recent, x_BTC.detach()), 1)
        spare = max(recent.shape[1] - self.memory.recent, 0)
        new = compressed[:, :0]
        if compression is None:
            recent = recent[:, spare:]
        elif spare := spare // rate * rate:
            old, recent = recent[:, :spare], recent[:, spare:]
            new = compression(old)
            if attention.training and torch.is_grad_enabled() and compression.convolution is not None:
                loss = reconstruction_loss(attention, x_BTC.detach(), old, new)
        kept = max(count + new.shape[1] - self.memory.compressed, 0)
        compressed = torch.cat((compressed, new.detach()), 1)[:, kept:]
        state: tuple[Tensor, ...] = (recent, compressed)
        if keys_values is not None:
            far, near = keys_values[..., :count, :], keys_values[..., count + spare :, :]
            if new.shape[1]:
                far = torch.cat((far, torch.stack(attention.project(new, None)[1:])), -2)
            state += (torch.cat((far[..., kept:, :], near), -2),)
        self._next[attention.layer], self._losses[attention.layer] = state, loss

    def advance(self, count: int) -> None:
        """The segment of ``count`` tokens has passed all layers."""
        self.states, self.length = list(self._next), self.length + count

    def loss(self) -> Tensor | None:
        """What the last segment in training adds to the loss: reconstruction, summed over layers. None where nothing
        was compressed, or compression learns nothing."""
        losses = [loss for loss in self._losses if loss is not None]
        return torch.stack(losses).sum() if losses else None

    def accept(self, mask: Mask | None) -> None:
        """Raises LavraError for padding and packed texts, of which a memory would be made like of any token."""
        if mask is not None and (mask.valid_BS is not None or mask.segments_BS is not None):
            raise LavraError("a compressive memory reads one text a row, without padding; read the texts one by one")


def _turn(x_BNTD: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return rotate(x_BNTD.transpose(1, 2), cos, sin).transpose(1, 2)


def reconstruction_loss(attention: Attention, x_BTC: Tensor, old_BSC: Tensor, new_BSC: Tensor) -> Tensor:
    """‖attn(x, old) - attn(x, new)‖₂ over a text's tokens and channels, the mean over texts (Rae et al. 2020,
    algorithm 2).

    Attention by content: the layer's heads without positions or mask. Its projections learn nothing from this.
    """
    difference = _attend_by_content(attention, x_BTC, old_BSC) - _attend_by_content(attention, x_BTC, new_BSC)
    return torch.linalg.vector_norm(difference.flatten(1), dim=1).mean()


def _attend_by_content(attention: Attention, x_BTC: Tensor, states_BSC: Tensor) -> Tensor:
    """(B, H, T, D)."""
    with _frozen(attention):
        q, _, _ = attention.project(x_BTC, None)
        _, k, v = attention.project(states_BSC, None)
        return attend(q, k, v, Mask(causal=False, cross=True), scale=attention.scale, soft_cap=attention.soft_cap)


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """What is computed within sends no gradient to the module's parameters, only through them."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
