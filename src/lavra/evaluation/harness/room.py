"""How much a model computes at once, and whether what it has read can be handed on."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lavra.model.base import Model
from lavra.model.transformer import Transformer
from lavra.model.virtual import virtual_tokens

_MEBI = 1 << 20


@dataclass(frozen=True)
class Room:
    """``tokens`` of a pass; ``cached``: tokens whose keys and values there is room for, and ``written``: the same while
    answers are written, which are worth more of it. ``reach``: how many places a text may have if a gap of padding is
    to stand in it; 0 where none may."""

    tokens: int
    cached: int
    reach: int
    written: int = 0

    @classmethod
    def of(cls, model: Model) -> Room:
        """On a CPU, little: with 1,024 tokens and 32 MB of keys and values a core SmolLM2-135M took 9.2 s of CPU time
        for questions with choices and 1.3 GB in all, with 2,048 and 256 MB 16 s and 1.8 GB. On a GPU much."""
        gpu = model.device.type == "cuda"
        tokens, memory, written = (32_768, 8192, 16_384) if gpu else (1024, 32, 512)
        config = model.config
        each = 2 * config.layers * config.kv_heads * config.head_width * torch.empty((), dtype=model.dtype).itemsize
        found = [max(1024, _MEBI * size // max(1, each)) for size in (memory, written)]
        return cls(tokens, found[0], _reach(model), found[1])


def _reach(model: Model) -> int:
    """Keys and values can be handed on where a token is told by its position alone, and not by its place in the row:
    then padding may stand between. Under a window that is so as long as all of a text lies within it."""
    config = model.config
    scaled = config.rope_scaling is not None and config.rope_scaling.by_length
    by_place = config.sparse is not None or config.relative != "none" or config.memory is not None
    if not isinstance(model, Transformer) or scaled or by_place or virtual_tokens(model):
        return 0
    return config.window or longest_text(model)


def longest_text(model: Model) -> int:
    """Tokens that a text may have: virtual ones stand before it."""
    return model.config.context_length - virtual_tokens(model)
