"""Answers to many prompts at once, each until it says one of its stop strings.

As in ``scoring.py`` a beginning that many prompts share (the worked examples) is computed once. Prompts are padded at
the end, and an answer's tokens follow behind the padding at the positions that they have without it. Rows that are
done leave when half of them are. ``inference/engine.py`` is for people, who wait for one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from torch import Tensor

from lavra.evaluation.harness.prefixes import Ids, clusters
from lavra.evaluation.harness.room import Room, longest_text
from lavra.evaluation.harness.scoring import padded, read_prefix, rows_of, starting_with
from lavra.inference.batch_sampling import draw
from lavra.inference.sampling import Sampling
from lavra.model.attention import Mask
from lavra.model.base import Model
from lavra.model.cache import Cache, KVCache
from lavra.model.heads import logits

_ROWS = 32
"""Answers written together: more of them wait longer for the longest."""

Stopped = Callable[[list[int]], bool]


def generate(
    model: Model,
    prompts: Sequence[Ids],
    sampling: Sampling,
    *,
    ends: Collection[int],
    stopped: Stopped,
    heard: Callable[[list[tuple[int, list[int]]]], None] | None = None,
) -> list[list[int]]:
    """An answer to each prompt: at most ``sampling.max_tokens`` tokens, the last of them one of ``ends`` or the one
    with which the answer became ``stopped``. The same seed gives the same answers.

    A prompt is cut at its beginning where it and its answer do not fit the model's context. ``heard`` is told of each
    batch the numbers of its prompts and their answers.
    """
    room = Room.of(model)
    longest = longest_text(model) - sampling.max_tokens
    cut = [prompt[-longest:] for prompt in prompts]
    generator = torch.Generator()
    generator.manual_seed((sampling.seed or 0) % 2**63)
    found: list[list[int]] = [[] for _ in cut]
    for shared, batch in _batches(cut, sampling.max_tokens, room):
        prefix = read_prefix(model, cut[batch[0]][:shared]) if shared else None
        rests = [cut[number][shared:] for number in batch]
        answers = _together(model, rests, prefix, sampling, frozenset(ends), stopped, generator)
        for number, answer in zip(batch, answers, strict=True):
            found[number] = answer
        if heard is not None:
            heard(list(zip(batch, answers, strict=True)))
    return found


def _batches(prompts: Sequence[Ids], answer: int, room: Room) -> Iterator[tuple[int, list[int]]]:
    """Prompts by number, with the length of the beginning that they share; of like length together, and of equal
    length where padding may not stand inside a text."""
    padded_ones = [number for number, prompt in enumerate(prompts) if len(prompt) + answer <= room.reach]
    alone = [number for number, prompt in enumerate(prompts) if len(prompt) + answer > room.reach]
    found = [(c.shared, [padded_ones[n] for n in c.members]) for c in clusters([prompts[n] for n in padded_ones])]
    for shared, members in [*found, (0, alone)]:
        batch: list[int] = []
        for number in sorted(members, key=lambda number: -len(prompts[number])):
            if batch:
                longest = len(prompts[batch[0]])
                full = len(batch) == _ROWS or (len(batch) + 1) * (longest + answer) > room.written
                if full or (members is alone and len(prompts[number]) != longest):
                    yield shared, batch
                    batch = []
            batch.append(number)
        if batch:
            yield shared, batch


@torch.inference_mode()
def _together(
    model: Model,
    prompts: Sequence[Ids],
    prefix: KVCache | None,
    sampling: Sampling,
    ends: frozenset[int],
    stopped: Stopped,
    generator: torch.Generator,
) -> list[list[int]]:
    rows, device = len(prompts), model.device
    shared = prefix.length if prefix is not None else 0
    ids_BT = padded(prompts, device)
    lengths_B = torch.tensor([len(prompt) for prompt in prompts], device=device)
    level = bool((lengths_B == ids_BT.shape[1]).all())
    capacity = shared + ids_BT.shape[1] + sampling.max_tokens
    cache: Cache = starting_with(prefix, model.make_cache(capacity, batch=rows))
    hidden_BTC = model(ids_BT, cache=cache)
    hidden_BC = hidden_BTC[torch.arange(rows, device=device), lengths_B - 1]
    places_S = torch.arange(shared + ids_BT.shape[1], device=device)
    valid_BS, positions_B = places_S < (shared + lengths_B)[:, None], shared + lengths_B
    answers: list[list[int]] = [[] for _ in prompts]
    going = list(range(rows))  # whose each row of the cache is
    finished: set[int] = set()
    for step in range(sampling.max_tokens):
        tokens = draw(logits(model, hidden_BC), sampling, generator)
        for row, token in zip(going, tokens.tolist(), strict=True):
            if row not in finished:
                answers[row].append(token)
                if token in ends or stopped(answers[row]):
                    finished.add(row)
        kept = [place for place, row in enumerate(going) if row not in finished]
        if not kept or step + 1 == sampling.max_tokens:
            break
        if len(kept) <= len(going) // 2 and isinstance(cache, KVCache):
            chosen = torch.tensor(kept, device=device)
            cache, tokens, valid_BS = rows_of(cache, chosen), tokens[kept], valid_BS[chosen]
            positions_B, going = positions_B[chosen], [going[place] for place in kept]
        valid_BS = torch.cat((valid_BS, valid_BS.new_ones(len(going), 1)), 1)
        more: dict[str, Tensor | Mask] = {}
        if not level:
            more = {"mask": Mask(causal=True, valid_BS=valid_BS), "positions_BT": positions_B[:, None] + step}
        hidden_BC = model(tokens[:, None].to(device), cache=cache, **more)[:, -1]
    return answers
