"""A longer context for a model that turns its positions: positions are divided by how much longer it is, so that none
is beyond those it was trained on (position interpolation, Chen et al. 2023). It has to be tuned a little on long texts
before that helps; LongLoRA does (Chen et al. 2024, section 3).
"""

from __future__ import annotations

from dataclasses import replace

from lavra.errors import LavraError
from lavra.model.config import ModelConfig, RotaryScaling


def lengthen(config: ModelConfig, context: int) -> ModelConfig:
    """The config for ``context`` tokens; the same where it takes as many already.

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
    scaling = RotaryScaling(kind="linear", factor=context / config.context_length)
    return replace(config, context_length=context, rope_scaling=scaling)
