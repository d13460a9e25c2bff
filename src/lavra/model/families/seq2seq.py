"""Encoder-decoders of Hugging Face directories: T5 and mT5, BART and mBART.

The config is the decoder's; ``encoder`` inside it is the other stack's. Both read one embedding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from lavra.errors import LavraError
from lavra.model.config import ModelConfig
from lavra.model.families.family import (
    Family,
    Names,
    Rule,
    Shapes,
    Table,
    activation,
    activation_name,
    names,
    refuse,
    split_width,
)
from lavra.model.families.hf_fields import read_labels
from lavra.model.families.tasks import claimed_head, write_head


def _pair(decoder: Mapping[str, Any], encoder: Mapping[str, Any]) -> ModelConfig:
    """A decoder of the given fields over an encoder that differs in those of ``encoder``."""
    return ModelConfig(**decoder, encoder=_encoder(decoder, encoder))


def _encoder(decoder: Mapping[str, Any], encoder: Mapping[str, Any]) -> ModelConfig:
    bare = {"head": "none", "tied_embeddings": True, "head_bias": False, "logit_scale": 1.0, "labels": ()}
    pooling = {"pooling": "mean", "pooler": "none"}
    return ModelConfig(**{**decoder, "causal": False, **bare, **pooling, **encoder})


def _read_t5(hf: Mapping[str, Any], shapes: Shapes, *, scales: bool) -> ModelConfig:
    """T5 (Raffel et al. 2020): pre-norm RMS, relative buckets, no biases, scores unscaled. ``scales``: logits may be
    scaled by 1/√C, as the first release does."""
    head = claimed_head(hf)
    refuse(head not in ("none", "language"), "a T5 that classifies")
    proj = hf.get("feed_forward_proj", "relu" if scales else "gated-gelu")
    gate, _, act = proj.rpartition("-")
    # "gated-gelu" means the approximation by tanh, alone among all names.
    act = "gelu_new" if proj == "gated-gelu" else act
    scaled = scales and hf.get("scale_decoder_outputs", hf.get("tie_word_embeddings") is not False)
    decoder: dict[str, Any] = {
        "vocabulary_size": hf["vocab_size"],
        "context_length": hf.get("n_positions") or 512,  # what it was trained for; nothing ends there
        "layers": hf.get("num_decoder_layers") or hf["num_layers"],
        "width": hf["d_model"],
        "heads": hf["num_heads"],
        "kv_heads": hf["num_heads"],
        "head_width": hf["d_kv"],
        "hidden_width": hf["d_ff"],
        "causal": True,
        "norm": "rms",
        "norm_epsilon": hf.get("layer_norm_epsilon", 1e-6),
        "positions": "none",
        "relative": "buckets",
        "relative_buckets": hf.get("relative_attention_num_buckets", 32),
        "relative_distance": hf.get("relative_attention_max_distance", 128),
        "attention_scale": 1.0,
        "activation": activation(act),
        "gated": gate == "gated",
        "dropout": hf.get("dropout_rate", 0.1),
        "attention_dropout": hf.get("dropout_rate", 0.1),
        "head": head,
        # Its second release has a matrix of its own for logits, whatever the config says of tying.
        "tied_embeddings": "lm_head.weight" not in shapes,
        "logit_scale": hf["d_model"] ** -0.5 if scaled and head == "language" else 1.0,
    }
    encoder = {"layers": hf["num_layers"]}
    alone = str((hf.get("architectures") or [""])[0]).endswith("EncoderModel")  # as sentence embedders have it
    return _encoder(decoder, encoder) if alone else _pair(decoder, encoder)


def _write_t5(config: ModelConfig, *, kind: str, stem: str) -> dict[str, Any]:
    encoder = config.encoder or config
    if encoder.causal:
        raise LavraError(
            "a T5 has two stacks, or an encoder alone, and this model a decoder; write it as another family"
        )
    act = activation_name(config.activation)
    if config.gated and config.activation == "gelu":
        raise LavraError("T5's config has no name for a gate of exact GELU; use gelu_tanh, or another family")
    proj = ("gated-" if config.gated else "") + act
    return {
        "model_type": kind,
        "is_encoder_decoder": config.encoder is not None,
        "vocab_size": config.vocabulary_size,
        "n_positions": config.context_length,
        "num_layers": encoder.layers,
        "num_decoder_layers": config.layers,
        "d_model": config.width,
        "num_heads": config.heads,
        "d_kv": config.head_width,
        "d_ff": config.hidden_width,
        "layer_norm_epsilon": config.norm_epsilon,
        "relative_attention_num_buckets": config.relative_buckets,
        "relative_attention_max_distance": config.relative_distance,
        "feed_forward_proj": "gated-gelu" if proj == "gated-gelu_pytorch_tanh" else proj,
        "dropout_rate": config.dropout,
        "scale_decoder_outputs": config.logit_scale != 1.0,
        "decoder_start_token_id": 0,
        **write_head(config, stem if config.encoder else f"{stem}Encoder"),
    }


def _read_bart(hf: Mapping[str, Any], shapes: Shapes, *, pre_norm: bool) -> ModelConfig:
    """BART (Lewis et al. 2019), post-norm, and mBART (Liu et al. 2020), pre-norm with a norm at each stack's end."""
    head, width = claimed_head(hf), hf["d_model"]
    refuse(head == "token", "a BART that labels tokens")
    decoder: dict[str, Any] = {
        "vocabulary_size": hf["vocab_size"],
        "context_length": hf["max_position_embeddings"],
        "layers": hf["decoder_layers"],
        "width": width,
        "heads": hf["decoder_attention_heads"],
        "kv_heads": hf["decoder_attention_heads"],
        "head_width": split_width(width, hf["decoder_attention_heads"]),
        "hidden_width": hf["decoder_ffn_dim"],
        "causal": True,
        "norm": "layer",
        "norm_epsilon": 1e-5,
        "norm_position": "pre" if pre_norm else "post",
        "embedding_norm": True,
        "final_norm": pre_norm,
        "positions": "learned",
        "position_offset": 2,
        "activation": activation(hf.get("activation_function", "gelu")),
        "gated": False,
        "attention_bias": True,
        "output_bias": True,
        "mlp_bias": True,
        "embedding_scale": math.sqrt(width) if hf.get("scale_embedding") else 1.0,
        "dropout": hf.get("dropout", 0.1),
        "attention_dropout": hf.get("attention_dropout", 0.0),
        "head": head,
        "head_bias": head == "sequence" or "final_logits_bias" in shapes,
        "tied_embeddings": head != "language" or bool(hf.get("tie_word_embeddings", True)),
    }
    if head == "sequence":
        labels = read_labels(hf, shapes.get("classification_head.out_proj.weight", (0,))[0])
        decoder |= {"pooling": "end", "pooler": "tanh", "labels": labels}
    heads = hf["encoder_attention_heads"]
    encoder = {
        "layers": hf["encoder_layers"],
        "heads": heads,
        "kv_heads": heads,
        "head_width": split_width(width, heads),
        "hidden_width": hf["encoder_ffn_dim"],
    }
    return _pair(decoder, encoder)


def _write_bart(config: ModelConfig, *, kind: str, stem: str) -> dict[str, Any]:
    encoder = config.encoder
    if encoder is None:
        raise LavraError("a BART has two stacks and this model one; write it as another family")
    return {
        "model_type": kind,
        "is_encoder_decoder": True,
        "vocab_size": config.vocabulary_size,
        "max_position_embeddings": config.context_length,
        "d_model": config.width,
        "encoder_layers": encoder.layers,
        "decoder_layers": config.layers,
        "encoder_attention_heads": encoder.heads,
        "decoder_attention_heads": config.heads,
        "encoder_ffn_dim": encoder.hidden_width,
        "decoder_ffn_dim": config.hidden_width,
        "activation_function": activation_name(config.activation),
        "scale_embedding": config.embedding_scale != 1.0,
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        **write_head(config, stem),
    }


_B = "blocks.{layer}."


def _t5_stack(stack: str, *, crosses: bool) -> Table:
    """The names of one stack but its MLP's first matrices."""
    block = f"{stack}.block.{{layer}}.layer."
    attention, mlp = block + "0.SelfAttention.", block + ("2." if crosses else "1.")
    table: Table = {
        "relative_bias.table": f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias",
        "final_norm": f"{stack}.final_layer_norm",
        _B + "attention_norm": block + "0.layer_norm",
        _B + "attention.qkv": tuple(attention + x for x in "qkv"),
        _B + "attention.output": attention + "o",
        _B + "mlp_norm": mlp + "layer_norm",
        _B + "mlp.down": mlp + "DenseReluDense.wo",
    }
    cross = block + "1.EncDecAttention."
    if crosses:
        table = {
            **table,
            _B + "cross_norm": block + "1.layer_norm",
            _B + "cross.query": cross + "q",
            _B + "cross.key_value": (cross + "k", cross + "v"),
            _B + "cross.output": cross + "o",
        }
    return table


def _t5_variant(config: ModelConfig) -> Names:
    """The first half of a gated MLP's rows is one tensor, the second another; an encoder may be alone."""
    parts = ("wi_0", "wi_1") if config.gated else ("wi",)

    def up(stack: str, layer: int) -> Table:
        return {_B + "mlp.up": tuple(f"{stack}.block.{{layer}}.layer.{layer}.DenseReluDense.{part}" for part in parts)}

    if config.encoder is None:
        return {**names(_t5_stack("encoder", crosses=False)), **names(up("encoder", 1))}
    return {**names(up("decoder", 2)), **names(up("encoder", 1), "encoder.")}


def _bart_stack(stack: str, *, crosses: bool) -> Table:
    layer = f"{stack}.layers.{{layer}}."
    table: Table = {
        "position_embedding": f"{stack}.embed_positions",
        "embedding_norm": f"{stack}.layernorm_embedding",
        "final_norm": f"{stack}.layer_norm",
        _B + "attention_norm": layer + "self_attn_layer_norm",
        _B + "attention.qkv": tuple(layer + f"self_attn.{x}_proj" for x in "qkv"),
        _B + "attention.output": layer + "self_attn.out_proj",
        _B + "mlp_norm": layer + "final_layer_norm",
        _B + "mlp.up": layer + "fc1",
        _B + "mlp.down": layer + "fc2",
    }
    if crosses:
        table = {
            **table,
            _B + "cross_norm": layer + "encoder_attn_layer_norm",
            _B + "cross.query": layer + "encoder_attn.q_proj",
            _B + "cross.key_value": (layer + "encoder_attn.k_proj", layer + "encoder_attn.v_proj"),
            _B + "cross.output": layer + "encoder_attn.out_proj",
        }
    return table


T5_NAMES: Names = {
    **names({"embedding": "shared", "head.unembedding": "lm_head"}),
    **names(_t5_stack("decoder", crosses=True)),
    **names(_t5_stack("encoder", crosses=False), "encoder."),
}
BART_NAMES: Names = {
    **names(
        {
            "embedding": "shared",
            "head.unembedding": "lm_head",
            "head.bias": Rule(("final_logits_bias",), layouts=("leading_one",)),
            "head.pooler": "classification_head.dense",
            "head.classifier": "classification_head.out_proj",
        }
    ),
    **names(_bart_stack("decoder", crosses=True)),
    **names(_bart_stack("encoder", crosses=False), "encoder."),
}

_COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")  # of the one embedding, under other names


def _t5(kind: str, stem: str, *, scales: bool) -> Family:
    return Family(
        read=partial(_read_t5, scales=scales),
        write=partial(_write_t5, kind=kind, stem=stem),
        heads=("lm_head",),
        # The first release carries an empty table that nothing reads.
        ignored=(*_COPIES, "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias."),
        names=T5_NAMES,
        variant=_t5_variant,
        aliases=dict.fromkeys(_COPIES, "shared.weight"),
    )


def _bart(kind: str, stem: str, *, pre_norm: bool) -> Family:
    return Family(
        read=partial(_read_bart, pre_norm=pre_norm),
        write=partial(_write_bart, kind=kind, stem=stem),
        prefix="model.",
        heads=("lm_head", "final_logits_bias", "classification_head"),
        ignored=(*_COPIES, "encoder.version", "decoder.version"),
        names=BART_NAMES,
        aliases=dict.fromkeys(_COPIES, "shared.weight"),
    )


SEQ2SEQ: Mapping[str, Family] = {
    "t5": _t5("t5", "T5", scales=True),
    "mt5": _t5("mt5", "MT5", scales=False),
    "bart": _bart("bart", "Bart", pre_norm=False),
    "mbart": _bart("mbart", "MBart", pre_norm=True),
}
