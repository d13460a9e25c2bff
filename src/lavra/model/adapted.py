"""A model with adapters over it, ready to be used: each merged into the weights, so that it costs no time at all;
virtual tokens stay before its texts. Several to choose from are in ``switching.py``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from lavra.model.adapter_files import load_adapter, recorded_context
from lavra.model.base import Model
from lavra.model.families import BY_MODEL_TYPE
from lavra.model.families.family import Family
from lavra.model.virtual import VirtualAdapters
from lavra.model.weights import load_model, read_json
from lavra.model.writing import choose, same_config


def named_as(model: Model, path: Path | None = None) -> tuple[str, Family]:
    """The type and family whose names adapters over the model at ``path`` speak of: what a directory says it is; for a
    file, what the world's directories would have it in."""
    if path is not None and path.is_dir():
        own = str(read_json(path / "config.json").get("model_type"))
        return own, BY_MODEL_TYPE[own]
    kind, family, _ = choose(model, BY_MODEL_TYPE, None, same=same_config)
    return kind, family


def load_adapted(
    path: Path,
    adapters: Sequence[Path],
    *,
    dtype: torch.dtype,
    device: str | torch.device = "cpu",
    base_sha256: str = "",
) -> Model:
    """The model at ``path`` with each of ``adapters`` (directories) merged in, in their order.

    ``base_sha256``: of ``path``; an adapter for another base is refused by it. The context is the longest that an
    adapter was trained for. Sums are made in float32 and rounded once to ``dtype``, an adapter at a time.
    """
    context = max((recorded_context(adapter) for adapter in adapters), default=0) or None
    model = load_model(path, dtype=dtype, device=device, context=context)
    if adapters:
        _, family = named_as(model, path)
        for adapter in adapters:
            laid = load_adapter(model, family, adapter, base_sha256=base_sha256)
            if not isinstance(laid, VirtualAdapters):
                laid.merge()
            model.requires_grad_(False)
    return model.eval()
