"""What an encoder or an encoder-decoder was trained for: told from its directory's ``architectures`` and its tensors.

A class name alone does not do: many sentence embedders say ``…ForMaskedLM`` and come without that head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lavra.errors import LavraError
from lavra.model.config import Head, ModelConfig, Pooler, Pooling
from lavra.model.families.family import Names, Shapes, Table, names
from lavra.model.families.hf_fields import read_labels, write_labels

Heads = Mapping[Head, Table]
"""Names of a head's parameters, for each head that a family can have."""

_CLASSES: Mapping[str, Head] = {
    "ForConditionalGeneration": "language",
    "ForMaskedLM": "masked",
    "ForPreTraining": "masked",
    "ForSequenceClassification": "sequence",
    "ForTokenClassification": "token",
}
_NEXT_SENTENCE = ("next", "random")  # BERT's own order


def claimed_head(hf: Mapping[str, Any]) -> Head:
    """The head that the file's first ``architectures`` entry is named after; ``none`` for a bare model."""
    said = hf.get("architectures")
    first = said[0] if isinstance(said, list) and said and isinstance(said[0], str) else ""
    return next((head for suffix, head in _CLASSES.items() if first.endswith(suffix)), "none")


def read_head(
    hf: Mapping[str, Any], shapes: Shapes, heads: Heads, *, pooling: Pooling = "cls", pooler: Pooler = "tanh"
) -> dict[str, Any]:
    """The config's fields of an encoder's head.

    ``pooling``, ``pooler``: how the family makes one state of a text, where it has the tensors for it.
    """

    def holds(ours: str) -> bool:
        theirs = heads.get(head, {}).get(ours)
        return theirs in shapes or f"{theirs}.weight" in shapes

    head = claimed_head(hf)
    if head != "none" and not any(map(holds, ("head.bias", "head.transform.dense", "head.classifier"))):
        head = "none"
    pooled = head == "sequence" or holds("head.pooler")
    fields: dict[str, Any] = {
        "head": head,
        "head_bias": holds("head.bias"),
        "head_transform": holds("head.transform.dense"),
        "tied_embeddings": head != "masked" or bool(hf.get("tie_word_embeddings", True)),
        "pooling": pooling if pooled else "mean",
        "pooler": pooler if pooled and "head.pooler" in heads[head] else "none",
    }
    if holds("head.classifier"):
        classifier = heads[head]["head.classifier"]
        count = shapes[f"{classifier}.weight"][0]
        fields["labels"] = _NEXT_SENTENCE if head == "masked" and count == 2 else read_labels(hf, count)
        fields["head_bias"] = fields["head_bias"] or f"{classifier}.bias" in shapes
    return fields


def write_head(config: ModelConfig, stem: str) -> dict[str, Any]:
    """``architectures`` and labels of a file; ``stem``: how the family's classes begin."""
    classes: Mapping[Head, str] = {
        "none": "Model",
        "language": "ForConditionalGeneration",
        "masked": "ForPreTraining" if config.labels else "ForMaskedLM",
        "sequence": "ForSequenceClassification",
        "token": "ForTokenClassification",
    }
    if config.head not in classes:
        raise LavraError(f"{stem} has no {config.head} head; write the model as another family")
    fields: dict[str, Any] = {
        "architectures": [stem + classes[config.head]],
        "tie_word_embeddings": config.tied_embeddings,
    }
    return {**fields, **write_labels(config.labels)} if config.head in ("sequence", "token") else fields


def head_names(heads: Heads, config: ModelConfig) -> Names:
    """The names of ``config``'s head, for a family's ``variant``."""
    return names(heads.get(config.head, {}))
