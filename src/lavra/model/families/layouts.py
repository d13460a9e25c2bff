"""Tensors that a file stores otherwise than Lavra: which shape they have there, and the way in and out, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lavra.errors import LavraError
from lavra.model.config import ModelConfig
from lavra.model.families.family import Layout

_LEADING: Mapping[Layout | None, int] = {"leading_one": 1, "leading_two": 2}


def stored_shape(shape: tuple[int, ...], layout: Layout | None) -> tuple[int, ...]:
    """The shape in the file of what has ``shape`` in Lavra."""
    if layout == "transposed":
        return shape[::-1]
    if layout in _LEADING:
        return (1,) * _LEADING[layout] + shape
    return shape


def into(target: Tensor, layout: Layout | None) -> Tensor:
    """What to copy a tensor of the file into, of the file's shape: a view of ``target`` or, where its digits would not
    do, float32 memory of its own; :func:`undo` follows."""
    if layout == "transposed":
        return target.t()
    if layout in _LEADING:
        return target.view((1,) * _LEADING[layout] + target.shape)
    if layout == "plus_one":
        return torch.empty_like(target, dtype=torch.float32)
    return target


def undo(target: Tensor, copied: Tensor, layout: Layout | None, config: ModelConfig) -> None:
    """Bring what was ``copied`` into :func:`into`'s answer into Lavra's order, in place."""
    if layout == "plus_one":
        # Less one before it is rounded: exact for what bfloat16 learned, and 1 + this is again what the file says.
        target.copy_(copied - 1.0)
    elif layout == "pairs":
        _whole_heads(target, config)
        # Head by head: a copy of the whole would leave a hole in the heap for every layer.
        for head in target.split(config.head_width):
            head.copy_(head.unflatten(0, (-1, 2)).transpose(0, 1).reshape(head.shape))
    elif layout == "by_head":
        _whole_heads(target, config)
        by_head = target.view(config.heads, 3, config.head_width, *target.shape[1:])
        target.copy_(by_head.transpose(0, 1).reshape(target.shape))


def out(tensor: Tensor, layout: Layout | None, config: ModelConfig) -> Tensor:
    """``tensor`` as the file stores it; the inverse of :func:`into` and :func:`undo`."""
    if layout == "transposed":
        return tensor.t().contiguous()
    if layout in _LEADING:
        return tensor.reshape((1,) * _LEADING[layout] + tensor.shape)
    if layout == "plus_one":
        return tensor.float() + 1.0
    if layout == "pairs":
        halves = tensor.view(-1, 2, config.head_width // 2, *tensor.shape[1:])
        return halves.transpose(1, 2).reshape(tensor.shape)
    if layout == "by_head":
        by_kind = tensor.view(3, config.heads, config.head_width, *tensor.shape[1:])
        return by_kind.transpose(0, 1).reshape(tensor.shape)
    return tensor


def _whole_heads(rows: Tensor, config: ModelConfig) -> None:
    if rows.shape[0] % config.head_width:
        raise LavraError("the query or key projection is not a whole number of heads; download the model again")
