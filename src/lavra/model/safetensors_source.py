"""Tensors of a Hugging Face directory: ``model.safetensors``, or the shards that an index names, memory-mapped."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lavra.errors import LavraError

_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_LEAST_PIECE = 1 << 20  # elements
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


class SafetensorsSource:
    """Names are given without the family's ``prefix``, which a file of a bare model lacks anyway, and with today's
    endings where ``aliases`` has older ones."""

    def __init__(self, directory: Path, prefix: str = "", aliases: Mapping[str, str] | None = None) -> None:
        self._where: dict[str, tuple[Path, str]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        types: Counter[str] = Counter()
        with ExitStack() as stack:
            for path in _files(directory):
                try:
                    file = stack.enter_context(safe_open(path, framework="pt"))
                    for name in file.keys():  # noqa: SIM118 - not a dict
                        short = name.removeprefix(prefix)
                        if short in self.shapes:
                            raise LavraError(f"{directory.name} holds the tensor {name} twice; download it again")
                        self._where[short] = path, name
                        part = file.get_slice(name)
                        self.shapes[short] = tuple(part.get_shape())
                        types[part.get_dtype()] += math.prod(self.shapes[short])
                except (SafetensorError, OSError, ValueError) as error:
                    raise LavraError(
                        f"{path.name} in {directory.name} is not a whole safetensors file ({error}); download it again"
                    ) from error
        self.dtype = _DTYPES.get(types.most_common(1)[0][0]) if types else None
        """What most weights are stored in; None for integers."""
        # Opening a file costs about a millisecond, so a large one is read in larger pieces.
        self._piece = max(_LEAST_PIECE, sum(types.values()) // 256)
        for name in list(self.shapes):
            for old, new in (aliases or {}).items():
                modern = name.removesuffix(old) + new
                if name.endswith(old) and modern not in self.shapes:
                    self._where[modern], self.shapes[modern] = self._where.pop(name), self.shapes.pop(name)

    def copy(self, name: str, into: Tensor) -> None:
        path, full = self._where[name]
        with safe_open(path, framework="pt") as file:
            rows, elements = (into.shape[0] if into.dim() else 1), into.numel()
            if elements <= self._piece or rows == 1:
                into.copy_(file.get_tensor(full))
                return
        step = max(1, rows * self._piece // elements)
        for row in range(0, rows, step):
            # Opened anew for each piece: pages of the file that were read once do not stay in memory.
            with safe_open(path, framework="pt") as file:
                part = file.get_slice(full)
                into[row : row + step].copy_(part[row : row + step])


def _files(directory: Path) -> list[Path]:
    if (directory / _SINGLE).is_file():
        return [directory / _SINGLE]
    index = directory / _INDEX
    if not index.is_file():
        raise LavraError(
            f"{directory.name} holds neither {_SINGLE} nor {_INDEX}, and pickled weights are never opened; "
            "save the model as safetensors"
        )
    try:
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LavraError(f"{index} is not a readable index of shards; download it again") from error
    for name in names:
        # An index may not reach outside its own directory.
        if not isinstance(name, str) or Path(name).name != name or not (directory / name).is_file():
            raise LavraError(f"{index.name} names the shard {name!r}, which {directory.name} does not hold")
    return [directory / name for name in names]
