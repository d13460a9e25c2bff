"""Llama and its relatives in Hugging Face directories: one block, with a few choices made otherwise.

SmolLM 2 is a Llama. A reader takes what a file leaves out from transformers' class for it; a writer spells out
everything.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from lavra.model.families.hf_fields import (
    Fields,
    Read,
    Write,
    faithful,
    read_decoder_head,
    read_rotary,
    read_windows,
    write_decoder_head,
    write_rotary,
    write_windows,
)

# Ids of special tokens belong to the tokenizer, which writes them; transformers' defaults may lie outside a vocabulary.
NO_TOKENS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


def llama_like(
    hf: Fields,
    shapes: Shapes,
    *,
    theta: float = 10_000.0,
    part: float | None = None,
    original: int | None = None,
    tied: bool = False,
    **different: Any,
) -> ModelConfig:
    """The config of a pre-norm decoder with RMS norms, rotary positions and a gated MLP; ``different`` overrides.

    ``theta``, ``part``, ``original``: see :func:`read_rotary`. ``tied``: the default of ``tie_word_embeddings``.
    """
    refuse(hf.get("quantization_config"), "weights that another library quantised")
    heads, width = hf["num_attention_heads"], hf["hidden_size"]
    head_width = different.get("head_width") or hf.get("head_dim") or split_width(width, heads)
    fields: dict[str, Any] = {
        "vocabulary_size": hf["vocab_size"],
        "context_length": hf["max_position_embeddings"],
        "layers": hf["num_hidden_layers"],
        "width": width,
        "heads": heads,
        "kv_heads": hf.get("num_key_value_heads") or heads,
        "head_width": head_width,
        "hidden_width": hf["intermediate_size"],
        "causal": True,
        "norm": "rms",
        "norm_epsilon": hf.get("rms_norm_eps", 1e-6),
        "norm_position": "pre",
        "positions": "rotary",
        "activation": activation(hf.get("hidden_act", "silu")),
        "gated": True,
        "attention_dropout": hf.get("attention_dropout") or 0.0,
    }
    rotary = read_rotary(hf, head_width, theta=theta, part=part, original=original)
    return ModelConfig(**{**fields, **rotary, **read_decoder_head(hf, shapes, tied=tied), **different})


def llama_fields(config: ModelConfig, kind: str, name: str) -> dict[str, Any]:
    """What :func:`llama_like` reads; ``kind``: the ``model_type``, ``name``: what the family's classes begin with."""
    return {
        "model_type": kind,
        **write_decoder_head(config, name),
        "vocab_size": config.vocabulary_size,
        "max_position_embeddings": config.context_length,
        "num_hidden_layers": config.layers,
        "hidden_size": config.width,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.hidden_width,
        "rms_norm_eps": config.norm_epsilon,
        "hidden_act": activation_name(config.activation),
        "attention_dropout": config.attention_dropout,
        **write_rotary(config),
        **NO_TOKENS,
    }


def read_biases(hf: Fields) -> dict[str, bool]:
    bias = bool(hf.get("attention_bias"))
    return {"attention_bias": bias, "output_bias": bias}


def need_whole_heads(config: ModelConfig) -> None:
    """Some of transformers' classes insist on it, although their head has a width of its own."""
    if config.width % config.heads:
        raise LavraError(
            f"transformers refuses {config.heads} heads that do not divide width {config.width}; choose other sizes"
        )


def _read_llama(hf: Fields, shapes: Shapes) -> ModelConfig:
    return llama_like(hf, shapes, mlp_bias=bool(hf.get("mlp_bias")), **read_biases(hf))


def _write_llama(config: ModelConfig) -> dict[str, Any]:
    need_whole_heads(config)
    biases = {"attention_bias": config.attention_bias, "mlp_bias": config.mlp_bias}
    return {**llama_fields(config, "llama", "Llama"), **biases}


def _read_smollm3(hf: Fields, shapes: Shapes) -> ModelConfig:
    layers, rotates = hf["num_hidden_layers"], hf.get("no_rope_layers")  # 1 for a layer that has rotary positions
    if rotates is None:
        interval = hf.get("no_rope_layer_interval", 4)
        rotates = [(layer + 1) % interval for layer in range(min(layers, 4096))]
    unrotated = tuple(layer for layer, turned in enumerate(rotates[:layers]) if not turned)
    window = hf.get("sliding_window") if hf.get("use_sliding_window") else None
    return llama_like(
        {"num_key_value_heads": 4, **hf},
        shapes,
        theta=2_000_000.0,
        tied=True,
        unrotated_layers=unrotated,
        mlp_bias=bool(hf.get("mlp_bias")),
        **read_windows(hf, window, lambda layer: layer in unrotated),
        **read_biases(hf),
    )


def _write_smollm3(config: ModelConfig) -> dict[str, Any]:
    return {
        **llama_fields(config, "smollm3", "SmolLM3"),
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "no_rope_layers": [int(layer not in config.unrotated_layers) for layer in range(config.layers)],
        "use_sliding_window": config.window is not None,
        **write_windows(config),
    }


def _read_mistral(hf: Fields, shapes: Shapes) -> ModelConfig:
    refuse(len(set(hf.get("layer_types") or ())) > 1, "a Mistral with layers of two types")
    window = read_windows(hf, hf.get("sliding_window", 4096), types=False)
    return llama_like({"num_key_value_heads": 8, **hf}, shapes, **window)


def _write_mistral(config: ModelConfig) -> dict[str, Any]:
    return {**llama_fields(config, "mistral", "Mistral"), "sliding_window": config.window}


def _read_phi3(hf: Fields, shapes: Shapes) -> ModelConfig:
    return llama_like(
        hf,
        shapes,
        part=1.0,
        original=hf.get("original_max_position_embeddings", 4096),
        norm_epsilon=hf.get("rms_norm_eps", 1e-5),
        dropout=hf.get("resid_pdrop", 0.0),
        **read_windows(hf, hf.get("sliding_window"), types=False),
    )


def _write_phi3(config: ModelConfig) -> dict[str, Any]:
    fields = llama_fields(config, "phi3", "Phi3")
    del fields["head_dim"]  # this class divides
    if config.rope_scaling is not None and config.rope_scaling.kind != "longrope":
        raise LavraError("the format of phi3 knows rotary scaling of kind longrope only; write it as another family")
    original = config.rope_scaling.original_context if config.rope_scaling else config.context_length
    return {
        **fields,
        "original_max_position_embeddings": original,
        "sliding_window": config.window,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
    }


def _read_olmo2(hf: Fields, shapes: Shapes) -> ModelConfig:
    epsilon = hf.get("rms_norm_eps", 1e-5)
    return llama_like(hf, shapes, norm_position="after", qk_norm="all", norm_epsilon=epsilon, **read_biases(hf))


def _write_olmo2(config: ModelConfig) -> dict[str, Any]:
    return {**llama_fields(config, "olmo2", "Olmo2"), "attention_bias": config.attention_bias}


def _qwen_windows(hf: Fields) -> dict[str, Any]:
    """The first ``max_window_layers`` see everything (whatever that name says)."""
    window = hf.get("sliding_window", 4096) if hf.get("use_sliding_window") else None
    return read_windows(hf, window, lambda layer: layer >= hf.get("max_window_layers", 28))


def _read_qwen2(hf: Fields, shapes: Shapes) -> ModelConfig:
    return llama_like({"num_key_value_heads": 32, **hf}, shapes, attention_bias=True, **_qwen_windows(hf))


def _read_qwen3(hf: Fields, shapes: Shapes) -> ModelConfig:
    defaults = {"num_key_value_heads": 32, "head_dim": 128}
    return llama_like({**defaults, **hf}, shapes, qk_norm="head", **read_biases(hf), **_qwen_windows(hf))


def _write_qwen(kind: str, name: str) -> Write:
    def write(config: ModelConfig) -> dict[str, Any]:
        windows = {"use_sliding_window": config.window is not None, "max_window_layers": config.layers}
        fields = {**llama_fields(config, kind, name), **windows, **write_windows(config)}
        return fields | ({"attention_bias": config.attention_bias} if kind == "qwen3" else {})

    return write


_L = "layers.{layer}."
_B = "blocks.{layer}."
LLAMA_NAMES: Table = {
    "embedding": "embed_tokens",
    "final_norm": "norm",
    "head.unembedding": "lm_head",
    "head.classifier": "score",
    _B + "attention_norm": _L + "input_layernorm",
    _B + "attention.qkv": (_L + "self_attn.q_proj", _L + "self_attn.k_proj", _L + "self_attn.v_proj"),
    _B + "attention.query_norm": _L + "self_attn.q_norm",
    _B + "attention.key_norm": _L + "self_attn.k_norm",
    _B + "attention.output": _L + "self_attn.o_proj",
    _B + "mlp_norm": _L + "post_attention_layernorm",
    _B + "mlp.up": (_L + "mlp.gate_proj", _L + "mlp.up_proj"),
    _B + "mlp.down": _L + "mlp.down_proj",
}


def like_llama(
    kind: str, read: Read, write: Write | None, different: Table | None = None, prefix: str = "model.", **more: Any
) -> Family:
    """A family with Llama's names but for ``different`` ones; ``kind``: its ``model_type``."""
    return Family(
        read=read,
        write=None if write is None else faithful(kind, read, write),
        prefix=prefix,
        heads=("lm_head", "score"),
        ignored=(".rotary_emb.inv_freq", *more.get("ignored", ())),
        names=names({**LLAMA_NAMES, **(different or {})}),
    )


LLAMAS: Mapping[str, Family] = {
    "llama": like_llama("llama", _read_llama, _write_llama),
    "smollm3": like_llama("smollm3", _read_smollm3, _write_smollm3),
    "mistral": like_llama("mistral", _read_mistral, _write_mistral),
    "phi3": like_llama(
        "phi3",
        _read_phi3,
        _write_phi3,
        {_B + "attention.qkv": _L + "self_attn.qkv_proj", _B + "mlp.up": _L + "mlp.gate_up_proj"},
    ),
    "olmo2": like_llama(
        "olmo2",
        _read_olmo2,
        _write_olmo2,
        {
            _B + "attention_norm": _L + "post_attention_layernorm",
            _B + "mlp_norm": _L + "post_feedforward_layernorm",
        },
    ),
    "qwen2": like_llama("qwen2", _read_qwen2, _write_qwen("qwen2", "Qwen2")),
    "qwen3": like_llama("qwen3", _read_qwen3, _write_qwen("qwen3", "Qwen3")),
}
