"""A model and its tokenizer as one GGUF file, as llama.cpp reads it.

Matrices are quantised a few rows at a time by the ``gguf`` package, the rest stays float32: the peak is the model and
some megabytes. The package's reference quantisers know the simple formats; K-quants only llama.cpp itself makes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.quants import quantize
from torch import Tensor

from lavra.errors import LavraError
from lavra.model.base import Model
from lavra.model.families import BY_GGUF_ARCHITECTURE
from lavra.model.proof import Precision, prove
from lavra.model.safetensors_writing import Stored
from lavra.model.writing import Companion, choose, replacing, same_config, stored

_Type = gguf.GGMLQuantizationType
_CHUNK_ELEMENTS = 1 << 18

# How far a weight may be from its value, in proportion to the largest of its block of 32, by the formats' definitions:
# half a step of the largest over 127, 16 or 8 (where the largest of the other sign is clipped: a whole step), or half
# a step of the range over 31 or 15; and the rounding of the scale to 11 bits. How far answers may be is for catching
# files that are wrong, not for praising those that are right: two unrelated models are 1.4 apart, Gemma 3 270M and its
# Q4_0 0.72 for random tokens.
PRECISIONS: Mapping[str, Precision] = {
    "F32": Precision.of_dtype(torch.float32),
    "F16": Precision.of_dtype(torch.float16),
    "BF16": Precision.of_dtype(torch.bfloat16),
    "Q8_0": Precision(None, 1 / 254 + 2**-10, 0.1),
    "Q5_1": Precision(None, 1 / 31 + 2**-9, 0.7),
    "Q5_0": Precision(None, 1 / 16 + 2**-10, 0.7),
    "Q4_1": Precision(None, 1 / 15 + 2**-9, 1.0),
    "Q4_0": Precision(None, 1 / 8 + 2**-10, 1.0),
}
_FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "BF16": 32}
_KEPT_FINE = ("token_embd.weight", "output.weight")  # every token passes them; the 4-bit formats leave them at 8
_KEPT_WHOLE = ("ffn_gate_inp", "position_embd")  # routers, as llama.cpp keeps them; added to states, not multiplied


def save_gguf(
    model: Model,
    tokenizer: Companion,
    path: Path,
    *,
    quantisation: str = "F16",
    architecture: str | None = None,
    name: str | None = None,
    licence: str | None = None,
    overwrite: bool = False,
) -> str:
    """Write ``model`` and ``tokenizer`` to ``path``; the architecture they are written as.

    ``quantisation``: of the matrices, one of ``PRECISIONS``. ``architecture``: llama.cpp's name, where more than one
    could hold the model; by default the first that can. Raises LavraError when none can, when the tokenizer is of a
    kind that GGUF has no words for, or when what was written does not come back the same; nothing is kept then.
    """
    quantisation = quantisation.upper()
    if quantisation not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        hint = "; K-quants are made by llama.cpp's llama-quantize, from an F16 file" if "_K" in quantisation else ""
        raise LavraError(f"GGUF weights are not written as {quantisation}; choose {known}{hint}")
    kind, family, fields = choose(model, BY_GGUF_ARCHITECTURE, architecture, same=same_config)
    tensors = [*stored(model, family), *_tables(fields)]
    types = {tensor.name: _type(tensor, quantisation) for tensor in tensors}
    metadata = {
        **{key: value for key, value in fields.items() if not key.endswith(".weight")},
        "general.type": "model",
        "general.name": name or path.stem,
        "general.file_type": _FILE_TYPES[quantisation],
        "general.quantization_version": gguf.GGML_QUANT_VERSION,
        **({"general.license": licence.lower()} if licence else {}),
        **tokenizer.gguf_fields(model.config.vocabulary_size),
    }
    with replacing(path, overwrite) as made:
        _write(made, kind, metadata, tensors, types)
        prove(model, made, lambda tensor: PRECISIONS[types[tensor].name], same=same_config)
        tokenizer.check(made)
    return kind


def _tables(fields: Mapping[str, Any]) -> list[Stored]:
    """Divisors of rotary frequencies, which llama.cpp keeps among the tensors."""
    found = {key: value for key, value in fields.items() if key.endswith(".weight")}
    return [Stored(key, (len(value),), lambda value=value: torch.tensor(value)) for key, value in found.items()]  # type: ignore[misc]


def _type(tensor: Stored, quantisation: str) -> gguf.GGMLQuantizationType:
    if len(tensor.shape) < 2 or any(part in tensor.name for part in _KEPT_WHOLE):
        return _Type.F32
    if quantisation.startswith(("Q4", "Q5")) and tensor.name in _KEPT_FINE:
        quantisation = "Q8_0"
    kind = getattr(_Type, quantisation)
    if tensor.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0]:
        return _Type.F16  # a row is not a whole number of blocks; llama.cpp does the same
    return kind


def _write(
    path: Path,
    architecture: str,
    metadata: Mapping[str, Any],
    tensors: list[Stored],
    types: Mapping[str, gguf.GGMLQuantizationType],
) -> None:
    writer = gguf.GGUFWriter(path, architecture)
    try:
        for key, value in metadata.items():
            if key != "general.architecture":  # the writer's own
                _add(writer, key, value)
        for tensor in tensors:
            block, size = gguf.GGML_QUANT_SIZES[types[tensor.name]]
            total = math.prod(tensor.shape) // block * size
            writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), total, types[tensor.name])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        assert writer.fout is not None
        file = writer.fout[0]
        for tensor in tensors:
            writer.write_padding(file, file.tell())
            for part in _quantised(tensor.make(), types[tensor.name]):
                file.write(part.data)
        writer.write_padding(file, file.tell())
        file.flush()
        os.fsync(file.fileno())
    finally:
        writer.close()


def _quantised(tensor: Tensor, kind: gguf.GGMLQuantizationType) -> Any:
    """The bytes of ``tensor``, some rows at a time."""
    rows = tensor.detach().reshape(-1, tensor.shape[-1])
    step = max(1, _CHUNK_ELEMENTS // rows.shape[1])
    for start in range(0, len(rows), step):
        values = rows[start : start + step].to("cpu", torch.float32).contiguous().numpy()
        yield np.ascontiguousarray(quantize(values, kind)).reshape(-1).view(np.uint8)


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif value:
        writer.add_array(key, value)
