"""Decoders with a mixture of experts in Hugging Face directories: Mixtral, Qwen2-MoE, Qwen3-MoE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lavra.errors import LavraError
from lavra.model.config import Experts, ModelConfig
from lavra.model.families.family import Family, Shapes, Table
from lavra.model.families.hf_fields import Fields, read_windows, write_windows
from lavra.model.families.llama import like_llama, llama_fields, llama_like, read_biases


def _read_mixtral(hf: Fields, shapes: Shapes) -> ModelConfig:
    experts = Experts(
        count=hf.get("num_local_experts", 8),
        chosen=hf.get("num_experts_per_tok", 2),
        width=hf["intermediate_size"],
        balance=hf.get("router_aux_loss_coef", 0.001),
    )
    return llama_like(
        {"num_key_value_heads": 8, "rms_norm_eps": 1e-5, **hf},
        shapes,
        theta=1_000_000.0,
        experts=experts,
        **read_windows(hf, hf.get("sliding_window"), types=False),
    )


def _write_mixtral(config: ModelConfig) -> dict[str, Any]:
    experts = _experts(config, "mixtral")
    return {
        **llama_fields(config, "mixtral", "Mixtral"),
        "intermediate_size": experts.width,
        "num_local_experts": experts.count,
        "num_experts_per_tok": experts.chosen,
        "router_aux_loss_coef": experts.balance,
        "sliding_window": config.window,
    }


def _qwen_experts(hf: Fields, **different: Any) -> Experts:
    return Experts(
        # transformers 5 writes either name.
        count=hf["num_local_experts"] if "num_local_experts" in hf else hf["num_experts"],
        chosen=hf["num_experts_per_tok"],
        width=hf["moe_intermediate_size"],
        normalised=bool(hf.get("norm_topk_prob", False)),
        every=hf.get("decoder_sparse_step", 1),
        dense_layers=tuple(hf.get("mlp_only_layers") or ()),
        balance=hf.get("router_aux_loss_coef", 0.001),
        **different,
    )


def _read_qwen3_moe(hf: Fields, shapes: Shapes) -> ModelConfig:
    window = hf.get("sliding_window", 4096) if hf.get("use_sliding_window") else None
    return llama_like(
        {"num_key_value_heads": 4, **hf},
        shapes,
        qk_norm="head",
        experts=_qwen_experts(hf),
        **read_biases(hf),
        **read_windows(hf, window, types=False),
    )


def _read_qwen2_moe(hf: Fields, shapes: Shapes) -> ModelConfig:
    window = hf.get("sliding_window", 4096) if hf.get("use_sliding_window") else None
    last = hf.get("max_window_layers", 28)
    shared = hf.get("shared_expert_intermediate_size", 5632)
    return llama_like(
        {"num_key_value_heads": 16, **hf},
        shapes,
        attention_bias=bool(hf.get("qkv_bias", True)),
        experts=_qwen_experts(hf, shared_width=shared, shared_gate=True),
        **read_windows(hf, window, lambda layer: layer % 2 == 0 and layer < last),
    )


def _qwen_moe_fields(config: ModelConfig, kind: str, name: str) -> dict[str, Any]:
    experts = _experts(config, kind)
    return {
        **llama_fields(config, kind, name),
        "num_experts": experts.count,
        "num_experts_per_tok": experts.chosen,
        "moe_intermediate_size": experts.width,
        "norm_topk_prob": experts.normalised,
        "decoder_sparse_step": experts.every,
        "mlp_only_layers": list(experts.dense_layers),
        "router_aux_loss_coef": experts.balance,
        "use_sliding_window": config.window is not None,
        "sliding_window": config.window,
    }


def _write_qwen3_moe(config: ModelConfig) -> dict[str, Any]:
    return {**_qwen_moe_fields(config, "qwen3_moe", "Qwen3Moe"), "attention_bias": config.attention_bias}


def _write_qwen2_moe(config: ModelConfig) -> dict[str, Any]:
    return {
        **_qwen_moe_fields(config, "qwen2_moe", "Qwen2Moe"),
        "qkv_bias": config.attention_bias,
        "shared_expert_intermediate_size": _experts(config, "qwen2_moe").shared_width,
        "max_window_layers": config.layers,
        **write_windows(config),
    }


def _experts(config: ModelConfig, kind: str) -> Experts:
    if config.experts is None:
        raise LavraError(f"the format of {kind} is for mixtures of experts; write the model as another family")
    return config.experts


_L = "layers.{layer}."
_M = "blocks.{layer}.mlp."
_MIXTRAL_NAMES: Table = {
    _M + "router": _L + "block_sparse_moe.gate",
    _M + "experts_up": tuple(_L + f"block_sparse_moe.experts.{{expert}}.{x}.weight" for x in ("w1", "w3")),
    _M + "experts_down": _L + "block_sparse_moe.experts.{expert}.w2.weight",
}
_QWEN_NAMES: Table = {
    _M + "router": _L + "mlp.gate",
    _M + "experts_up": tuple(_L + f"mlp.experts.{{expert}}.{x}_proj.weight" for x in ("gate", "up")),
    _M + "experts_down": _L + "mlp.experts.{expert}.down_proj.weight",
    _M + "shared_up": tuple(_L + f"mlp.shared_expert.{x}_proj" for x in ("gate", "up")),
    _M + "shared_down": _L + "mlp.shared_expert.down_proj",
    _M + "shared_gate": _L + "mlp.shared_expert_gate",
}

MIXTURES: Mapping[str, Family] = {
    "mixtral": like_llama("mixtral", _read_mixtral, _write_mixtral, _MIXTRAL_NAMES),
    "qwen2_moe": like_llama("qwen2_moe", _read_qwen2_moe, _write_qwen2_moe, _QWEN_NAMES),
    "qwen3_moe": like_llama("qwen3_moe", _read_qwen3_moe, _write_qwen3_moe, _QWEN_NAMES),
}
