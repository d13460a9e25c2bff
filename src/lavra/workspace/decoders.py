"""A decoder with its tokenizer, loaded to be measured: by likelihoods, not through an engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from lavra.errors import LavraError
from lavra.model.adapted import load_adapted
from lavra.model.base import Model
from lavra.model.known import KIND_WORDS
from lavra.model.packing import pack
from lavra.model.precision import compute_dtype
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer
from lavra.workspace.generators import Generator, find_generator
from lavra.workspace.workspace import Workspace


@dataclass(frozen=True)
class Loaded:
    """A decoder, ready to be asked."""

    name: str
    model: Model
    tokenizer: Tokenizer


def load(workspace: Workspace, reference: str | None) -> Loaded:
    """The model that ``reference`` names, or the workspace's own. Raises LavraError where it is no decoder."""
    return load_generator(find_generator(workspace, reference or workspace.settings.models.generator))


def load_generator(found: Generator) -> Loaded:
    """The same of a model that was found already."""
    if found.model.kind != "decoder":
        raise LavraError(f"the model {found.name} is {KIND_WORDS[found.model.kind]}; choose a decoder.")
    path = Path(found.model.path)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype, sha256 = compute_dtype(), found.model.sha256
    model = load_adapted(path, found.adapters, dtype=dtype, device=device, base_sha256=sha256)
    return Loaded(found.name, pack(model), load_tokenizer(path))
