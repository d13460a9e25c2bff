"""How likely texts are to a model: log p(continuation | context), for many pairs at once.

Tasks ask the same beginnings again and again: the four choices of a question share the question, the questions of a
subject share their examples. Here a beginning is computed once, at two levels: the keys and values of what the contexts
of a cluster begin with are given to each of them, and those of a context to each of its continuations. Texts are padded
at the end, where a decoder does not look, and logits exist only where a continuation is, some positions at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lavra.errors import LavraError
from lavra.evaluation.harness.prefixes import Ids, clusters
from lavra.evaluation.harness.room import Room, longest_text
from lavra.inference.lone_threads import lone_threads
from lavra.model.attention import Mask
from lavra.model.base import Model
from lavra.model.cache import Cache, KVCache
from lavra.model.heads import logits

Score = tuple[float, bool]
"""log p in nats, and whether greedy decoding would have written it."""
_LOGITS = 1 << 24
"""Logits that exist at a time: 64 MB in float32."""


@dataclass
class Asked:
    """A context and what may follow it, with each one's number in the caller's list."""

    context: Ids
    continuations: list[Ids] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    @property
    def ids(self) -> Ids:
        """What is read in the first pass: a single continuation's tokens too, but for the last, which is predicted
        and never read."""
        return self.context + self.continuations[0][:-1] if len(self.continuations) == 1 else self.context

    @property
    def branches(self) -> list[int]:
        """The continuations that need a second pass: of one token the context says all."""
        if len(self.continuations) == 1:
            return []
        return [branch for branch, ids in enumerate(self.continuations) if len(ids) > 1]

    @property
    def deepest(self) -> int:
        """Tokens of the longest branch that are read."""
        return max((len(self.continuations[branch]) - 1 for branch in self.branches), default=0)


@dataclass(frozen=True)
class Reading:
    """Hidden states (M, C) to read logits from; of each predicted token the state, its id and whose it is."""

    hidden_MC: Tensor
    states: list[int]
    targets: list[int]
    owners: list[int]


def score(
    model: Model, pairs: Sequence[tuple[Ids, Ids]], *, heard: Callable[[list[tuple[int, Score]]], None] | None = None
) -> list[Score]:
    """Of each (context, continuation), both of at least one token: log p of the continuation, and whether each of its
    tokens is the likeliest.

    What does not fit the model's context is cut at its beginning, as the harness does. ``heard`` is told
    of each batch the numbers of its pairs and their scores. Raises LavraError where a continuation alone does not fit.
    """
    longest = longest_text(model)
    cut = [fit(context, continuation, longest) for context, continuation in pairs]
    numbers: dict[tuple[Ids, Ids], list[int]] = {}
    for number, pair in enumerate(cut):
        numbers.setdefault(pair, []).append(number)
    room = Room.of(model)
    found: list[Score] = [(0.0, True)] * len(cut)
    different = list(numbers)
    for scores in _scored(model, _asked(different, room), room):
        batch = [(number, given) for place, given in scores for number in numbers[different[place]]]
        for number, given in batch:
            found[number] = given
        if heard is not None:
            heard(batch)
    return found


def fit(context: Ids, continuation: Ids, longest: int) -> tuple[Ids, Ids]:
    """The last ``longest`` + 1 tokens of both: the very last is only predicted."""
    kept = longest + 1 - len(continuation)
    if kept < 1:
        raise LavraError(
            f"a continuation has {len(continuation)} tokens and the model takes {longest}: leave that task out, or "
            "take a model with a longer context."
        )
    return (context[-kept:] if len(context) > kept else context), continuation


def _asked(pairs: Sequence[tuple[Ids, Ids]], room: Room) -> list[Asked]:
    """By context, where what was read can be handed on; else every pair by itself."""
    found: list[Asked] = []
    by_context: dict[Ids, Asked] = {}
    for number, (context, continuation) in enumerate(pairs):
        fits = len(context) + len(continuation) - 1 <= room.reach
        asked = by_context.get(context) if fits else None
        if asked is None:
            asked = Asked(context)
            found.append(asked)
            if fits:
                by_context[context] = asked
        asked.continuations.append(continuation)
        asked.numbers.append(number)
    return found


def _scored(model: Model, asked: list[Asked], room: Room) -> Iterator[list[tuple[int, Score]]]:
    """Cluster by cluster, batch by batch; on a CPU a batch for each core at a time."""
    mapped = lone_threads().map if model.device.type == "cpu" else map
    short = [one for one in asked if len(one.ids) + one.deepest <= room.reach]
    long = [one for one in asked if len(one.ids) + one.deepest > room.reach]
    work = [(cluster.shared, [short[n] for n in cluster.members]) for cluster in clusters([a.context for a in short])]
    for shared, members in [*work, (0, long)]:
        prefix = read_prefix(model, members[0].context[:shared]) if shared else None

        def compute(batch: list[Asked], prefix: KVCache | None = prefix) -> list[tuple[int, Score]]:
            return _score_batch(model, batch, prefix, room)

        yield from mapped(compute, batches(members, shared, room))


def batches(asked: Sequence[Asked], shared: int, room: Room) -> list[list[Asked]]:
    """Of like length together, longest first; those without branches, which need no cache, apart from the others."""
    found: list[list[Asked]] = []
    width = depth = 0
    for one in sorted(asked, key=lambda one: (not one.branches, -len(one.ids))):
        if found:
            rows, deepest = len(found[-1]) + 1, max(depth, one.deepest)
            places = shared + width + deepest
            fits = (
                rows * width <= room.tokens and rows * places <= room.cached and (not deepest or places <= room.reach)
            )
        if not found or not fits or bool(found[-1][0].branches) != bool(one.branches):
            found.append([])
            width, depth = len(one.ids) - shared, 0
        found[-1].append(one)
        depth = max(depth, one.deepest)
    return found


@torch.inference_mode()
def read_prefix(model: Model, ids: Ids) -> KVCache:
    cache = model.make_cache(len(ids))
    assert isinstance(cache, KVCache)
    model(torch.tensor([ids], device=model.device), cache=cache)
    return cache


@torch.inference_mode()
def _score_batch(model: Model, batch: list[Asked], prefix: KVCache | None, room: Room) -> list[tuple[int, Score]]:
    shared = prefix.length if prefix is not None else 0
    rests = [one.ids[shared:] for one in batch]
    deepest = max(one.deepest for one in batch)
    cache: Cache | None = None
    if prefix is not None or deepest:
        cache = starting_with(prefix, model.make_cache(shared + max(map(len, rests)) + deepest, batch=len(batch)))
    hidden_BTC = model(padded(rests, model.device), cache=cache)
    readings = [_read_contexts(batch, shared, hidden_BTC)]
    branches = [(row, branch) for row, one in enumerate(batch) for branch in one.branches]
    if branches:
        assert isinstance(cache, KVCache)
        each = max(1, room.cached // (cache.capacity + 1))
        branches.sort(key=lambda place: -len(batch[place[0]].continuations[place[1]]))
        for start in range(0, len(branches), each):
            readings.append(_read_branches(model, batch, branches[start : start + each], cache))
    found: dict[int, Score] = {}
    for reading in readings:
        for owner, log_p, likeliest in zip(reading.owners, *_log_probabilities(model, reading), strict=True):
            total, greedy = found.get(owner, (0.0, True))
            found[owner] = total + log_p, greedy and likeliest
    return list(found.items())


def padded(texts: Sequence[Ids], device: torch.device) -> Tensor:
    """(B, T), zeros at the end."""
    longest = max(map(len, texts))
    return torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in texts], device=device)


def starting_with(prefix: KVCache | None, cache: Cache) -> Cache:
    """``cache``, each of whose texts begins with what ``prefix`` holds."""
    if prefix is not None:
        assert isinstance(cache, KVCache)
        for mine, given in ((cache.keys, prefix.keys), (cache.values, prefix.values)):
            for to, source in zip(mine, given, strict=True):
                to[:, :, : prefix.length] = source[:, :, : prefix.length]
        cache.advance(prefix.length)
    return cache


def rows_of(cache: KVCache, rows: Tensor) -> KVCache:
    """A cache of some rows of another, in any order and any number of times."""
    found = copy(cache)
    found.keys, found.values = ([tensor[rows] for tensor in tensors] for tensors in (cache.keys, cache.values))
    found.first, found.cross = list(cache.first), {}
    return found


def _read_contexts(batch: list[Asked], shared: int, hidden_BTC: Tensor) -> Reading:
    """What the first pass says: all of single continuations, and of others the first token."""
    rows: list[int] = []
    places: list[int] = []
    states: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    for row, one in enumerate(batch):
        last = len(one.context) - 1 - shared
        if len(one.continuations) == 1:
            ids = one.continuations[0]
            states += range(len(rows), len(rows) + len(ids))
            rows += [row] * len(ids)
            places += range(last, last + len(ids))
            targets += ids
            owners += one.numbers * len(ids)
        else:
            states += [len(rows)] * len(one.continuations)
            rows.append(row)
            places.append(last)
            targets += [ids[0] for ids in one.continuations]
            owners += one.numbers
    return Reading(hidden_BTC[rows, places], states, targets, owners)


def _read_branches(model: Model, batch: list[Asked], branches: list[tuple[int, int]], cache: KVCache) -> Reading:
    """What comes after the first tokens. A branch is read behind its context and the context's padding."""
    device = model.device
    ids = [batch[row].continuations[branch] for row, branch in branches]
    read_NT = padded([one[:-1] for one in ids], device)
    before_N = torch.tensor([len(batch[row].context) for row, _ in branches], device=device)
    filled, time = cache.length, read_NT.shape[1]
    places_S = torch.arange(filled + time, device=device)
    valid_NS = (places_S < before_N[:, None]) | (places_S >= filled)
    positions_NT = before_N[:, None] + torch.arange(time, device=device)
    mask = Mask(causal=True, valid_BS=None if bool(valid_NS.all()) else valid_NS)
    own = rows_of(cache, torch.tensor([row for row, _ in branches], device=device))
    hidden_NTC = model(read_NT, cache=own, mask=mask, positions_BT=positions_NT)
    rows = [row for row, one in enumerate(ids) for _ in one[1:]]
    times = [place for one in ids for place in range(len(one) - 1)]
    targets = [token for one in ids for token in one[1:]]
    owners = [batch[row].numbers[branch] for row, branch in branches for _ in batch[row].continuations[branch][1:]]
    return Reading(hidden_NTC[rows, times], list(range(len(rows))), targets, owners)


def _log_probabilities(model: Model, reading: Reading) -> tuple[list[float], list[bool]]:
    """Of each target, and whether it is the likeliest token; ``reading.states`` ascend."""
    each = max(1, _LOGITS // model.config.vocabulary_size)
    states_N = torch.tensor(reading.states)
    log_p: list[float] = []
    greedy: list[bool] = []
    for start in range(0, len(reading.hidden_MC), each):
        z_MV = logits(model, reading.hidden_MC[start : start + each]).float()
        inside = (states_N >= start) & (states_N < start + each)
        targets_N = torch.tensor(reading.targets)[inside].to(z_MV.device)
        own_N = (states_N[inside] - start).to(z_MV.device)
        log_p += (z_MV[own_N, targets_N] - z_MV.logsumexp(1)[own_N]).tolist()
        greedy += (z_MV.argmax(1)[own_N] == targets_N).tolist()
    return log_p, greedy
