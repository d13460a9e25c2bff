"""Safetensors files written one tensor at a time: the peak is what the caller holds, and one tensor.

The format (its project's README): eight bytes of length, a JSON header with type, shape and place of each tensor,
then their bytes one after another.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


@dataclass(frozen=True)
class Stored:
    """A tensor to be written: ``make`` gives it when its turn comes."""

    name: str
    shape: tuple[int, ...]
    make: Callable[[], Tensor]


def write_safetensors(directory: Path, tensors: Iterable[Stored], dtype: torch.dtype, shard_bytes: int) -> None:
    """``model.safetensors``, or where that exceeds ``shard_bytes`` numbered shards and their index."""
    shards: list[list[Stored]] = [[]]
    filled = total = 0
    for tensor in tensors:
        size = math.prod(tensor.shape) * dtype.itemsize
        if shards[-1] and filled + size > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(tensor)
        filled, total = filled + size, total + size
    if len(shards) == 1:
        _write(directory / "model.safetensors", shards[0], dtype)
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        _write(directory / name, shard, dtype)
        weight_map |= dict.fromkeys((tensor.name for tensor in shard), name)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", "utf-8")


def _write(path: Path, tensors: list[Stored], dtype: torch.dtype) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for tensor in tensors:
        end = at + math.prod(tensor.shape) * dtype.itemsize
        header[tensor.name] = {"dtype": DTYPES[dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    spelled = json.dumps(header, separators=(",", ":")).encode()
    spelled += b" " * (-len(spelled) % 8)
    with path.open("wb") as file:
        file.write(len(spelled).to_bytes(8, "little") + spelled)
        for tensor in tensors:
            values = tensor.make().detach().to("cpu", dtype).contiguous()
            assert tuple(values.shape) == tensor.shape, tensor.name
            file.write(values.reshape(-1).view(torch.uint8).numpy().data)
        file.flush()
        os.fsync(file.fileno())
