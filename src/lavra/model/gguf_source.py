"""Tensors of a GGUF file, dequantised by the ``gguf`` package a few rows at a time."""

from __future__ import annotations

from collections import Counter

import gguf
import numpy as np
import torch
from gguf.quants import dequantize
from torch import Tensor

from lavra.errors import LavraError
from lavra.store.gguf_file import GGUFFile, TensorInfo

_Type = gguf.GGMLQuantizationType
TYPES = (
    _Type.F32,
    _Type.F16,
    _Type.BF16,
    _Type.Q8_0,
    _Type.Q4_0,
    _Type.Q4_1,
    _Type.Q5_0,
    _Type.Q5_1,
    _Type.Q4_K,
    _Type.Q5_K,
    _Type.Q6_K,
)
"""What is tested against the package's reference; other types are refused by name."""
_LONGEST_TABLE = 1 << 12
_CHUNK_ELEMENTS = 1 << 18  # 1 MB in float32: large enough for numpy's speed, small beside any model


class GGUFSource:
    """Raises LavraError at once for a tensor of a type not in ``TYPES`` or lying outside the file."""

    def __init__(self, file: GGUFFile) -> None:
        self.file = file
        self.shapes = {name: info.shape for name, info in file.tensors.items()}
        for info in file.tensors.values():
            rows, row_bytes = self._layout(info)
            if info.offset + rows * row_bytes > file.size:
                raise LavraError(f"{file.path.name} ends before its tensor {info.name}; download it again")

    @property
    def dtype(self) -> torch.dtype | None:
        """What most weights are stored in; None where they are quantised."""
        counts: Counter[int] = Counter()
        for info in self.file.tensors.values():
            counts[info.type_id] += info.elements
        plain = {_Type.F32: torch.float32, _Type.F16: torch.float16, _Type.BF16: torch.bfloat16}
        return plain.get(_Type(counts.most_common(1)[0][0])) if counts else None

    def copy(self, name: str, into: Tensor) -> None:
        info = self.file.tensors[name]
        rows, row_bytes = self._layout(info)
        columns = info.shape[-1]
        # A part of each expert's matrix is not one run of memory, but each expert's part is.
        runs = [into] if into.is_contiguous() else list(into)
        each = rows // len(runs)
        step = max(1, _CHUNK_ELEMENTS // columns)
        for number, run in enumerate(runs):
            flat, first = run.view(each, columns), number * each
            for row in range(0, each, step):
                end = first + min(row + step, each)
                # Mapped piece by piece: what was read does not stay in memory.
                place = info.offset + (first + row) * row_bytes
                data = np.memmap(self.file.path, np.uint8, "c", place, (end - first - row, row_bytes))
                values = np.asarray(dequantize(data, _Type(info.type_id)), np.float32)
                flat[row : row + step].copy_(torch.from_numpy(values))

    def tables(self) -> dict[str, list[float]]:
        """Tensors that are part of the config, by name: the divisors of rotary frequencies."""
        found = {}
        for name, shape in self.shapes.items():
            if name.startswith(("rope_freqs", "rope_factors")) and len(shape) == 1 and shape[0] <= _LONGEST_TABLE:
                values = torch.empty(shape)
                self.copy(name, values)
                found[name] = values.tolist()
        return found

    def _layout(self, info: TensorInfo) -> tuple[int, int]:
        """(rows, bytes a row). Quantised blocks run along the last axis and never cross rows."""
        if info.type_id not in TYPES:
            known = {kind.value: kind.name for kind in _Type}
            raise LavraError(
                f"{self.file.path.name}: tensor {info.name} is of type {known.get(info.type_id, info.type_id)}; "
                f"Lavra reads {', '.join(kind.name for kind in TYPES)}"
            )
        block, block_bytes = gguf.GGML_QUANT_SIZES[_Type(info.type_id)]
        columns = info.shape[-1]
        if columns == 0 or columns % block or info.elements == 0:
            raise LavraError(f"{self.file.path.name}: tensor {info.name} has the impossible shape {info.shape}")
        return info.elements // columns, columns // block * block_bytes
