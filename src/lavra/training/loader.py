"""Which examples make which step: a function of (seed, epoch) alone, so that a run continues where it was.

The loader knows sizes, not texts: what an example *is* only the objective's ``collate`` knows. Steps depend on
``batch_tokens`` and never on ``micro_tokens`` or the number of ranks, which only cut a step into pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from lavra.errors import LavraError
from lavra.store.files import digest
from lavra.training.settings import TrainSettings

if TYPE_CHECKING:
    import torch

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MicroBatch:
    """What is computed at once. ``filler``: computed so that all ranks do the same number of passes, counted 0."""

    examples: list[Any]
    filler: bool = False


class Loader(Protocol):
    """What the loop asks for. Streams of pre-training are another one of these."""

    fingerprint: str
    """Changes when the data or their order does."""

    def steps(self, epochs: int) -> int:
        """How many steps so many epochs have."""
        ...

    def next_step(self, rank: int = 0, ranks: int = 1) -> list[MicroBatch]:
        """The micro-batches of ``rank``, as many on each; the next epoch follows the last step of one."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON, from which :meth:`load_state_dict` continues."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class Mixed:
    """Examples beside the main ones: replay of general text, say. ``weight``: tokens of it for each main token; each
    epoch takes the next ones of an endless shuffle of it."""

    examples: Sequence[Any]
    sizes: Sequence[int] | Indices
    weight: float


@dataclass(frozen=True)
class _Epoch:
    """Source and index of each example in its order, and where steps begin and end."""

    sources: Indices
    indices: Indices
    cuts: list[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.cuts)

    def __getitem__(self, step: int) -> list[tuple[int, int]]:
        place = slice(*self.cuts[step])
        return list(zip(self.sources[place].tolist(), self.indices[place].tolist(), strict=True))


class ShuffledLoader:
    """``examples`` of ``sizes`` (places that computing one takes), each once an epoch, in an order of the seed's.

    A step takes examples as long as they fit ``batch_tokens``, at least one; within a step, examples of like size make
    a micro-batch of at most ``micro_tokens`` (an example larger than that is one alone). ``beside``: see
    :class:`Mixed`. ``times`` (N,): how many times an epoch draws each example instead of once: 2.5 of some shows each
    of them two or three times an epoch, 0.25 each in one epoch of four. ``shuffle`` False: in the order given. Epochs
    end with a step, which may be a short one.
    """

    def __init__(
        self,
        examples: Sequence[Any],
        sizes: Sequence[int] | Indices,
        *,
        batch_tokens: int,
        micro_tokens: int,
        seed: int = 0,
        beside: Sequence[Mixed] = (),
        shuffle: bool = True,
        times: npt.NDArray[np.float64] | None = None,
    ) -> None:
        if not len(examples):
            raise LavraError("there is nothing to train on: no example is left; look at what was refused and why")
        self.batch_tokens, self.micro_tokens = batch_tokens, micro_tokens
        self.seed, self.shuffle = seed, shuffle
        self._sources = [examples, *(mixed.examples for mixed in beside)]
        self._sizes = [np.asarray(given, dtype=np.int64) for given in (sizes, *(mixed.sizes for mixed in beside))]
        self._weights = [1.0, *(mixed.weight for mixed in beside)]
        for source, held in zip(self._sources, self._sizes, strict=True):
            if len(source) != len(held) or not len(held) or held.min() < 1:
                raise LavraError("every example to train on needs a size of at least 1")
        if times is not None and (len(times) != len(examples) or not (times > 0).all()):
            raise LavraError("every example to train on needs a positive number of times that it is drawn")
        self._times = None if times is None or (times == 1).all() else np.asarray(times, np.float64)
        said = [seed, shuffle, batch_tokens, self._weights, [[len(s), int(s.sum()), _sum(s)] for s in self._sizes]]
        self.fingerprint = digest(said if self._times is None else [*said, self._times.tolist()])
        self._epoch = self._step = 0
        self._planned: tuple[int, _Epoch] | None = None

    @property
    def epoch(self) -> int:
        return self._epoch

    def steps(self, epochs: int) -> int:
        return sum(len(self._plan(epoch)) for epoch in range(epochs))

    @property
    def epoch_tokens(self) -> int:
        """Places of the first epoch."""
        epoch = self._plan(0)
        return sum(int(held[epoch.indices[epoch.sources == number]].sum()) for number, held in enumerate(self._sizes))

    def next_step(self, rank: int = 0, ranks: int = 1) -> list[MicroBatch]:
        while self._step >= len(self._plan(self._epoch)):
            self._epoch, self._step = self._epoch + 1, 0
        step = self._plan(self._epoch)[self._step]
        self._step += 1
        shares = _deal([(self._size(*place), place) for place in step], ranks)
        groups = [self._group(share) for share in shares]
        most, own = max(map(len, groups)), groups[rank]
        found = [MicroBatch([self._sources[source][i] for source, i in group]) for group in own]
        spare = step[0]
        filler = MicroBatch([self._sources[spare[0]][spare[1]]], filler=True)
        return found + [filler] * (most - len(found))

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self._epoch, "step": self._step, "fingerprint": self.fingerprint}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises LavraError if the state is of other data."""
        if state["fingerprint"] != self.fingerprint:
            raise LavraError(
                "this run was begun on other examples or with another batch size or seed; begin a new run, or give "
                "the same ones to continue"
            )
        self._epoch, self._step = int(state["epoch"]), int(state["step"])

    # Steps of an epoch

    def _plan(self, epoch: int) -> _Epoch:
        if self._planned is None or self._planned[0] != epoch:
            places = self._order(epoch)
            sources = np.concatenate([np.full(len(indices), source) for source, indices in places])
            indices = np.concatenate([indices for _, indices in places])
            sizes = np.concatenate([self._sizes[source][indices] for source, indices in places])
            if len(places) > 1:
                order = _random(self.seed, epoch, len(self._sources)).permutation(len(indices))
                sources, indices, sizes = sources[order], indices[order], sizes[order]
            self._planned = epoch, _Epoch(sources, indices, list(_cut(sizes, self.batch_tokens)))
        return self._planned[1]

    def _order(self, epoch: int) -> list[tuple[int, Indices]]:
        main = np.arange(len(self._sources[0])) if self._times is None else self._drawn(epoch, self._times)
        if self.shuffle:
            main = main[_random(self.seed, epoch, 0).permutation(len(main))]
        found = [(0, main)]
        tokens = int((self._sizes[0] if self._times is None else self._sizes[0] * self._times).sum())
        for source in range(1, len(self._sources)):
            found.append((source, self._beside(source, epoch, round(tokens * self._weights[source]))))
        return found

    def _beside(self, source: int, epoch: int, wanted: int) -> Indices:
        """The examples whose tokens are the ``epoch``-th ``wanted`` ones of the source's endless shuffle."""
        return self._endless(self._sizes[source], wanted * epoch, wanted * (epoch + 1), source)

    def _drawn(self, epoch: int, times: npt.NDArray[np.float64]) -> Indices:
        """The main examples of an epoch: of those drawn equally often, the next ones of an endless shuffle of them."""
        found = []
        for number, value in enumerate(np.unique(times), 1):
            members = np.flatnonzero(times == value)
            sizes = self._sizes[0][members]
            first, last = (round(value * int(sizes.sum()) * end) for end in (epoch, epoch + 1))
            found.append(members[self._endless(sizes, first, last, -number)])
        return np.concatenate(found)

    def _endless(self, sizes: Indices, first: int, last: int, stream: int) -> Indices:
        """What begins between the tokens ``first`` and ``last`` of one shuffle of ``sizes`` after another."""
        total = int(sizes.sum())
        found = []
        for turn in range(first // total, max(first, last - 1) // total + 1):
            order = _random(self.seed, turn, stream).permutation(len(sizes))
            begins = turn * total + np.cumsum(sizes[order]) - sizes[order]
            found.append(order[(begins >= first) & (begins < last)])
        return np.concatenate(found)

    def _size(self, source: int, index: int) -> int:
        return int(self._sizes[source][index])

    def _group(self, share: list[tuple[int, tuple[int, int]]]) -> list[list[tuple[int, int]]]:
        """Micro-batches of a rank's part of a step: like sizes together, so that little is padded."""
        groups: list[list[tuple[int, int]]] = []
        widest = 0
        for size, place in sorted(share):
            widest = max(widest, size)
            if not groups or widest * (len(groups[-1]) + 1) > self.micro_tokens:
                groups.append([])
                widest = size
            groups[-1].append(place)
        return groups


def make_loader(
    examples: Sequence[Any],
    sizes: Sequence[int] | Indices,
    settings: TrainSettings,
    *,
    device: str | torch.device = "cpu",
    beside: Sequence[Mixed] = (),
) -> ShuffledLoader:
    """As the settings say."""
    chosen = settings.resolved(device)
    return ShuffledLoader(
        examples,
        sizes,
        batch_tokens=chosen.batch_tokens,
        micro_tokens=chosen.micro_tokens or chosen.batch_tokens,
        seed=chosen.seed,
        beside=beside,
    )


def _cut(sizes: Indices, most: int) -> Iterator[tuple[int, int]]:
    """Stretches that add up to at most ``most``, each as long as possible and of at least one."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = int(ends[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield start, end
        start = end


def _deal(items: list[tuple[int, Any]], ranks: int) -> list[list[tuple[int, Any]]]:
    """The largest first, each to the rank that has the least."""
    shares: list[list[tuple[int, Any]]] = [[] for _ in range(ranks)]
    loads = [0] * ranks
    for item in sorted(items, reverse=True):
        least = loads.index(min(loads))
        shares[least].append(item)
        loads[least] += item[0]
    return shares


def _random(seed: int, turn: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, turn, stream % (1 << 32)])))


def _sum(sizes: Indices) -> int:
    """A check sum that changes when sizes are exchanged."""
    return int((sizes * (np.arange(len(sizes)) % 65_521 + 1)).sum() % (1 << 53))
