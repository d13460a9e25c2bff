"""Gemma 1, 2 and 3 in Hugging Face directories, and the text part of a Gemma 3 that also sees images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lavra.model.config import ModelConfig
from lavra.model.families.family import Family, Shapes, Table, refuse
from lavra.model.families.hf_fields import Fields, read_scaling, read_windows, write_scaling, write_windows
from lavra.model.families.llama import like_llama, llama_fields, llama_like, need_whole_heads, read_biases


def _gemma(hf: Fields, shapes: Shapes, act: str, **different: Any) -> ModelConfig:
    refuse(hf.get("use_bidirectional_attention"), "a Gemma that sees what follows")
    return llama_like(
        {"head_dim": 256, "num_key_value_heads": 4, **hf, "hidden_act": act},
        shapes,
        tied=True,
        norm_plus_one=True,
        embedding_scale=hf["hidden_size"] ** 0.5,
        **read_biases(hf),
        **different,
    )


def _read_gemma(hf: Fields, shapes: Shapes) -> ModelConfig:
    act = hf.get("hidden_act", "gelu_pytorch_tanh")
    if act == "gelu":  # the first files say so and mean the approximation by tanh
        act = "gelu_pytorch_tanh"
    return _gemma({"num_key_value_heads": 16, **hf}, shapes, act)


def _newer_gemma(
    hf: Fields, shapes: Shapes, *, caps: tuple[float | None, float | None], **different: Any
) -> ModelConfig:
    """``caps``: defaults of the soft caps of scores and of logits."""
    scalar = hf.get("query_pre_attn_scalar", 256)
    return _gemma(
        hf,
        shapes,
        hf.get("hidden_activation") or "gelu_pytorch_tanh",
        norm_position="both",
        attention_scale=None if scalar == hf.get("head_dim", 256) else scalar**-0.5,
        attention_soft_cap=hf.get("attn_logit_softcapping", caps[0]),
        logit_soft_cap=hf.get("final_logit_softcapping", caps[1]),
        **different,
    )


def _read_gemma2(hf: Fields, shapes: Shapes) -> ModelConfig:
    windows = read_windows(hf, hf.get("sliding_window", 4096), lambda layer: layer % 2 == 0)
    return _newer_gemma(hf, shapes, caps=(50.0, 30.0), **windows)


def _read_gemma3(hf: Fields, shapes: Shapes) -> ModelConfig:
    every = hf.get("sliding_window_pattern", hf.get("_sliding_window_pattern", 6))
    windows = read_windows(hf, hf.get("sliding_window", 4096), lambda layer: (layer + 1) % every != 0)
    rope = hf.get("rope_parameters") or {}
    wide = {**(hf.get("rope_scaling") or {}), **(rope.get("full_attention") or {})}
    near = rope.get("sliding_attention") or {}
    context = hf["max_position_embeddings"]
    refuse(hf.get("attn_logit_softcapping"), "a Gemma 3 with a cap on scores")  # transformers would leave it out
    refuse(read_scaling(near, context) is not None, "scaled rotary positions in layers with a window")
    if windows:
        windows["local_rope_theta"] = near.get("rope_theta", hf.get("rope_local_base_freq", 10_000.0))
    return _newer_gemma(
        {**hf, "rope_parameters": wide, "rope_scaling": None},
        shapes,
        caps=(None, None),
        theta=hf.get("rope_theta", 1_000_000.0),
        qk_norm="head",
        **windows,
    )


# What transformers' Gemma3TextConfig has by default and the text part of published files leaves out.
_GEMMA3_DEFAULTS = {
    "vocab_size": 262_208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 131_072,
}


def _read_gemma3_with_images(hf: Fields, shapes: Shapes) -> ModelConfig:
    """The text part alone; its images are left where they are."""
    return _read_gemma3({**_GEMMA3_DEFAULTS, **hf["text_config"]}, shapes)


def _write_gemma(config: ModelConfig) -> dict[str, Any]:
    return {**llama_fields(config, "gemma", "Gemma"), "attention_bias": config.attention_bias}


def _newer_gemma_fields(config: ModelConfig, kind: str, name: str) -> dict[str, Any]:
    need_whole_heads(config)
    fields = llama_fields(config, kind, name)
    return {
        **fields,
        "hidden_activation": fields.pop("hidden_act"),
        "attention_bias": config.attention_bias,
        "query_pre_attn_scalar": round(config.scale**-2),
        "attn_logit_softcapping": config.attention_soft_cap,
        "final_logit_softcapping": config.logit_soft_cap,
        **write_windows(config),
        "sliding_window": config.window or config.context_length,  # transformers wants one, needed or not
    }


def _write_gemma2(config: ModelConfig) -> dict[str, Any]:
    return _newer_gemma_fields(config, "gemma2", "Gemma2")


def _write_gemma3(config: ModelConfig) -> dict[str, Any]:
    fields = _newer_gemma_fields(config, "gemma3_text", "Gemma3Text")
    if config.head == "language":
        fields["architectures"] = ["Gemma3ForCausalLM"]
    near = config.rope_theta if config.local_rope_theta is None else config.local_rope_theta
    both = {
        "full_attention": write_scaling(config.rope_theta, config.rope_scaling),
        "sliding_attention": write_scaling(near, None),
    }
    return {**fields, "rope_parameters": both, "rope_local_base_freq": near}


_L = "layers.{layer}."
_B = "blocks.{layer}."
_NEWER_NAMES: Table = {
    _B + "attention_after_norm": _L + "post_attention_layernorm",
    _B + "mlp_norm": _L + "pre_feedforward_layernorm",
    _B + "mlp_after_norm": _L + "post_feedforward_layernorm",
}

GEMMAS: Mapping[str, Family] = {
    "gemma": like_llama("gemma", _read_gemma, _write_gemma),
    "gemma2": like_llama("gemma2", _read_gemma2, _write_gemma2, _NEWER_NAMES),
    "gemma3_text": like_llama("gemma3_text", _read_gemma3, _write_gemma3, _NEWER_NAMES),
    "gemma3": like_llama(
        "gemma3",
        _read_gemma3_with_images,
        None,  # what was read of it is written as gemma3_text
        _NEWER_NAMES,
        prefix="language_model.model.",
        ignored=("vision_tower.", "multi_modal_projector."),
    ),
}
