"""The model that is tuned: which of its weights are trained, how it reads a text, and what is written of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lavra.inference.classifier import within
from lavra.model.adapters import AdapterConfig, attach
from lavra.model.base import Model
from lavra.model.hub import ResolvedModel
from lavra.model.new_head import with_head
from lavra.model.precision import compute_dtype
from lavra.model.weights import load_model, open_model
from lavra.tokens.tokenizer import Tokenizer
from lavra.workspace.encoders.settings import EncoderSettings


def load_trainable(found: ResolvedModel, settings: EncoderSettings, *, labels: Sequence[str] = ()) -> Model:
    """The model, with a new head of ``labels`` if there are any. Trained are all weights but the token embeddings, or
    an adapter and the head."""
    model = load_model(found.path, dtype=compute_dtype())
    if labels:
        model = with_head(model, "sequence", tuple(labels), seed=settings.seed)
    if settings.rank:
        family = open_model(found.path)[0]
        model.adapters = attach(  # type: ignore[assignment]
            model, AdapterConfig(rank=settings.rank, alpha=2.0 * settings.rank), family, seed=settings.seed
        )
        model.head.requires_grad_(True)
        return model
    model.requires_grad_(True)
    if not settings.train_embeddings and model.embedding is not None:
        model.embedding.requires_grad_(False)
    return model


def merged(model: Model) -> Model:
    """Without its adapter, whose product is in the weights."""
    adapters = model.__dict__.pop("adapters", None)
    return (adapters.merge() if adapters is not None else model).eval()


def token_ids(tokenizer: Tokenizer, prompt: str, texts: Sequence[str], window: int) -> list[tuple[int, ...]]:
    """Of each text after ``prompt``, as much as the window takes."""
    return [tuple(within(ids, window)) for ids in tokenizer.encode_batch([prompt + text for text in texts])]


def model_card(title: str, recipe: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What the model's README says."""
    figures = [
        f"| {name} | {before.get(name, float('nan')):.3f} | {value:.3f} |"
        for name, value in after.items()
        if isinstance(value, float)
    ]
    table = ["| held out | before | after |", "|---|---|---|", *figures]
    said = ["```json", json.dumps(dict(recipe), indent=2, ensure_ascii=False), "```"]
    return "\n".join(["", f"# {title}", "", *table, "", "Made by Lavra, with this recipe:", "", *said, ""])
