"""Answers to many prompts at once, for those who need numbers of them: reinforcement learning, a teacher's answers.

Prompts are padded at the left, so that all of them end, and all answers begin, at the same place; one KV cache holds
them. Several answers to a prompt share the computing of it. ``engine.py`` is for people, who wait for one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from lavra.errors import LavraError
from lavra.inference.sampler import probabilities, validate
from lavra.inference.sampling import Sampling
from lavra.model.attention import Mask
from lavra.model.base import Model
from lavra.model.cache import KVCache
from lavra.model.heads import logits

Answers = list[list[int]]


@torch.no_grad()
def sample_batch(
    model: Model,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    copies: int = 1,
    ends: Collection[int] = (),
    at_once: int = 64,
) -> list[Answers]:
    """``copies`` answers to each prompt: token ids, at most ``sampling.max_tokens``, the last of them one of ``ends``
    if the answer came to an end.

    ``at_once``: answers that are written together; also what the cache has room for. The same seed gives the same
    answers. Penalties and stop strings are the engine's. Raises LavraError for an empty prompt, or for a model whose
    memory is no KV cache.
    """
    validate(sampling)
    if not all(prompts):
        raise LavraError("a prompt is empty; give at least one token")
    generator = torch.Generator()
    generator.manual_seed((sampling.seed or 0) % 2**63)
    training = model.training
    model.eval()
    found: list[Answers] = []
    try:
        each = max(1, at_once // copies)
        for start in range(0, len(prompts), each):
            found += _together(model, prompts[start : start + each], sampling, copies, frozenset(ends), generator)
    finally:
        model.train(training)
    return found


def _together(
    model: Model,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    copies: int,
    ends: frozenset[int],
    generator: torch.Generator,
) -> list[Answers]:
    longest, rows = max(map(len, prompts)), len(prompts) * copies
    ids_BT = torch.zeros(len(prompts), longest, dtype=torch.long)
    valid_BT = torch.zeros(len(prompts), longest, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        ids_BT[row, longest - len(prompt) :] = torch.tensor(prompt)
        valid_BT[row, longest - len(prompt) :] = True
    cache = model.make_cache(longest + sampling.max_tokens, batch=len(prompts))
    if not isinstance(cache, KVCache):
        raise LavraError("answers in batches need a transformer's KV cache; this model's memory is another")
    valid_BT = valid_BT.to(model.device)
    hidden_BC = model(ids_BT.to(model.device), mask=Mask(causal=True, valid_BS=valid_BT), cache=cache)[:, -1]
    # Each prompt was computed once; its answers go their own ways from here.
    for tensors in (cache.keys, cache.values):
        tensors[:] = [tensor.repeat_interleave(copies, 0) for tensor in tensors]
    hidden_BC, valid_BT = hidden_BC.repeat_interleave(copies, 0), valid_BT.repeat_interleave(copies, 0)
    answers: Answers = [[] for _ in range(rows)]
    going = list(range(rows))  # which answer each row of the cache is
    done: set[int] = set()
    for step in range(sampling.max_tokens):
        tokens = draw(logits(model, hidden_BC), sampling, generator)
        for row, token in zip(going, tokens.tolist(), strict=True):
            if row not in done:
                answers[row].append(token)
            if token in ends:
                done.add(row)
        kept = [place for place, row in enumerate(going) if row not in done]
        if not kept or step + 1 == sampling.max_tokens:
            break
        if len(kept) <= len(going) // 2:  # those that are done leave, when it is worth a copy
            chosen = torch.tensor(kept, device=model.device)
            for tensors in (cache.keys, cache.values):
                tensors[:] = [tensor[chosen] for tensor in tensors]
            tokens, valid_BT, going = tokens[kept], valid_BT[chosen], [going[place] for place in kept]
        valid_BT = torch.cat([valid_BT, valid_BT.new_ones(len(going), 1)], 1)
        mask = Mask(causal=True, valid_BS=valid_BT)
        hidden_BC = model(tokens[:, None].to(model.device), mask=mask, cache=cache)[:, -1]
    return [answers[start : start + copies] for start in range(0, rows, copies)]


def draw(logits_BV: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """A token for each row, (B,), on the CPU; the settings mean what they mean in ``sampler.py``."""
    logits_BV = logits_BV.float().cpu()
    if sampling.temperature == 0:
        return logits_BV.argmax(1)
    points_B = torch.rand(len(logits_BV), 1, generator=generator, dtype=torch.float64)
    if sampling.top_k == 0 and sampling.top_p == 1 and sampling.min_p == 0:
        sums_BV = (logits_BV.double() / sampling.temperature).softmax(1).cumsum(1)
        index_B = torch.searchsorted(sums_BV, points_B * sums_BV[:, -1:], right=True)[:, 0]
        return index_B.clamp_max(logits_BV.shape[1] - 1)
    found = []
    for row_V, point in zip(logits_BV, points_B[:, 0], strict=True):
        ids, chances = probabilities(row_V, sampling)
        sums = chances.cumsum(0)
        found.append(ids[min(int(torch.searchsorted(sums, point * sums[-1], right=True)), len(ids) - 1)])
    return torch.stack(found)
