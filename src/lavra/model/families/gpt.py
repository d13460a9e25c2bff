"""GPT-2 and GPT-NeoX (Pythia) in Hugging Face directories: LayerNorms, biases, a plain MLP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lavra.model.config import ModelConfig
from lavra.model.families.family import (
    Family,
    Rule,
    Shapes,
    Table,
    activation,
    activation_name,
    names,
    refuse,
    split_width,
)
from lavra.model.families.hf_fields import (
    Fields,
    faithful,
    read_decoder_head,
    read_rotary,
    write_decoder_head,
    write_rotary,
)
from lavra.model.families.llama import NO_TOKENS


def gpt_like(hf: Fields, shapes: Shapes, **different: Any) -> ModelConfig:
    """The config of a pre-norm decoder with LayerNorms, biases and a plain MLP; ``different`` completes it."""
    refuse(hf.get("quantization_config"), "weights that another library quantised")
    fields: dict[str, Any] = {
        "vocabulary_size": hf["vocab_size"],
        "kv_heads": different["heads"],
        "head_width": split_width(different["width"], different["heads"]),
        "causal": True,
        "norm": "layer",
        "norm_position": "pre",
        "gated": False,
        "mlp_bias": True,
    }
    return ModelConfig(**{**fields, **different})


def _read_gpt2(hf: Fields, shapes: Shapes) -> ModelConfig:
    refuse(hf.get("scale_attn_by_inverse_layer_idx"), "attention scaled by the number of the layer")
    refuse(hf.get("add_cross_attention"), "a GPT-2 that attends to an encoder")
    refuse("ForTokenClassification" in str(hf.get("architectures")), "a GPT-2 that labels tokens")
    return gpt_like(
        hf,
        shapes,
        context_length=hf["n_positions"],
        layers=hf["n_layer"],
        width=hf["n_embd"],
        heads=hf["n_head"],
        hidden_width=hf.get("n_inner") or 4 * hf["n_embd"],
        norm_epsilon=hf.get("layer_norm_epsilon", 1e-5),
        positions="learned",
        activation=activation(hf.get("activation_function", "gelu_new")),
        attention_scale=None if hf.get("scale_attn_weights", True) else 1.0,
        attention_bias=True,
        output_bias=True,
        dropout=hf.get("resid_pdrop", 0.1),
        attention_dropout=hf.get("attn_pdrop", 0.1),
        **read_decoder_head(hf, shapes, tied=True),
    )


def _write_gpt2(config: ModelConfig) -> dict[str, Any]:
    head = write_decoder_head(config, "GPT2")
    if config.head == "language":
        head["architectures"] = ["GPT2LMHeadModel"]
    return {
        "model_type": "gpt2",
        **head,
        "vocab_size": config.vocabulary_size,
        "n_positions": config.context_length,
        "n_layer": config.layers,
        "n_embd": config.width,
        "n_head": config.heads,
        "n_inner": config.hidden_width,
        "layer_norm_epsilon": config.norm_epsilon,
        "activation_function": activation_name(config.activation),
        "scale_attn_weights": config.attention_scale is None,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.attention_dropout,
        **NO_TOKENS,
    }


def _read_gpt_neox(hf: Fields, shapes: Shapes) -> ModelConfig:
    refuse("ForTokenClassification" in str(hf.get("architectures")), "a GPT-NeoX that labels tokens")
    width, heads = hf["hidden_size"], hf["num_attention_heads"]
    part, theta = hf.get("rotary_pct", 0.25), hf.get("rotary_emb_base", 10_000.0)
    bias = bool(hf.get("attention_bias", True))
    return gpt_like(
        hf,
        shapes,
        context_length=hf["max_position_embeddings"],
        layers=hf["num_hidden_layers"],
        width=width,
        heads=heads,
        hidden_width=hf["intermediate_size"],
        norm_epsilon=hf.get("layer_norm_eps", 1e-5),
        positions="rotary",
        activation=activation(hf.get("hidden_act", "gelu")),
        parallel=bool(hf.get("use_parallel_residual", True)),
        attention_bias=bias,
        output_bias=bias,
        dropout=hf.get("hidden_dropout", 0.0),
        attention_dropout=hf.get("attention_dropout", 0.0),
        **read_rotary(hf, split_width(width, heads), theta=theta, part=part),
        **read_decoder_head(hf, shapes),
    )


def _write_gpt_neox(config: ModelConfig) -> dict[str, Any]:
    rotary = write_rotary(config)
    part = rotary.pop("partial_rotary_factor", 1.0)
    rotary["rope_parameters"]["partial_rotary_factor"] = part
    return {
        "model_type": "gpt_neox",
        **write_decoder_head(config, "GPTNeoX"),
        "vocab_size": config.vocabulary_size,
        "max_position_embeddings": config.context_length,
        "num_hidden_layers": config.layers,
        "hidden_size": config.width,
        "num_attention_heads": config.heads,
        "intermediate_size": config.hidden_width,
        "layer_norm_eps": config.norm_epsilon,
        "hidden_act": activation_name(config.activation),
        "use_parallel_residual": config.parallel,
        "attention_bias": config.attention_bias,
        "hidden_dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        **rotary,
        "rotary_pct": part,
        "rotary_emb_base": config.rope_theta,
        **NO_TOKENS,
    }


_B = "blocks.{layer}."


def _transposed(name: str) -> Rule:
    return Rule(("h.{layer}." + name,), layouts=("transposed",))


_GPT2_NAMES: Table = {
    "embedding": "wte",
    "position_embedding": "wpe",
    "final_norm": "ln_f",
    "head.unembedding": "lm_head",
    "head.classifier": "score",
    _B + "attention_norm": "h.{layer}.ln_1",
    _B + "attention.qkv": _transposed("attn.c_attn"),
    _B + "attention.output": _transposed("attn.c_proj"),
    _B + "mlp_norm": "h.{layer}.ln_2",
    _B + "mlp.up": _transposed("mlp.c_fc"),
    _B + "mlp.down": _transposed("mlp.c_proj"),
}
_L = "layers.{layer}."
_GPT_NEOX_NAMES: Table = {
    "embedding": "embed_in",
    "final_norm": "final_layer_norm",
    "head.unembedding": "embed_out",
    "head.classifier": "score",
    _B + "attention_norm": _L + "input_layernorm",
    _B + "attention.qkv": Rule((_L + "attention.query_key_value",), layouts=("by_head",)),
    _B + "attention.output": _L + "attention.dense",
    _B + "mlp_norm": _L + "post_attention_layernorm",
    _B + "mlp.up": _L + "mlp.dense_h_to_4h",
    _B + "mlp.down": _L + "mlp.dense_4h_to_h",
}

GPTS: Mapping[str, Family] = {
    "gpt2": Family(
        read=_read_gpt2,
        write=faithful("gpt2", _read_gpt2, _write_gpt2),
        prefix="transformer.",
        heads=("lm_head", "score"),
        ignored=(".attn.bias", ".attn.masked_bias"),  # the causal mask, which old files hold
        names=names(_GPT2_NAMES),
    ),
    "gpt_neox": Family(
        read=_read_gpt_neox,
        write=faithful("gpt_neox", _read_gpt_neox, _write_gpt_neox),
        prefix="gpt_neox.",
        heads=("embed_out", "score"),
        ignored=(".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"),
        names=names(_GPT_NEOX_NAMES),
    ),
}
