"""A new head on a trained model: its blocks stay, and what it is read by is new and knows nothing yet."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from lavra.errors import LavraError
from lavra.model.base import Model
from lavra.model.building import build, initialise
from lavra.model.config import ModelConfig
from lavra.model.families import BY_MODEL_TYPE
from lavra.model.placing import empty_model
from lavra.model.writing import choose, same_config

_SEQUENCE: tuple[dict[str, Any], ...] = (
    {"pooling": "cls", "pooler": "tanh", "head_transform": False, "head_bias": True},  # BERT, RoBERTa
    {"pooling": "cls", "pooler": "relu", "head_transform": False, "head_bias": True},  # DistilBERT
    {"pooling": "mean", "pooler": "none", "head_transform": True, "head_bias": True},  # ModernBERT
    {"pooling": "last", "pooler": "none", "head_transform": False, "head_bias": False},  # decoders
)
_TOKEN: tuple[dict[str, Any], ...] = (
    {"pooling": "mean", "pooler": "none", "head_transform": False, "head_bias": True},
    {"pooling": "mean", "pooler": "none", "head_transform": True, "head_bias": True},
    {"pooling": "cls", "pooler": "none", "head_transform": False, "head_bias": True},
)


def with_head(model: Model, head: Literal["sequence", "token"], labels: tuple[str, ...], *, seed: int = 0) -> Model:
    """``model`` with a classifier of ``labels`` in place of its head: of whole texts, or of each token.

    How a text becomes one state (its first token through a pooler, its last token …) is what the model's own family
    does, so that the result can be written for other programs: the first of the known heads that some format can hold.
    Raises LavraError for a model that none can.
    """
    if len(set(labels)) != len(labels) or not labels:
        raise LavraError("a classifier needs labels, each once")
    config = _config(model.config, head, labels)
    found = build(config)
    initialise(found, seed)
    old = {name: value for name, value in model.state_dict().items() if not name.startswith("head.")}
    found = found.to(device=model.device, dtype=model.dtype)
    missing, unexpected = found.load_state_dict(old, strict=False)
    assert not unexpected, unexpected
    assert all(name.startswith("head.") for name in missing), missing
    return found


def _config(config: ModelConfig, head: Literal["sequence", "token"], labels: tuple[str, ...]) -> ModelConfig:
    words = {"logit_scale": 1.0, "logit_soft_cap": None} if config.head in ("language", "masked") else {}
    for fields in _SEQUENCE if head == "sequence" else _TOKEN:
        if config.causal != (fields["pooling"] == "last") and head == "sequence":
            continue
        try:
            changed: dict[str, Any] = {"tied_embeddings": True, **words, **fields, "head": head, "labels": labels}
            candidate = dataclasses.replace(config, **changed)
            choose(empty_model(candidate), BY_MODEL_TYPE, None, same=same_config)
        except LavraError:
            continue
        return candidate
    raise LavraError("none of the formats that Lavra writes has a classifier over this kind of model; pick another")
