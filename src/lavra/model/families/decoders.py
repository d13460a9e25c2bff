"""Decoders of Hugging Face directories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lavra.model.config import ModelConfig, RotaryScaling
from lavra.model.families.family import Family, Shapes, Table, activation, names, refuse, split_width


def read_rotary(hf: Mapping[str, Any]) -> dict[str, Any]:
    """``rope_theta``, ``rope_scaling`` and ``rotary_width`` fields, wherever the file's version puts them.

    transformers 5 moved ``rope_theta`` into ``rope_parameters``; older files have it, and ``rope_scaling``, beside.
    """
    rope = {**(hf.get("rope_scaling") or {}), **(hf.get("rope_parameters") or {})}
    kind = rope.get("rope_type", rope.get("type", "default"))
    refuse(rope.get("partial_rotary_factor", hf.get("partial_rotary_factor", 1.0)) != 1.0, "partial rotary positions")
    refuse(kind not in ("default", "llama3", "linear"), f"rotary positions of type {kind!r}")
    scaling = None
    if kind == "linear":
        scaling = RotaryScaling("linear", factor=rope["factor"])
    elif kind == "llama3":
        scaling = RotaryScaling(
            "llama3",
            factor=rope["factor"],
            original_context=rope["original_max_position_embeddings"],
            low_frequency_factor=rope["low_freq_factor"],
            high_frequency_factor=rope["high_freq_factor"],
        )
    return {"rope_theta": rope.get("rope_theta", hf.get("rope_theta", 10_000.0)), "rope_scaling": scaling}


def llama_like(hf: Mapping[str, Any], **different: Any) -> ModelConfig:
    """The config of a pre-norm decoder with RMS norms, rotary positions and a gated MLP; ``different`` overrides."""
    heads, width = hf["num_attention_heads"], hf["hidden_size"]
    fields: dict[str, Any] = {
        "vocabulary_size": hf["vocab_size"],
        "context_length": hf["max_position_embeddings"],
        "layers": hf["num_hidden_layers"],
        "width": width,
        "heads": heads,
        "kv_heads": hf.get("num_key_value_heads") or heads,
        "head_width": hf.get("head_dim") or split_width(width, heads),
        "hidden_width": hf["intermediate_size"],
        "causal": True,
        "norm": "rms",
        "norm_epsilon": hf["rms_norm_eps"],
        "norm_position": "pre",
        "positions": "rotary",
        "activation": activation(hf.get("hidden_act", "silu")),
        "gated": True,
        "attention_bias": bool(hf.get("attention_bias")),
        "output_bias": bool(hf.get("attention_bias")),
        "mlp_bias": bool(hf.get("mlp_bias")),
        "tied_embeddings": bool(hf.get("tie_word_embeddings", False)),
    }
    return ModelConfig(**{**fields, **read_rotary(hf), **different})


def _read_llama(hf: Mapping[str, Any], shapes: Shapes) -> ModelConfig:
    return llama_like(hf)


_L = "layers.{layer}."
_B = "blocks.{layer}."
LLAMA_NAMES: Table = {
    "embedding": "embed_tokens",
    "final_norm": "norm",
    "head.unembedding": "lm_head",
    _B + "attention_norm": _L + "input_layernorm",
    _B + "attention.qkv": (_L + "self_attn.q_proj", _L + "self_attn.k_proj", _L + "self_attn.v_proj"),
    _B + "attention.output": _L + "self_attn.o_proj",
    _B + "mlp_norm": _L + "post_attention_layernorm",
    _B + "mlp.up": (_L + "mlp.gate_proj", _L + "mlp.up_proj"),
    _B + "mlp.down": _L + "mlp.down_proj",
}

DECODERS: Mapping[str, Family] = {
    "llama": Family(
        read=_read_llama,
        prefix="model.",
        heads=("lm_head", "score"),
        ignored=(".rotary_emb.inv_freq",),
        names=names(LLAMA_NAMES),
    ),
}
