"""Configs of decoders: published files mean what they mean to transformers, and what is written says what was meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import judge
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from lavra.errors import LavraError
from lavra.model.building import build, initialise
from lavra.model.config import Experts, ModelConfig, RotaryScaling
from lavra.model.families import BY_MODEL_TYPE
from lavra.model.families.decoders import DECODERS
from lavra.model.families.hf_fields import fraction, plain
from lavra.model.transformer import Transformer
from lavra.model.weights import load_model, read_json
from lavra.model.writing import save_model

# The shape-giving fields of published config.json files, as their authors wrote them.
PUBLISHED: dict[str, dict[str, Any]] = {
    "Llama-2-7b": {
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "max_position_embeddings": 4096,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 32,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "vocab_size": 32000,
    },
    "Llama-3.2-1B": {
        "model_type": "llama",
        "attention_bias": False,
        "head_dim": 64,
        "hidden_act": "silu",
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "max_position_embeddings": 131072,
        "mlp_bias": False,
        "num_attention_heads": 32,
        "num_hidden_layers": 16,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "factor": 32.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
        "vocab_size": 128256,
    },
    "SmolLM2-135M": {
        "model_type": "llama",
        "attention_bias": False,
        "hidden_act": "silu",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "max_position_embeddings": 8192,
        "num_attention_heads": 9,
        "num_hidden_layers": 30,
        "num_key_value_heads": 3,
        "rms_norm_eps": 1e-05,
        "rope_interleaved": False,
        "rope_theta": 100000,
        "tie_word_embeddings": True,
        "vocab_size": 49152,
    },
    "SmolLM3-3B": {
        "model_type": "smollm3",
        "attention_bias": False,
        "hidden_act": "silu",
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "max_position_embeddings": 65536,
        "max_window_layers": 28,
        "mlp_bias": False,
        "no_rope_layer_interval": 4,
        "no_rope_layers": [1, 1, 1, 0] * 9,
        "num_attention_heads": 16,
        "num_hidden_layers": 36,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 5000000.0,
        "sliding_window": None,
        "use_sliding_window": False,
        "vocab_size": 128256,
    },
    "Mistral-7B-v0.1": {
        "model_type": "mistral",
        "hidden_act": "silu",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "max_position_embeddings": 32768,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0,
        "sliding_window": 4096,
        "tie_word_embeddings": False,
        "vocab_size": 32000,
    },
    "Mixtral-8x7B-v0.1": {
        "model_type": "mixtral",
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "max_position_embeddings": 32768,
        "num_attention_heads": 32,
        "num_experts_per_tok": 2,
        "num_hidden_layers": 32,
        "num_key_value_heads": 8,
        "num_local_experts": 8,
        "output_router_logits": False,
        "rms_norm_eps": 1e-05,
        "rope_theta": 1000000.0,
        "router_aux_loss_coef": 0.02,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "vocab_size": 32000,
    },
    "Qwen2.5-7B": {
        "model_type": "qwen2",
        "hidden_act": "silu",
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "max_position_embeddings": 131072,
        "max_window_layers": 28,
        "num_attention_heads": 28,
        "num_hidden_layers": 28,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 131072,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "vocab_size": 152064,
    },
    "Qwen3-0.6B": {
        "model_type": "qwen3",
        "attention_bias": False,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "max_position_embeddings": 40960,
        "max_window_layers": 28,
        "num_attention_heads": 16,
        "num_hidden_layers": 28,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "vocab_size": 151936,
    },
    "Qwen3-30B-A3B": {
        "model_type": "qwen3_moe",
        "attention_bias": False,
        "decoder_sparse_step": 1,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "max_position_embeddings": 40960,
        "max_window_layers": 48,
        "mlp_only_layers": [],
        "moe_intermediate_size": 768,
        "norm_topk_prob": True,
        "num_attention_heads": 32,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "num_hidden_layers": 48,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000.0,
        "router_aux_loss_coef": 0.001,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "vocab_size": 151936,
    },
    "Qwen1.5-MoE-A2.7B": {
        "model_type": "qwen2_moe",
        "decoder_sparse_step": 1,
        "hidden_act": "silu",
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "max_position_embeddings": 8192,
        "max_window_layers": 21,
        "moe_intermediate_size": 1408,
        "norm_topk_prob": False,
        "num_attention_heads": 16,
        "num_experts": 60,
        "num_experts_per_tok": 4,
        "num_hidden_layers": 24,
        "num_key_value_heads": 16,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "router_aux_loss_coef": 0.001,
        "shared_expert_intermediate_size": 5632,
        "sliding_window": 32768,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "vocab_size": 151936,
    },
    "gemma-2b": {
        "model_type": "gemma",
        "attention_bias": False,
        "head_dim": 256,
        "hidden_act": "gelu",
        "hidden_size": 2048,
        "intermediate_size": 16384,
        "max_position_embeddings": 8192,
        "num_attention_heads": 8,
        "num_hidden_layers": 18,
        "num_key_value_heads": 1,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "vocab_size": 256000,
    },
    "gemma-2-2b": {
        "model_type": "gemma2",
        "attention_bias": False,
        "attn_logit_softcapping": 50.0,
        "cache_implementation": "hybrid",
        "final_logit_softcapping": 30.0,
        "head_dim": 256,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "max_position_embeddings": 8192,
        "num_attention_heads": 8,
        "num_hidden_layers": 26,
        "num_key_value_heads": 4,
        "query_pre_attn_scalar": 256,
        "rms_norm_eps": 1e-06,
        "rope_theta": 10000.0,
        "sliding_window": 4096,
        "vocab_size": 256000,
    },
    "gemma-3-1b": {
        "model_type": "gemma3_text",
        "attention_bias": False,
        "attn_logit_softcapping": None,
        "cache_implementation": "hybrid",
        "final_logit_softcapping": None,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": 1152,
        "intermediate_size": 6912,
        "max_position_embeddings": 32768,
        "num_attention_heads": 4,
        "num_hidden_layers": 26,
        "num_key_value_heads": 1,
        "query_pre_attn_scalar": 256,
        "rms_norm_eps": 1e-06,
        "rope_local_base_freq": 10000,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": 512,
        "sliding_window_pattern": 6,
        "vocab_size": 262144,
    },
    "gemma-3-4b": {
        "model_type": "gemma3",
        "text_config": {
            "hidden_size": 2560,
            "intermediate_size": 10240,
            "model_type": "gemma3_text",
            "num_hidden_layers": 34,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "sliding_window": 1024,
        },
        "vision_config": {"hidden_size": 1152, "model_type": "siglip_vision_model"},
    },
    "Phi-3-mini-4k": {
        "model_type": "phi3",
        "attention_dropout": 0.0,
        "embd_pdrop": 0.0,
        "hidden_act": "silu",
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "max_position_embeddings": 4096,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 32,
        "original_max_position_embeddings": 4096,
        "resid_pdrop": 0.0,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "sliding_window": 2047,
        "tie_word_embeddings": False,
        "vocab_size": 32064,
    },
    "Phi-3-mini-128k": {
        "model_type": "phi3",
        "hidden_act": "silu",
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "max_position_embeddings": 131072,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 32,
        "original_max_position_embeddings": 4096,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "long_factor": [1.0 + 0.5 * i for i in range(48)],
            "short_factor": [1.0 + 0.01 * i for i in range(48)],
            "type": "longrope",
        },
        "rope_theta": 10000.0,
        "sliding_window": 262144,
        "tie_word_embeddings": False,
        "vocab_size": 32064,
    },
    "Phi-4-mini": {
        "model_type": "phi3",
        "hidden_act": "silu",
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "max_position_embeddings": 131072,
        "num_attention_heads": 24,
        "num_hidden_layers": 32,
        "num_key_value_heads": 8,
        "original_max_position_embeddings": 4096,
        "partial_rotary_factor": 0.75,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "long_factor": [1.0 + 0.5 * i for i in range(48)],
            "short_factor": [1.0] * 48,
            "type": "longrope",
        },
        "rope_theta": 10000.0,
        "sliding_window": 262144,
        "tie_word_embeddings": True,
        "vocab_size": 200064,
    },
    "OLMo-2-7B": {
        "model_type": "olmo2",
        "attention_bias": False,
        "hidden_act": "silu",
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "max_position_embeddings": 4096,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 32,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 500000,
        "tie_word_embeddings": False,
        "vocab_size": 100352,
    },
    "gpt2": {
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "attn_pdrop": 0.1,
        "embd_pdrop": 0.1,
        "layer_norm_epsilon": 1e-05,
        "n_ctx": 1024,
        "n_embd": 768,
        "n_head": 12,
        "n_layer": 12,
        "n_positions": 1024,
        "resid_pdrop": 0.1,
        "vocab_size": 50257,
    },
    "pythia-160m": {
        "model_type": "gpt_neox",
        "hidden_act": "gelu",
        "hidden_size": 768,
        "intermediate_size": 3072,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 2048,
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "rotary_emb_base": 10000,
        "rotary_pct": 0.25,
        "tie_word_embeddings": False,
        "use_parallel_residual": True,
        "vocab_size": 50304,
    },
    "gpt-neox-20b": {
        "model_type": "gpt_neox",
        "attention_probs_dropout_prob": 0,
        "hidden_act": "gelu_fast",
        "hidden_dropout_prob": 0,
        "hidden_size": 6144,
        "intermediate_size": 24576,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 2048,
        "num_attention_heads": 64,
        "num_hidden_layers": 44,
        "rotary_emb_base": 10000,
        "rotary_pct": 0.25,
        "tie_word_embeddings": False,
        "use_parallel_residual": True,
        "vocab_size": 50432,
    },
}


def by_transformers(fields: dict[str, Any]) -> dict[str, Any]:
    """The same config, completed and modernised by transformers."""
    return CONFIG_MAPPING[fields["model_type"]](**json.loads(json.dumps(fields))).to_dict()


@pytest.mark.parametrize("fields", PUBLISHED.values(), ids=PUBLISHED)
def test_a_published_config_means_what_it_means_to_transformers(fields: dict[str, Any]) -> None:
    read = BY_MODEL_TYPE[fields["model_type"]].read
    assert read(fields, {}) == read(by_transformers(fields), {})


@pytest.mark.parametrize("fields", PUBLISHED.values(), ids=PUBLISHED)
def test_what_a_file_leaves_out_means_what_it_means_to_transformers(fields: dict[str, Any]) -> None:
    compared = 0
    for left_out in fields.keys() - {"model_type"}:
        rest = {name: value for name, value in fields.items() if name != left_out}
        ours = meaning(rest)
        if isinstance(ours, KeyError):
            assert ours.args[0] == left_out  # named, and the file is refused
            continue
        try:
            modern = by_transformers(rest)
        except StrictDataclassError:  # as for the factors of longrope, where they no longer fit
            assert ours is None
            continue
        assert ours == meaning(modern), left_out
        compared += ours is not None
    assert compared >= (1 if fields["model_type"] == "gemma3" else 5)


def meaning(fields: dict[str, Any]) -> ModelConfig | KeyError | None:
    """The config that Lavra reads; or what a file lacks; or None where it contradicts itself."""
    try:
        return BY_MODEL_TYPE[fields["model_type"]].read(fields, {})
    except KeyError as error:
        return error
    except LavraError:
        return None


@pytest.mark.parametrize("old", ["su", "yarn"])
def test_longrope_is_known_by_its_first_names(old: str) -> None:
    fields = PUBLISHED["Phi-3-mini-128k"]
    before = {**fields, "rope_scaling": {**fields["rope_scaling"], "type": old}}
    assert meaning(before) == meaning(fields)


def base(kind: str) -> dict[str, Any]:
    return next(dict(fields) for fields in PUBLISHED.values() if fields["model_type"] == kind)


@pytest.mark.parametrize(
    ("kind", "changes", "sentence"),
    [
        ("llama", {"quantization_config": {"quant_method": "gptq"}}, "weights that another library quantised"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial rotary positions"),
        ("llama", {"architectures": ["LlamaForQuestionAnswering"]}, "a head that marks spans"),
        ("mistral", {"layer_types": ["sliding_attention", "full_attention"] * 16}, "layers of two types"),
        ("qwen2", {"layer_types": ["chunked_attention"] * 28}, "layers of type 'chunked_attention'"),
        ("qwen2", {"layer_types": ["full_attention"] * 27}, "27 layer_types for 28 layers"),
        ("qwen2", {"layer_types": ["sliding_attention"] * 28}, "there is no sliding_window"),
        ("gemma", {"use_bidirectional_attention": True}, "a Gemma that sees what follows"),
        (
            "gemma3_text",
            {"rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2.0}}},
            "scaled rotary positions in layers with a window",
        ),
        ("gemma3_text", {"attn_logit_softcapping": 50.0}, "a cap on scores"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scaled by the number of the layer"),
        ("gpt2", {"add_cross_attention": True}, "attends to an encoder"),
        ("gpt2", {"architectures": ["GPT2ForTokenClassification"]}, "labels tokens"),
        ("qwen3_moe", {"num_experts_per_tok": 129}, "129 of 128 experts"),
        ("qwen3_moe", {"mlp_only_layers": ["first"]}, "dense_layers"),
        ("phi3", {"partial_rotary_factor": 0.01}, "rotary_width"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_would_change_the_answer_is_refused(kind: str, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LavraError, match=sentence):
        BY_MODEL_TYPE[kind].read({**base(kind), **changes}, {})


def llama_config(**changes: Any) -> ModelConfig:
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = DECODERS["llama"].read({**base("llama"), **small, "num_key_value_heads": 2, "vocab_size": 50}, {})
    return ModelConfig(**{**vars(config), **changes})


@pytest.mark.parametrize(
    ("kind", "changes", "named"),
    [
        ("llama", {"qk_norm": "head"}, "qk_norm"),
        ("llama", {"window": 7}, "window"),
        ("llama", {"positions": "none"}, "positions"),
        ("llama", {"relative": "alibi"}, "relative"),
        ("llama", {"output_bias": True}, "output_bias"),
        ("llama", {"experts": Experts(4, 2, 48)}, "experts"),
        ("llama", {"residual_scale": 0.5}, "residual_scale"),
        ("llama", {"embedding_scale": 2.0}, "embedding_scale"),
        ("llama", {"width": 30}, "4 heads that do not divide width 30"),
        ("llama", {"rope_scaling": RotaryScaling("ntk", factor=2.0)}, "ntk"),
        ("mistral", {"window": 7, "local_layers": (0,)}, "local_layers"),
        ("mixtral", {}, "mixtures of experts"),
        ("qwen3_moe", {"qk_norm": "head", "experts": Experts(4, 2, 24, shared_width=8)}, "experts"),
        ("gemma2", {}, "norm_position"),
        ("phi3", {"rope_scaling": RotaryScaling("linear", factor=2.0)}, "longrope"),
        ("gpt2", {}, "kv_heads"),
        ("gpt_neox", {"kv_heads": 4}, "norm"),
        ("olmo2", {}, "norm_position"),
    ],
)
def test_a_family_refuses_to_write_what_its_format_cannot_say(kind: str, changes: dict[str, Any], named: str) -> None:
    write = DECODERS[kind].write
    assert write is not None
    with pytest.raises(LavraError, match=named):
        write(llama_config(**changes))


@given(whole=st.integers(2, 4096), part=st.integers(1, 4096))
def test_a_part_of_a_head_survives_being_a_fraction(whole: int, part: int) -> None:
    assume(part <= whole)
    assert int(whole * fraction(part, whole)) == part


def scalings(context: int, turning: int) -> st.SearchStrategy[RotaryScaling | None]:
    factors = st.lists(st.floats(1.0, 8.0), min_size=turning // 2, max_size=turning // 2).map(tuple)
    factor = st.floats(1.0, 8.0)
    original = st.integers(8, context)
    return st.one_of(
        st.none(),
        st.builds(RotaryScaling, st.just("linear"), factor=factor),
        st.builds(RotaryScaling, st.just("dynamic"), factor=factor, original_context=st.just(context)),
        st.builds(
            RotaryScaling,
            st.just("yarn"),
            factor=factor,
            original_context=original,
            attention_factor=st.none() | st.floats(0.5, 2.0),
            truncate=st.booleans(),
        ),
        st.builds(RotaryScaling, st.just("llama3"), factor=factor, original_context=original),
        st.builds(
            RotaryScaling, st.just("longrope"), factor=factor, original_context=original, short=factors, long=factors
        ),
    )


@st.composite
def configs(draw: st.DrawFn) -> tuple[str, ModelConfig]:
    """A family, and a small config that mixes its own choices with some of others'."""
    kind = draw(st.sampled_from(sorted(DECODERS.keys() - {"gemma3"})))
    gpt, gemma = kind.startswith("gpt"), kind.startswith("gemma")
    newer = kind in ("gemma2", "gemma3_text")
    layers, heads = draw(st.integers(1, 4)), draw(st.sampled_from([2, 4]))
    kv_heads = heads if gpt else draw(st.sampled_from([1, 2]))
    head_width = 8 if gpt or kind == "phi3" else draw(st.sampled_from([4, 8, 16]))
    width, context = heads * 8, draw(st.sampled_from([48, 64]))
    turning = 4 if kind in ("phi3", "gpt_neox") and draw(st.booleans()) else head_width
    positions = "learned" if kind == "gpt2" else "rotary"
    scaling = draw(scalings(context, turning)) if positions == "rotary" and draw(st.booleans()) else None
    if kind == "phi3" and scaling is not None and scaling.kind != "longrope":
        scaling = None
    some = st.sets(st.integers(0, layers - 1), min_size=1).map(lambda found: tuple(sorted(found)))
    window = None
    if kind in ("smollm3", "mistral", "mixtral", "phi3", "gemma2", "gemma3_text") or kind.startswith("qwen"):
        window = draw(st.none() | st.integers(2, 9))
    whole = kind in ("mistral", "mixtral", "phi3", "qwen3_moe")
    local = draw(st.none() | some) if window is not None and not whole else None
    bias = kind != "mistral" and draw(st.booleans())
    experts = None
    if kind in ("mixtral", "qwen2_moe", "qwen3_moe"):
        experts = Experts(
            count=4,
            chosen=draw(st.integers(1, 4)),
            width=24,
            normalised=kind == "mixtral" or draw(st.booleans()),
            every=1 if kind == "mixtral" else draw(st.integers(1, 2)),
            dense_layers=() if kind == "mixtral" else draw(st.just(()) | some),
            shared_width=16 if kind == "qwen2_moe" else 0,
            shared_gate=kind == "qwen2_moe",
            balance=0.01,
        )
    return kind, ModelConfig(
        vocabulary_size=60,
        context_length=context,
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        hidden_width=24 if kind == "mixtral" else 40,
        causal=True,
        norm="layer" if gpt else "rms",
        norm_epsilon=draw(st.sampled_from([1e-6, 1e-5, 1e-3])),
        norm_position="after" if kind == "olmo2" else "both" if newer else "pre",
        norm_plus_one=gemma,
        parallel=kind == "gpt_neox" and draw(st.booleans()),
        positions=positions,
        rope_theta=10_000.0 if kind == "gpt2" else draw(st.sampled_from([10_000.0, 123_456.5])),
        rope_scaling=scaling,
        rotary_width=None if turning == head_width else turning,
        unrotated_layers=draw(st.just(()) | some) if kind == "smollm3" else (),
        local_rope_theta=5_000.0 if kind == "gemma3_text" and window else None,
        window=window,
        local_layers=local,
        attention_scale=draw(st.sampled_from([None, 12**-0.5])) if newer else None,
        attention_soft_cap=draw(st.none() | st.just(3.0)) if kind == "gemma2" else None,
        logit_soft_cap=draw(st.none() | st.just(5.0)) if newer else None,
        qk_norm={"olmo2": "all", "qwen3": "head", "qwen3_moe": "head", "gemma3_text": "head"}.get(kind, "none"),
        attention_bias=kind in ("qwen2", "gpt2") or (bias and kind not in ("mixtral", "phi3")),
        output_bias=kind == "gpt2" or (bias and kind not in ("qwen2", "qwen2_moe", "mixtral", "phi3")),
        mlp_bias=gpt or (kind in ("llama", "smollm3") and draw(st.booleans())),
        # What a Gemma 1 calls gelu is the approximation.
        activation=draw(st.sampled_from(["silu", "gelu_tanh", "relu", "relu" if kind == "gemma" else "gelu"])),
        gated=not gpt,
        experts=experts,
        tied_embeddings=draw(st.booleans()),
        embedding_scale=width**0.5 if gemma else 1.0,
    )


@settings(max_examples=400, deadline=None)
@given(drawn=configs())
def test_whatever_a_family_can_be_is_written_and_read_again(drawn: tuple[str, ModelConfig]) -> None:
    kind, config = drawn
    family = DECODERS[kind]
    assert family.write is not None
    fields = family.write(config)
    assert plain(family.read(fields, {})) == plain(config)
    assert json.loads(json.dumps(fields)) == fields
    # transformers accepts it, and understands the same.
    assert plain(family.read(by_transformers(fields), {})) == plain(config)


@settings(max_examples=400, deadline=None)
@given(drawn=configs(), other=st.sampled_from(sorted(DECODERS.keys() - {"gemma3"})))
def test_no_family_writes_another_s_model_as_something_else(drawn: tuple[str, ModelConfig], other: str) -> None:
    _, config = drawn
    family = DECODERS[other]
    assert family.write is not None
    try:
        fields = family.write(config)
    except LavraError:
        return
    assert plain(family.read(fields, {})) == plain(config)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=configs(), seed=st.integers(0, 1000))
def test_a_model_made_here_is_the_same_to_transformers(
    drawn: tuple[str, ModelConfig], seed: int, tmp_path: Path, record: judge.Record
) -> None:
    kind, config = drawn
    model = build(config)
    assert isinstance(model, Transformer)
    initialise(model, seed)
    for parameter in model.parameters():
        parameter.data.mul_(5.0 if parameter.dim() > 1 else 1.0)
    judge.perturb(model)
    save_model(model, tmp_path / "model", family=kind, overwrite=True)
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "model", attn_implementation="eager").eval()
    judge.compare_logits(reference, model, judge.random_ids(60, 2, 40), record, kind, "logits")
    judge.compare_logits(
        reference, load_model(tmp_path / "model", dtype=torch.float32), judge.random_ids(60, 2, 7), record, kind
    )
    assert read_json(tmp_path / "model" / "config.json")["model_type"] == kind
