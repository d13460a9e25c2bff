"""GGUF files: the decoder families under llama.cpp's names, both ways.

A GGUF names an architecture and gives its sizes; whatever else is the same in all models of the architecture stands in
llama.cpp's code and so, here, in a table. What a config has beyond that cannot be written and is refused: reading back
what :func:`_write` gives is the test (``writing.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from lavra.errors import LavraError
from lavra.model.config import Experts, ModelConfig
from lavra.model.families.family import Family, Names, Rule, Shapes, Table, names, refuse, split_width
from lavra.model.families.gguf_rotary import read_rotary, shortest, write_rotary

_L = "blk.{layer}."
_B = "blocks.{layer}."


def _read(name: str, traits: Mapping[str, Any], gguf: Mapping[str, Any], shapes: Shapes) -> ModelConfig:
    def get(key: str, default: Any = None) -> Any:
        return shortest(gguf.get(f"{name}.{key}", default))

    def need(key: str) -> Any:
        return shortest(gguf[f"{name}.{key}"])

    width, heads, layers = need("embedding_length"), need("attention.head_count"), need("block_count")
    head_width = get("attention.key_length") or split_width(width, heads)
    refuse(get("attention.value_length", head_width) != head_width, "values of another width than the keys")
    fixed = dict(traits)
    del fixed["mixture"]
    window_every, scaled = fixed.pop("window_every", None), fixed.pop("scaled", False)
    odd_scale_at = fixed.pop("odd_scale_at", None)
    unrotated_every = fixed.pop("unrotated_every", None)
    local_theta = fixed.pop("local_theta", None)
    fixed.pop("says_parallel", None)
    # Not from vocab_size, which older files lack.
    fields: dict[str, Any] = {
        "vocabulary_size": shapes.get("token_embd.weight", (0,))[0],
        "context_length": need("context_length"),
        "layers": layers,
        "width": width,
        "heads": heads,
        "kv_heads": get("attention.head_count_kv") or heads,
        "head_width": head_width,
        "hidden_width": need("feed_forward_length"),
        "causal": True,
        "norm": "rms",
        "norm_epsilon": need(_EPSILON[fixed.get("norm", "rms")]),
        "positions": "rotary",
        "activation": "silu",
        "gated": True,
        "attention_bias": "blk.0.attn_q.bias" in shapes or "blk.0.attn_qkv.bias" in shapes,
        "output_bias": "blk.0.attn_output.bias" in shapes,
        "mlp_bias": "blk.0.ffn_down.bias" in shapes,
        "tied_embeddings": "output.weight" not in shapes,
        "attention_soft_cap": get("attn_logit_softcapping"),
        "logit_soft_cap": get("final_logit_softcapping"),
        "parallel": bool(get("use_parallel_residual", False)),
        "experts": _read_experts(get, traits),
    }
    if fixed.get("positions", "rotary") == "rotary":
        fields |= read_rotary(get, gguf, head_width, fields["context_length"])
    if window_every and get("attention.sliding_window"):
        fields |= _read_window(get, window_every, layers)
        if local_theta is not None:
            fields["local_rope_theta"] = get("rope.freq_base_swa", local_theta)
    if scaled:
        fields["embedding_scale"] = width**0.5
    if odd_scale_at == layers:  # Gemma's 27B divide by the width a head would have, not the one it has
        fields["attention_scale"] = (width / heads) ** -0.5
    if unrotated_every and isinstance(layers, int):
        fields["unrotated_layers"] = tuple(range(unrotated_every - 1, layers, unrotated_every))
    return ModelConfig(**{**fields, **fixed})


_EPSILON = {"rms": "attention.layer_norm_rms_epsilon", "layer": "attention.layer_norm_epsilon"}


def _read_experts(get: Callable[..., Any], traits: Mapping[str, Any]) -> Experts | None:
    if not get("expert_count", 0):
        return None
    refuse(traits["mixture"] is False, "a mixture of experts in an architecture without")
    refuse(get("expert_shared_feed_forward_length", 0), "shared experts")
    refuse(get("expert_weights_norm", True) is not True, "expert weights that do not add up to 1")
    width = get("expert_feed_forward_length") or get("feed_forward_length")
    return Experts(count=get("expert_count"), chosen=get("expert_used_count"), width=width)


def _read_window(get: Callable[..., Any], every: int, layers: int) -> dict[str, Any]:
    """Every layer has the window, or all but each ``every``th; newer files say which."""
    pattern = get("attention.sliding_window_pattern", every)
    fields: dict[str, Any] = {"window": get("attention.sliding_window")}
    if isinstance(pattern, list):
        fields["local_layers"] = tuple(layer for layer, local in enumerate(pattern) if local)
    elif pattern > 1:
        fields["local_layers"] = tuple(layer for layer in range(layers) if (layer + 1) % pattern)
    return fields


def _write(name: str, traits: Mapping[str, Any], config: ModelConfig) -> dict[str, Any]:
    """Metadata, and under names that end in ``.weight`` tables that the file holds as tensors."""
    if traits["mixture"] not in (None, config.experts is not None):
        raise LavraError(f"models of {name} have {'' if traits['mixture'] else 'no '}mixtures of experts")
    written: dict[str, Any] = {
        "vocab_size": config.vocabulary_size,
        "context_length": config.context_length,
        "embedding_length": config.width,
        "block_count": config.layers,
        "feed_forward_length": config.hidden_width,
        "attention.head_count": config.heads,
        "attention.head_count_kv": config.kv_heads,
        _EPSILON[config.norm]: float(config.norm_epsilon),
    }
    if traits.get("positions") != "learned":
        written |= {"attention.key_length": config.head_width, "attention.value_length": config.head_width}
    tables: dict[str, Any] = {}
    if config.positions == "rotary":
        rotary, tables = write_rotary(config)
        written |= rotary
    if config.attention_soft_cap is not None:
        written["attn_logit_softcapping"] = float(config.attention_soft_cap)
    if config.logit_soft_cap is not None:
        written["final_logit_softcapping"] = float(config.logit_soft_cap)
    if traits.get("says_parallel"):
        written["use_parallel_residual"] = config.parallel
    if config.window is not None:
        written["attention.sliding_window"] = config.window
        if config.local_layers is not None and traits.get("window_every", 1) > 1:
            written |= _write_pattern(config, traits["window_every"])
        if config.local_rope_theta is not None:
            written["rope.freq_base_swa"] = float(config.local_rope_theta)
    if config.experts is not None:
        written |= {
            "expert_count": config.experts.count,
            "expert_used_count": config.experts.chosen,
            "expert_feed_forward_length": config.experts.width,
        }
    return {"general.architecture": name, **{f"{name}.{key}": value for key, value in written.items()}, **tables}


def _write_pattern(config: ModelConfig, usual: int) -> dict[str, Any]:
    """Nothing for the architecture's usual pattern, which older programs take for granted, else a truth a layer."""
    usually = tuple(layer for layer in range(config.layers) if (layer + 1) % usual)
    if config.local_layers == usually:
        return {}
    return {"attention.sliding_window_pattern": [config.is_local(layer) for layer in range(config.layers)]}


def _variant(config: ModelConfig) -> Names:
    """Experts are one tensor a kind, (E, F, C); gate and up lie apart."""
    if config.experts is None:
        return {}
    return names(
        {
            _B + "mlp.router": _L + "ffn_gate_inp",
            _B + "mlp.experts_up": Rule((_L + "ffn_gate_exps.weight", _L + "ffn_up_exps.weight"), axis=1),
            _B + "mlp.experts_down": Rule((_L + "ffn_down_exps.weight",), axis=1),
        }
    )


def _family(architecture: str, table: Table, *, mixture: bool | None = False, **traits: Any) -> Family:
    """``mixture``: whether its models have experts; None for some. The other ``traits`` are fields of the config, but
    ``window_every`` (all but every so manyth layer have a window), ``scaled`` (embeddings, as Gemma's),
    ``odd_scale_at`` (so many layers), ``unrotated_every``, ``local_theta`` (of layers with a window) and
    ``says_parallel`` (the file tells whether blocks are)."""
    traits["mixture"] = mixture
    return Family(
        read=partial(_read, architecture, traits),
        write=partial(_write, architecture, traits),
        names=names(table),
        variant=_variant,
        ignored=("rope_freqs.", "rope_factors_"),
    )


_COMMON: Table = {
    "embedding": "token_embd",
    "final_norm": "output_norm",
    "head.unembedding": "output",
    _B + "attention_norm": _L + "attn_norm",
    _B + "attention.output": _L + "attn_output",
    _B + "mlp_norm": _L + "ffn_norm",
    _B + "mlp.down": _L + "ffn_down",
}
_APART: Table = {
    _B + "attention.qkv": (_L + "attn_q", _L + "attn_k", _L + "attn_v"),
    _B + "mlp.up": (_L + "ffn_gate", _L + "ffn_up"),
}
_FUSED: Table = {_B + "attention.qkv": _L + "attn_qkv", _B + "mlp.up": _L + "ffn_up"}
_QK_NORMS: Table = {
    _B + "attention.query_norm": _L + "attn_q_norm",
    _B + "attention.key_norm": _L + "attn_k_norm",
}
_PLAIN: Table = {**_COMMON, **_APART}
# Where llama.cpp turns neighbouring dimensions, query and key rows are stored in pairs.
_PAIRED: Table = {
    **_PLAIN,
    _B + "attention.qkv": Rule(tuple(_L + f"attn_{x}" for x in "qkv"), layouts=("pairs", "pairs", None)),
}


def _plus_one(table: Table) -> Table:
    return {
        ours: Rule((theirs,), layouts=("plus_one",)) if ours.endswith("norm") and isinstance(theirs, str) else theirs
        for ours, theirs in table.items()
    }


_BOTH_NORMS: Table = {
    **_PLAIN,
    _B + "attention_after_norm": _L + "post_attention_norm",
    _B + "mlp_after_norm": _L + "post_ffw_norm",
}
# llama.cpp opens no file with a tensor that its architecture lacks, nor without one that it has.
_NO_BIASES = {"attention_bias": False, "output_bias": False, "mlp_bias": False}
_BIASES = {"attention_bias": True, "output_bias": True, "mlp_bias": True}
_GEMMA: dict[str, Any] = {"norm_plus_one": True, "activation": "gelu_tanh", "scaled": True, **_NO_BIASES}
_GPT: dict[str, Any] = {"norm": "layer", "gated": False, **_BIASES}

GGUF: Mapping[str, Family] = {
    "qwen2": _family("qwen2", _PLAIN, **{**_NO_BIASES, "attention_bias": True}),
    "qwen3": _family("qwen3", {**_PLAIN, **_QK_NORMS}, qk_norm="head", **_NO_BIASES),
    "qwen3moe": _family("qwen3moe", {**_PLAIN, **_QK_NORMS}, qk_norm="head", mixture=True, **_NO_BIASES),
    "gemma": _family("gemma", _plus_one(_PLAIN), tied_embeddings=True, **_GEMMA),
    "gemma2": _family(
        "gemma2",
        _plus_one(_BOTH_NORMS),
        tied_embeddings=True,
        norm_position="both",
        window_every=2,
        odd_scale_at=46,
        **_GEMMA,
    ),
    "gemma3": _family(
        "gemma3",
        _plus_one({**_BOTH_NORMS, **_QK_NORMS}),
        norm_position="both",
        qk_norm="head",
        window_every=6,
        local_theta=10_000.0,
        odd_scale_at=62,
        **_GEMMA,
    ),
    "olmo2": _family(
        "olmo2",
        {
            **_PLAIN,
            **_QK_NORMS,
            _B + "attention_norm": _L + "post_attention_norm",
            _B + "mlp_norm": _L + "post_ffw_norm",
        },
        norm_position="after",
        qk_norm="all",
        tied_embeddings=False,
        **_NO_BIASES,
    ),
    "gpt2": _family(
        "gpt2",
        {**_COMMON, **_FUSED, "position_embedding": "position_embd"},
        positions="learned",
        activation="gelu_tanh",
        **_GPT,
    ),
    "gptneox": _family(
        "gptneox", {**_COMMON, **_FUSED}, activation="gelu", tied_embeddings=False, says_parallel=True, **_GPT
    ),
    "llama": _family("llama", _PAIRED, window_every=1, mixture=None),
    "smollm3": _family("smollm3", _PAIRED, unrotated_every=4, **_NO_BIASES),
    "phi3": _family("phi3", {**_COMMON, **_FUSED}, window_every=1, **_NO_BIASES),
}
"""By ``general.architecture``. Where several fit a model that is written, the first is taken."""

_OTHERWISE = {
    "qwen3_moe": "qwen3moe",
    "gemma3_text": "gemma3",
    "gpt_neox": "gptneox",
    "mistral": "llama",
    "mixtral": "llama",
}


def architecture_of(model_type: str) -> str | None:
    """What llama.cpp calls a ``model_type`` of transformers; None for one that is not in the table."""
    name = _OTHERWISE.get(model_type, model_type)
    return name if name in GGUF else None
