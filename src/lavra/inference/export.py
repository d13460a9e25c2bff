"""A model, whatever it lies in, written in the format that another program reads: weights, tokenizer and template."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from lavra.errors import LavraError
from lavra.model.families.gguf import architecture_of
from lavra.model.gguf_writing import PRECISIONS, save_gguf
from lavra.model.hub import resolve
from lavra.model.safetensors_writing import DTYPES
from lavra.model.weights import load_model, open_model, read_json
from lavra.model.writing import save_model
from lavra.store.files import tree_size
from lavra.tokens.tokenizer import load_tokenizer

_PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_SPELLED = {dtype: name for name, dtype in _PLAIN.items()}


@dataclass(frozen=True)
class Exported:
    """``written_as``: the ``model_type`` or architecture that the files name; ``type``: of the matrices; ``bytes``
    on disk."""

    path: Path
    format: Literal["hf", "gguf"]
    written_as: str
    type: str
    bytes: int


def export(
    reference: str, out: Path, *, format: str | None = None, type: str | None = None, overwrite: bool = False
) -> Exported:
    """Write the model that ``reference`` names to ``out``, and prove it; see ``lavra.model.proof``.

    ``format``: ``hf``, a directory that transformers loads, or ``gguf``, a file that llama.cpp loads; by default what
    the ending of ``out`` says. ``type``: of the weights (f32, f16, bf16; for gguf also q8_0, q5_1, q5_0, q4_1, q4_0);
    by default the one they are stored in, or bf16 for quantised ones. Raises LavraError when the model cannot be
    read, when the format has no words for it, when ``out`` exists, or when what was written does not come back the
    same.
    """
    form = format or ("gguf" if out.suffix == ".gguf" else "hf")
    if form not in ("hf", "gguf"):
        raise LavraError(f"Lavra exports the formats hf and gguf, not {form}")
    known = PRECISIONS if form == "gguf" else _PLAIN
    if type is not None and type.upper() not in known and form == "hf":
        raise LavraError(f"weights of format hf are of type {', '.join(known).lower()}, not {type}; or choose gguf")
    found = resolve(reference)
    _, _, source = open_model(found.path)
    stored: torch.dtype | None = getattr(source, "dtype", None)
    kind = type.upper() if type else _SPELLED[stored or torch.bfloat16]
    # What is quantised is rounded once, from full precision.
    dtype = _PLAIN.get(kind, torch.float32)
    assert dtype in DTYPES
    model, tokenizer = load_model(found.path, dtype=dtype), load_tokenizer(found.path)
    hint = _model_type(found.path)
    licence = None if found.licence.lower() in ("", "unknown") else found.licence
    if form == "gguf":
        architecture = architecture_of(hint) if hint else None
        written = save_gguf(
            model,
            tokenizer,
            out,
            quantisation=kind,
            architecture=architecture,
            name=found.name,
            licence=licence,
            overwrite=overwrite,
        )
        return Exported(out, "gguf", written, kind.lower(), out.stat().st_size)
    beside = found.path if found.path.is_dir() else None
    written = save_model(
        model,
        out,
        family=hint if beside else None,
        tokenizer=tokenizer,
        dtype=dtype,
        licence=licence,
        beside=beside,
        overwrite=overwrite,
    )
    return Exported(out, "hf", written, kind.lower(), tree_size(out))


def _model_type(path: Path) -> str | None:
    """What a directory says it is; a file's own architecture is found again by itself."""
    return read_json(path / "config.json").get("model_type") if path.is_dir() else None
