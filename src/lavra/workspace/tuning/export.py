"""What was tuned, as a whole model that other programs read: base and adapter merged, written, and proven."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lavra.errors import LavraError
from lavra.model.adapted import load_adapted
from lavra.model.gguf_writing import save_gguf
from lavra.model.precision import compute_dtype
from lavra.model.virtual import has_virtual
from lavra.model.writing import save_model
from lavra.store import Artifact
from lavra.tokens.tokenizer import load_tokenizer
from lavra.workspace.generators import find_generator

if TYPE_CHECKING:
    from lavra.workspace.workspace import Workspace


def export_tuned(workspace: Workspace, artifact: Artifact, to: Path) -> str:
    """Write ``artifact`` to ``to``, a directory for transformers or a file that ends in ``.gguf``, in bf16 where this
    machine computes in it; where, what as. Raises LavraError where it does not come back the same."""
    found = find_generator(workspace, artifact.id)
    model = load_adapted(found.model.path, found.adapters, dtype=compute_dtype(), base_sha256=found.model.sha256)
    if has_virtual(model):
        raise LavraError(
            f"{artifact.id} stands before the text and is in no weights: give the adapter itself, for peft."
        )
    tokenizer = load_tokenizer(found.model.path)
    licence = None if found.model.licence.lower() in ("", "unknown") else found.model.licence
    if to.suffix == ".gguf":
        kind = "BF16" if str(model.dtype).endswith("bfloat16") else "F32"
        written = save_gguf(model, tokenizer, to, quantisation=kind, name=artifact.id, licence=licence)
    else:
        written = save_model(model, to, tokenizer=tokenizer, licence=licence)
    return f"{to} ({written})"
