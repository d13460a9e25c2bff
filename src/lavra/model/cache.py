"""What a decoder remembers between steps: for a transformer the keys and values of the tokens it has seen.

Other models remember other things (``recurrent.py``, ``memory.py``); :class:`Cache` is what they have in common.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lavra.errors import LavraError
from lavra.model.attention import Mask
from lavra.model.config import ModelConfig


class Cache:
    """How many tokens a model has seen, ``length``, of the ``capacity`` that it has room for."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.length = capacity, 0

    def room_for(self, count: int) -> None:
        """Raises LavraError when ``count`` more tokens do not fit."""
        if self.length + count > self.capacity:
            raise LavraError(
                f"{self.length + count} tokens do not fit into a context of {self.capacity}; "
                "shorten the prompt or raise the context length"
            )

    def advance(self, count: int) -> None:
        """``count`` more tokens have been seen, in all layers."""
        self.length += count

    def grow(self, capacity: int) -> None:
        """Make room for ``capacity`` tokens; what is held stays."""
        self.capacity = max(self.capacity, capacity)

    def mark(self) -> None:
        """The length reached is one to return to: a state that is overwritten at each step is kept as it is now."""

    def reusable(self, length: int) -> int:
        """The longest beginning, of at most ``length`` tokens, that :meth:`truncate` can go back to."""
        raise NotImplementedError

    def truncate(self, length: int) -> None:
        """Forget all but the first ``length`` tokens, which :meth:`reusable` has allowed."""
        raise NotImplementedError


class KVCache(Cache):
    """Keys and values of the tokens seen so far, with room for ``capacity`` of them, made once.

    One tensor a layer for each: a single five-dimensional buffer was 17 times slower in a compiled step.
    ``length`` is how many positions are filled; :meth:`truncate` forgets the rest (to reuse a common prefix).
    ``cross``: keys and values of an encoder's states, by layer, computed at the first step of a decoder over them;
    ``source_mask``: which of those are real.
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
        super().__init__(capacity)
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.layers)]
        self.cross: dict[int, tuple[Tensor, Tensor]] = {}
        self.source_mask: Mask | None = None
        self._scaling = config.rope_scaling

    def update(self, layer: int, k_BKTD: Tensor, v_BKTD: Tensor) -> tuple[Tensor, Tensor]:
        """Write T new positions of one layer; returns all of it, (B, K, length + T, D). ``length`` moves later,
        once for all layers, by :meth:`advance`."""
        end = self.length + k_BKTD.shape[2]
        keys, values = self.keys[layer], self.values[layer]
        keys[:, :, self.length : end] = k_BKTD
        values[:, :, self.length : end] = v_BKTD
        return keys[:, :, :end], values[:, :, :end]

    def reusable(self, length: int) -> int:
        return min(length, self.length)

    def truncate(self, length: int) -> None:
        assert 0 <= length <= self.length
        self.length = length

    def grow(self, capacity: int) -> None:
        if capacity <= self.capacity:
            return
        scaling = self._scaling
        if self.length and scaling is not None and scaling.regime(capacity) != scaling.regime(self.capacity):
            raise LavraError(
                f"a text of up to {capacity} tokens has other positions than one of {self.capacity} in this model; "
                "give the cache its final capacity before the first token"
            )
        for tensors in (self.keys, self.values):
            for layer, old in enumerate(tensors):
                batch, heads, _, width = old.shape
                new = old.new_zeros(batch, heads, capacity, width)
                new[:, :, : self.length] = old[:, :, : self.length]
                tensors[layer] = new
        self.capacity = capacity


class StateCache(Cache):
    """A state of one size, however long the text: a tuple of tensors a layer, replaced at each step.

    It cannot be rewound, only returned to: :meth:`mark` keeps the state as it is, which costs a reference because
    states are never written in place. Marks beyond where one returns to are forgotten.
    """

    def __init__(self, states: list[tuple[Tensor, ...]], capacity: int) -> None:
        super().__init__(capacity)
        self.states = states
        self._marks = {0: states}

    def step(self, states: list[tuple[Tensor, ...]], count: int) -> None:
        """``count`` tokens later."""
        self.states = states
        self.advance(count)

    def mark(self) -> None:
        self._marks[self.length] = self.states

    def reusable(self, length: int) -> int:
        return max(mark for mark in self._marks if mark <= length)

    def truncate(self, length: int) -> None:
        self._marks = {mark: states for mark, states in self._marks.items() if mark <= length}
        self.states, self.length = self._marks[length], length
