"""What a family is: how its files spell the config, both ways, and what they call each weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lavra.errors import LavraError
from lavra.model.config import ModelConfig

Layout = Literal["pairs", "transposed", "by_head", "leading_one", "leading_two", "plus_one"]
"""How a file stores a tensor otherwise than Lavra does; ``layouts.py`` turns one into the other, both ways.

``pairs``: query and key rows with rotary pairs side by side (llama.cpp) instead of half a head apart.
``transposed``: (in, out), as GPT-2's convolutions of width 1. ``by_head``: query, key and value of the first head,
then of the second, … (GPT-NeoX). ``leading_one``, ``leading_two``: so many more axes of length 1
in front (ViT's positions and class token).
``plus_one``: what llama.cpp multiplies by, where Lavra keeps what Gemma learned, which is one less."""


@dataclass(frozen=True)
class Rule:
    """Where one of Lavra's modules lies in a file: tensors joined along ``axis``, in this order.

    ``{layer}`` is the block's number; a name with ``{expert}`` stands for one tensor an expert, stacked in front.
    ``layouts`` goes with ``parts``, one each.
    """

    parts: tuple[str, ...]
    axis: int = 0
    layouts: tuple[Layout | None, ...] = ()

    def layout(self, part: int) -> Layout | None:
        return self.layouts[part] if self.layouts else None


Names = Mapping[str, Rule]
Table = Mapping[str, str | tuple[str, ...] | Rule]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Family:
    """``read``: the fields of a file, and the shapes of its tensors (names without ``prefix``), to a config.
    ``write``: a config to the fields of a file, or None where Lavra does not write the format. ``names``: Lavra's
    module names, or full parameter names, to the file's. ``prefix``: what some files put before every name but those
    in ``heads``. ``ignored``: beginnings and ends of names that carry nothing that Lavra needs. ``leaves``: how the
    file spells ``weight`` and ``bias``. ``variant``: names that depend on the config. ``aliases``: how older files end
    a name, and how today's do."""

    read: Callable[[Mapping[str, Any], Shapes], ModelConfig]
    names: Names
    write: Callable[[ModelConfig], dict[str, Any]] | None = None
    prefix: str = ""
    heads: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    leaves: Mapping[str, str] = field(default_factory=lambda: {"weight": ".weight", "bias": ".bias"})
    variant: Callable[[ModelConfig], Names] | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)

    def table(self, config: ModelConfig) -> Names:
        """The names of a model of ``config``."""
        return self.names if self.variant is None else {**self.names, **self.variant(config)}


def names(table: Table, prefix: str = "") -> dict[str, Rule]:
    """A table as it is easiest to write, as rules; ``prefix`` goes before Lavra's names (``encoder.``)."""
    rules = {}
    for ours, theirs in table.items():
        if not isinstance(theirs, Rule):
            theirs = Rule((theirs,) if isinstance(theirs, str) else theirs)
        rules[prefix + ours] = theirs
    return rules


HF_ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "gelu_quick",
    "relu": "relu",
    "relu2": "relu2",
}


def activation(name: Any) -> Any:
    """Lavra's name of a Hugging Face activation. Raises LavraError for others."""
    if name not in HF_ACTIVATIONS:
        raise LavraError(f"the config asks for the activation {name!r}; Lavra knows {', '.join(HF_ACTIVATIONS)}")
    return HF_ACTIVATIONS[name]


def activation_name(ours: str) -> str:
    """The Hugging Face name of one of Lavra's activations; the inverse of :func:`activation`."""
    preferred = {"silu": "silu", "gelu_tanh": "gelu_pytorch_tanh"}
    return preferred.get(ours) or next(theirs for theirs, known in HF_ACTIVATIONS.items() if known == ours)


def refuse(condition: Any, what: str) -> None:
    """A field that would change the answer is refused, never ignored."""
    if condition:
        raise LavraError(f"the config asks for {what}, which Lavra does not support yet; pick another model")


def split_width(width: Any, heads: Any) -> int:
    """Width of a head where a file does not say it. Raises LavraError when the heads do not divide the width."""
    if not isinstance(width, int) or not isinstance(heads, int) or heads <= 0 or width % heads:
        raise LavraError(f"model config: {heads} heads do not divide width {width}; the config contradicts itself")
    return width // heads
