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


SPARE = 1024
"""Positions that a layer with a window keeps beyond it, so that an answer can be taken back and another begun."""
_MOVED = 256
"""Of these, how many are free after the others moved to the front: a copy of the window once in so many tokens."""


def kept_positions(config: ModelConfig, layer: int, capacity: int) -> int:
    """How many positions ``layer`` has room for in a cache of ``capacity``: beyond its window nobody looks again.
    Sinks are the first tokens of each text, wherever padding puts them, so beside them everything is kept."""
    if config.window is None or config.sinks or not config.is_local(layer):
        return capacity
    return min(capacity, config.window - 1 + SPARE)


class KVCache(Cache):
    """Keys and values of the tokens seen so far, with room for ``capacity`` of them, made once.

    One tensor a layer for each: a single five-dimensional buffer was 17 times slower in a compiled step.
    ``length`` is how many positions are filled; :meth:`truncate` forgets the rest (to reuse a common prefix).
    A layer with a window forgets the positions before it: its tensors hold the last :func:`kept_positions`, and begin
    with position ``first[layer]``.
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
        super().__init__(capacity)
        self._config = config

        def rows(layer: int) -> Tensor:
            room = kept_positions(config, layer, capacity)
            return torch.zeros(batch, config.kv_heads, room, config.head_width, dtype=dtype, device=device)

        self.keys, self.values = ([rows(layer) for layer in range(config.layers)] for _ in range(2))
        self.first = [0] * config.layers
        self.cross: dict[int, tuple[Tensor, Tensor]] = {}
        self.source_mask: Mask | None = None

    def seen(self, *, local: bool) -> int:
        """How many of the tokens so far the next one is shown: in layers with a window the last so many."""
        window = self._config.window
        if window is None or self._config.sinks or not local:
            return self.length
        return min(self.length, window - 1)

    def update(self, layer: int, k_BKTD: Tensor, v_BKTD: Tensor) -> tuple[Tensor, Tensor]:
        """Write T new positions of one layer; returns them, and before them those :meth:`seen`, (B, K, S, D).
        ``length`` moves later, once for all layers, by :meth:`advance`."""
        seen, time = self.seen(local=self._config.is_local(layer)), k_BKTD.shape[2]
        held, room = self.length - self.first[layer], self.keys[layer].shape[2]
        # As much as fits beside what comes and some of what comes next; never less than is seen now.
        stays = held if held + time <= room else max(seen, min(held, room - max(time, _MOVED)))
        last = min(stays + time, room)
        found = []
        for tensor, new in ((self.keys[layer], k_BKTD), (self.values[layer], v_BKTD)):
            if stays < held or stays + time > room:
                old = tensor[:, :, held - stays : held].clone()  # a place may be its own target
                if stays + time > room:
                    both = torch.cat((old, new), 2)
                    tensor[:, :, :last] = both[:, :, -last:]
                    found.append(both[:, :, stays - seen :])
                    continue
                tensor[:, :, :stays] = old
            tensor[:, :, stays : stays + time] = new
            found.append(tensor[:, :, stays - seen : stays + time])
        self.first[layer] = self.length + time - last
        return found[0], found[1]

    def reusable(self, length: int) -> int:
        length = min(length, self.length)
        needed = max(0, length - (self._config.window or 0) + 1)  # from here on, where something was forgotten
        return length if all(first <= needed for first in self.first) else 0

    def truncate(self, length: int) -> None:
        assert length in (0, self.reusable(length))
        self.length = length
        if not length:
            self.first = [0] * len(self.first)

    def grow(self, capacity: int) -> None:
        if capacity <= self.capacity:
            return
        scaling = self._config.rope_scaling
        if self.length and scaling is not None and scaling.regime(capacity) != scaling.regime(self.capacity):
            raise LavraError(
                f"a text of up to {capacity} tokens has other positions than one of {self.capacity} in this model; "
                "give the cache its final capacity before the first token"
            )
        for tensors in (self.keys, self.values):
            for layer, old in enumerate(tensors):
                batch, heads, room, width = old.shape
                wanted, held = kept_positions(self._config, layer, capacity), max(0, self.length - self.first[layer])
                if wanted > room:
                    tensors[layer] = old.new_zeros(batch, heads, wanted, width)
                    tensors[layer][:, :, :held] = old[:, :, :held]
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
