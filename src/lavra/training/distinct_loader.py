"""Batches in which no text stands twice: for losses whose examples are each other's negatives.

A passage that answers two questions of one batch would be the one's positive and the other's negative. The example
that clashes waits for the next batch. A batch is a step and is never cut into micro-batches, which would have fewer
negatives; what must be small at a time is the objective's to cut (``objectives/embeddings/cached.py``).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from lavra.errors import LavraError
from lavra.store.files import digest
from lavra.training.loader import MicroBatch


class DistinctLoader:
    """``examples``, ``batch`` at a time, each once an epoch, in an order of the seed's.

    ``keys``: what each example must not share with another of its batch; none: any may stand together. A last batch of
    a single example is left out where there are keys, for alone it teaches nothing.
    """

    def __init__(
        self, examples: Sequence[Any], *, batch: int, keys: Sequence[frozenset[Hashable]] | None = None, seed: int = 0
    ) -> None:
        if len(examples) < 2:
            raise LavraError("there are fewer than two examples to train on; look at what was refused and why")
        if batch < 2:
            raise LavraError(f"a batch of {batch} has no other texts to compare with; make it at least 2")
        self.examples, self.batch, self.seed = examples, batch, seed
        self._keys = keys
        named = [sorted(map(repr, found)) for found in keys] if keys is not None else []
        self.fingerprint = digest([seed, batch, len(examples), digest(named), digest([repr(e) for e in examples])])
        self._epoch = self._step = 0
        self._planned: tuple[int, list[list[int]]] | None = None

    def steps(self, epochs: int) -> int:
        return sum(len(self._plan(epoch)) for epoch in range(epochs))

    def next_step(self, rank: int = 0, ranks: int = 1) -> list[MicroBatch]:
        if self._step >= len(self._plan(self._epoch)):
            self._epoch, self._step = self._epoch + 1, 0
        chosen = self._plan(self._epoch)[self._step]
        self._step += 1
        own = chosen[rank::ranks]
        if not own:
            return [MicroBatch([self.examples[index] for index in chosen], filler=True)]
        return [MicroBatch([self.examples[index] for index in own])]

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self._epoch, "step": self._step, "fingerprint": self.fingerprint}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises LavraError if the state is of other data."""
        if state["fingerprint"] != self.fingerprint:
            raise LavraError(
                "this run was begun on other examples, or with another batch size or seed; begin a new run"
            )
        self._epoch, self._step = int(state["epoch"]), int(state["step"])

    def _plan(self, epoch: int) -> list[list[int]]:
        if self._planned is None or self._planned[0] != epoch:
            random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, epoch])))
            self._planned = epoch, self._batches(random.permutation(len(self.examples)).tolist())
        return self._planned[1]

    def _batches(self, order: list[int]) -> list[list[int]]:
        if self._keys is None:
            return [order[start : start + self.batch] for start in range(0, len(order), self.batch)]
        found: list[list[int]] = []
        waiting = order
        while waiting:
            held: set[Hashable] = set()
            chosen: list[int] = []
            left: list[int] = []
            for place, index in enumerate(waiting):
                if len(chosen) == self.batch:
                    left += waiting[place:]
                    break
                if self._keys[index] & held:
                    left.append(index)
                else:
                    chosen.append(index)
                    held |= self._keys[index]
            waiting = left
            if len(chosen) > 1:
                found.append(chosen)
        return found
