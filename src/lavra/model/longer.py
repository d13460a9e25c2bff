"""A longer context for a model that turns its positions: a larger base, so that the slowest turns of the longer context
are those of the trained one, while near positions are told apart as before (NTK-aware: bloc97 2023; Xiong et al. 2023).

Dividing all positions instead (Chen et al. 2023) has to be learned first: SmolLM2-135M, stretched from 8,192 to 12,288
tokens, finds none of eight needles by division, and after 30 steps of LongLoRA neither; by a larger base it finds five
as it is. And a base is a number that every reader of the model knows.
"""

from __future__ import annotations

from dataclasses import replace

from lavra.errors import LavraError
from lavra.model.config import ModelConfig

RULE = "base"
"""The name of the rule, kept with what was trained on it: under another one it would be worth nothing."""


def lengthen(config: ModelConfig, context: int) -> ModelConfig:
    """The config for ``context`` tokens; the same where it takes as many already.

    The base is raised as the dynamic rule raises it for a text of that length with a factor of 2: by
    ``(2 r - 1)^(d / (d - 2))`` for ``r`` times the context and ``d`` turned dimensions of a head.

    Raises LavraError for a model whose positions are not rotary, or were stretched before.
    """
    if context <= config.context_length:
        return config
    if config.positions != "rotary" or config.local_rope_theta is not None:
        raise LavraError(
            f"the model reads at most {config.context_length} tokens and its positions cannot be stretched; "
            "cut the examples, or pick a model with rotary positions"
        )
    if config.rope_scaling is not None:
        raise LavraError(
            f"the model's positions are stretched already, to {config.context_length} tokens; give a shorter context"
        )
    turned = config.turning
    theta = config.rope_theta * (2 * context / config.context_length - 1) ** (turned / (turned - 2))
    return replace(config, context_length=context, rope_theta=theta)
