"""What a decoder remembers between steps: the keys and values of the tokens it has seen."""

from __future__ import annotations

import torch
from torch import Tensor

from lavra.errors import LavraError
from lavra.model.config import ModelConfig


class KVCache:
    """Keys and values of the tokens seen so far, with room for ``capacity`` of them, made once.

    One tensor a layer for each: a single five-dimensional buffer was 17 times slower in a compiled step.
    ``length`` is how many positions are filled; :meth:`truncate` forgets the rest (to reuse a common prefix).
    ``cross``: keys and values of an encoder's states, by layer, computed at the first step of a decoder over them.
    """

    def __init__(
        self,
        config: ModelConfig,
        capacity: int,
        *,
        batch: int = 1,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        shape = (batch, config.kv_heads, capacity, config.head_width)
        self.capacity, self.length = capacity, 0
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.layers)]
        self.cross: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, layer: int, k_BKTD: Tensor, v_BKTD: Tensor) -> tuple[Tensor, Tensor]:
        """Write T new positions of one layer; returns all of it, (B, K, length + T, D). ``length`` moves later,
        once for all layers, by :meth:`advance`."""
        end = self.length + k_BKTD.shape[2]
        keys, values = self.keys[layer], self.values[layer]
        keys[:, :, self.length : end] = k_BKTD
        values[:, :, self.length : end] = v_BKTD
        return keys[:, :, :end], values[:, :, :end]

    def room_for(self, count: int) -> None:
        """Raises LavraError when ``count`` more tokens do not fit."""
        if self.length + count > self.capacity:
            raise LavraError(
                f"{self.length + count} tokens do not fit into a context of {self.capacity}; "
                "shorten the prompt or raise the context length"
            )

    def advance(self, count: int) -> None:
        self.length += count

    def truncate(self, length: int) -> None:
        """Keep the first ``length`` positions."""
        assert 0 <= length <= self.length
        self.length = length

    def grow(self, capacity: int) -> None:
        """Make room for ``capacity`` positions; what is held stays."""
        if capacity <= self.capacity:
            return
        for tensors in (self.keys, self.values):
            for layer, old in enumerate(tensors):
                batch, heads, _, width = old.shape
                new = old.new_zeros(batch, heads, capacity, width)
                new[:, :, : self.length] = old[:, :, : self.length]
                tensors[layer] = new
        self.capacity = capacity
