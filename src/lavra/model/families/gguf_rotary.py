"""Rotary positions as GGUF files spell them.

Linear and YaRN scaling are metadata. Llama 3's and LongRoPE are tables of divisors, one a frequency, that lie among the
tensors; from such a table Llama 3's four numbers are found again, so that the config says what was meant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from lavra.errors import LavraError
from lavra.model.config import ModelConfig, RotaryScaling
from lavra.model.families.family import refuse
from lavra.model.positions import rotary_frequencies

_FREQS, _SHORT, _LONG = "rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight"


def shortest(value: Any) -> Any:
    """A number as it was meant: files hold float32, and 9.99999997e-07 was 1e-06."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def read_rotary(get: Callable[..., Any], gguf: Mapping[str, Any], head_width: int, context: int) -> dict[str, Any]:
    """``rope_theta``, ``rope_scaling`` and ``rotary_width`` fields."""
    theta, turning = get("rope.freq_base", 10_000.0), get("rope.dimension_count", head_width)
    fields = {"rope_theta": theta, "rotary_width": None if turning == head_width else turning}
    kind = get("rope.scaling.type", "none")
    scaling: RotaryScaling | None = None
    refuse(kind not in ("none", "linear", "yarn", "longrope"), f"rotary positions scaled by {kind!r}")
    if _LONG in gguf:
        scaling = _read_longrope(get, gguf, context)
    elif _FREQS in gguf:
        scaling = _from_divisors(gguf[_FREQS], turning, theta, context)
    elif kind == "linear":
        scaling = RotaryScaling("linear", factor=get("rope.scaling.factor"))
    elif kind == "yarn":
        scaling = _read_yarn(get, context)
    else:
        refuse(kind == "longrope", "long factors, which the file lacks")
    return {**fields, "rope_scaling": scaling}


def _read_yarn(get: Callable[..., Any], context: int) -> RotaryScaling:
    factor, attention = get("rope.scaling.factor"), get("rope.scaling.attn_factor")
    return RotaryScaling(
        "yarn",
        factor=factor,
        original_context=get("rope.scaling.original_context_length", context),
        attention_factor=None if attention in (None, 1.0) else attention * _temperature(factor),
        beta_fast=get("rope.scaling.yarn_beta_fast", 32.0),
        beta_slow=get("rope.scaling.yarn_beta_slow", 1.0),
    )


def _temperature(factor: float) -> float:
    """What YaRN multiplies cos and sin by (Peng et al. 2023, eq. 22); a file's own factor comes on top."""
    return 0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0


def _read_longrope(get: Callable[..., Any], gguf: Mapping[str, Any], context: int) -> RotaryScaling:
    original = get("rope.scaling.original_context_length", context)
    attention, factor = get("rope.scaling.attn_factor"), context / original
    usual = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    return RotaryScaling(
        "longrope",
        factor=factor,
        original_context=original,
        attention_factor=None if attention is None or abs(attention - usual) < 1e-6 else attention,
        short=tuple(map(shortest, gguf[_SHORT])),
        long=tuple(map(shortest, gguf[_LONG])),
    )


def _from_divisors(divisors: list[float], width: int, theta: float, context: int) -> RotaryScaling | None:
    """Llama 3's scaling if it gives these divisors for an original context of a power of two, else the table itself."""
    factor = max(divisors, default=1.0)
    if all(divisor == 1.0 for divisor in divisors):
        return None
    if factor >= 1.0 and len(divisors) == width // 2:
        for power in range(8, 21):
            guess = RotaryScaling(
                "llama3", factor=shortest(factor), original_context=1 << power, high_frequency_factor=4.0
            )
            if np.allclose(_divisors(width, theta, guess), divisors, rtol=1e-5, atol=0):
                return guess
    table = tuple(map(shortest, divisors))
    return RotaryScaling("longrope", original_context=context, attention_factor=1.0, short=table, long=table)


def _divisors(width: int, theta: float, scaling: RotaryScaling) -> list[float]:
    plain, _ = rotary_frequencies(width, theta, None, 0)
    scaled, _ = rotary_frequencies(width, theta, scaling, 0)
    return (plain.double() / scaled.double()).to(torch.float32).tolist()


def write_rotary(config: ModelConfig) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Metadata without the architecture's name before it, and tables by tensor name. Raises LavraError for a scaling
    that GGUF has no words for."""
    written: dict[str, Any] = {"rope.dimension_count": config.turning, "rope.freq_base": float(config.rope_theta)}
    scaling = config.rope_scaling
    if scaling is None:
        return written, {}
    if scaling.kind == "linear":
        return {**written, "rope.scaling.type": "linear", "rope.scaling.factor": float(scaling.factor)}, {}
    if scaling.kind == "llama3":
        return written, {_FREQS: _divisors(config.turning, config.rope_theta, scaling)}
    if scaling.kind == "yarn":
        written |= {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": float(scaling.factor),
            "rope.scaling.original_context_length": scaling.original_context,
            "rope.scaling.yarn_beta_fast": float(scaling.beta_fast),
            "rope.scaling.yarn_beta_slow": float(scaling.beta_slow),
        }
        if scaling.attention_factor is not None:
            written["rope.scaling.attn_factor"] = scaling.attention_factor / _temperature(scaling.factor)
        return written, {}
    if scaling.kind == "longrope":
        _, attention = rotary_frequencies(config.turning, config.rope_theta, scaling, 0)
        written |= {
            "rope.scaling.original_context_length": scaling.original_context,
            "rope.scaling.attn_factor": attention,
        }
        return written, {_SHORT: list(scaling.short), _LONG: list(scaling.long)}
    raise LavraError(f"GGUF has no words for rotary positions scaled by {scaling.kind!r}; write format hf instead")
