"""Which tensors of a file make one parameter, and where in it each lies. Reading and writing share this plan."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lavra.errors import LavraError
from lavra.model.base import Model
from lavra.model.building import build, stack_of
from lavra.model.config import ModelConfig
from lavra.model.families.family import Family, Layout, Names

_BLOCK = re.compile(r"(^|\.)blocks\.(\d+)\.")


@dataclass(frozen=True)
class Place:
    """One tensor of a file: its full ``name``, its ``shape`` as Lavra sees it, and what part of the parameter it is:
    ``length`` rows from ``start`` along ``axis``, of the expert ``expert`` where there is one."""

    name: str
    axis: int
    start: int
    length: int
    layout: Layout | None
    expert: int | None = None

    def view(self, parameter: Tensor) -> Tensor:
        """The part of ``parameter``."""
        held = parameter if self.expert is None else parameter[self.expert]
        if self.axis == 0 and self.start == 0 and (held.dim() == 0 or self.length == held.shape[0]):
            return held
        return held.narrow(self.axis, self.start, self.length)


def places(model: Model, family: Family) -> Iterator[tuple[str, Tensor, list[Place]]]:
    """Every parameter of ``model`` by name, with the tensors of the family's files that make it.

    Raises KeyError for a parameter for which the family has no name: a mistake in its table.
    """
    table = family.table(model.config)
    for name, parameter in model.named_parameters():
        shape, config = tuple(parameter.shape), stack_of(model.config, name)
        yield name, parameter, list(_places(name, shape, table, family.leaves, config))


def _places(
    name: str, shape: tuple[int, ...], table: Names, leaves: Mapping[str, str], config: ModelConfig
) -> Iterator[Place]:
    found = _BLOCK.search(name)
    layer = found[2] if found else ""
    generic = _BLOCK.sub(r"\1blocks.{layer}.", name)
    rule, leaf = table.get(generic), ""
    if rule is None:
        stem, _, last = generic.rpartition(".")
        # A parameter that is no module's weight or bias stands in the table by its full name.
        rule, leaf = table[stem], leaves[last]
    per_expert = "{expert}" in rule.parts[0]
    sizes = _sizes(generic, shape[1:] if per_expert else shape, rule.axis, len(rule.parts), config)
    for expert in range(shape[0]) if per_expert else (None,):
        start = 0
        for index, (part, size) in enumerate(zip(rule.parts, sizes, strict=True)):
            full = part.format(layer=layer, expert=expert) + leaf
            yield Place(full, rule.axis, start, size, rule.layout(index), expert)
            start += size


def _sizes(name: str, shape: tuple[int, ...], axis: int, parts: int, config: ModelConfig) -> list[int]:
    """How many rows each of the joined tensors has: a head's for query, key and value, else equally many."""
    whole = shape[axis] if shape else 1
    if ".qkv." in name and parts == 3:
        return [config.heads * config.head_width] + [config.kv_heads * config.head_width] * 2
    assert whole % parts == 0, name
    return [whole // parts] * parts


def empty_model(config: ModelConfig) -> Model:
    """A model without memory: its parameters have shapes only. Raises LavraError where they are beyond all machines."""
    try:
        with torch.device("meta"):
            return build(config)
    except (RuntimeError, OverflowError) as error:  # a size that 64 bits do not hold
        raise LavraError("the config describes a model beyond any memory; it is damaged, or says too much") from error
