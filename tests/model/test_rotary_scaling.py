"""Scaled rotary positions are those of transformers: the frequencies themselves, and through a model's logits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import judge
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM, Phi3Config, Phi3ForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from lavra.errors import LavraError
from lavra.model.config import RotaryScaling
from lavra.model.families import BY_MODEL_TYPE
from lavra.model.families.hf_fields import read_rotary, write_scaling
from lavra.model.longer import lengthen
from lavra.model.positions import RotaryCache, rotary_frequencies
from lavra.model.transformer import Transformer
from lavra.model.weights import load_model

WIDTH = 16
SHORT, LONG = [1.0 + 0.1 * i for i in range(WIDTH // 2)], [2.0 + 0.7 * i for i in range(WIDTH // 2)]
ORIGINAL = {"original_max_position_embeddings": 32}
SCALINGS: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "factor": 3.0},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, **ORIGINAL},
    "yarn, not truncated": {"rope_type": "yarn", "factor": 4.0, "truncate": False, **ORIGINAL},
    "yarn, other turns": {"rope_type": "yarn", "factor": 8.0, "beta_fast": 3.0, "beta_slow": 0.5, **ORIGINAL},
    "yarn, temperature": {"rope_type": "yarn", "factor": 4.0, "attention_factor": 0.8, **ORIGINAL},
    "yarn, two scales": {"rope_type": "yarn", "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 1.3, **ORIGINAL},
    "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, **ORIGINAL},
    "longrope": {"rope_type": "longrope", "short_factor": SHORT, "long_factor": LONG, "factor": 4.0, **ORIGINAL},
    "longrope, no factor": {"rope_type": "longrope", "short_factor": SHORT, "long_factor": LONG, **ORIGINAL},
}


def llama_config(rope: dict[str, Any], *, heads: int = 3, width: int = WIDTH, context: int = 128) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=100,
        hidden_size=heads * width,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=heads,
        num_key_value_heads=1,
        max_position_embeddings=context,
        initializer_range=0.3,
        rope_parameters={"rope_theta": 10_000.0, **rope},
    )


def assert_same_frequencies(config: LlamaConfig, length: int) -> None:
    got = read_rotary(config.to_dict(), config.head_dim)
    frequency, factor = rotary_frequencies(config.head_dim, got["rope_theta"], got["rope_scaling"], length)
    kind = config.rope_parameters["rope_type"]
    expected, attention = ROPE_INIT_FUNCTIONS[kind](config, "cpu", seq_len=length)
    torch.testing.assert_close(frequency, expected, atol=1e-5, rtol=1e-5)
    assert factor == pytest.approx(attention, rel=1e-6)


@pytest.mark.parametrize("length", [1, 32, 33, 128, 200, 1000])
@pytest.mark.parametrize("rope", SCALINGS.values(), ids=SCALINGS)
def test_frequencies_are_those_of_transformers(rope: dict[str, Any], length: int) -> None:
    assert_same_frequencies(llama_config(dict(rope)), length)


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(["linear", "dynamic", "yarn", "llama3"]),
    half=st.integers(2, 64),
    theta=st.floats(100.0, 1e7),
    factor=st.floats(1.0, 64.0),
    original=st.integers(4, 8192),
    times=st.integers(1, 32),
    low=st.floats(0.1, 3.0),
    gap=st.floats(0.1, 40.0),
    truncate=st.booleans(),
    length=st.integers(1, 20_000),
)
def test_any_scaling_has_the_frequencies_of_transformers(
    kind: str,
    half: int,
    theta: float,
    factor: float,
    original: int,
    times: int,
    low: float,
    gap: float,
    truncate: bool,
    length: int,
) -> None:
    rope: dict[str, Any] = {"rope_type": kind, "rope_theta": theta, "factor": factor}
    if kind in ("yarn", "llama3"):
        rope["original_max_position_embeddings"] = original
    if kind == "yarn":
        rope |= {"beta_slow": low, "beta_fast": low + gap, "truncate": truncate}
    if kind == "llama3":
        rope |= {"low_freq_factor": low, "high_freq_factor": low + gap}
    config = llama_config(rope, width=2 * half, context=original * times)
    assert_same_frequencies(config, length)
    # And what is written says the same.
    got = read_rotary(config.to_dict(), config.head_dim)
    entry = write_scaling(got["rope_theta"], got["rope_scaling"])
    assert read_rotary({"max_position_embeddings": original * times, "rope_parameters": entry}, config.head_dim) == got


@pytest.mark.parametrize("time", [20, 60])  # within the original context, and beyond it
@pytest.mark.parametrize("rope", SCALINGS.values(), ids=SCALINGS)
def test_logits_with_scaled_positions_are_those_of_transformers(
    rope: dict[str, Any], time: int, tmp_path: Path, record: judge.Record
) -> None:
    torch.manual_seed(0)
    context = 32 if rope["rope_type"] == "dynamic" else 128
    reference = judge.perturb(LlamaForCausalLM(llama_config(dict(rope), context=context)))
    reference.save_pretrained(tmp_path)
    model = load_model(tmp_path, dtype=torch.float32)
    text = judge.random_ids(100, time=time)
    judge.compare_logits(reference, model, text, record, "llama", "rotary scaling")
    judge.compare_cache(reference, model, text, record, "llama")


@pytest.mark.parametrize("time", [20, 60])
def test_phi3_turns_a_part_of_each_head_by_long_and_short_factors(
    time: int, tmp_path: Path, record: judge.Record
) -> None:
    torch.manual_seed(0)
    config = Phi3Config(
        vocab_size=100,
        hidden_size=96,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        original_max_position_embeddings=32,
        pad_token_id=0,
        initializer_range=0.15,
        partial_rotary_factor=0.75,
        rope_scaling={"type": "longrope", "short_factor": [*SHORT, 1.0], "long_factor": [*LONG, 9.0]},
    )
    reference = judge.perturb(Phi3ForCausalLM(config))
    reference.save_pretrained(tmp_path)
    model = load_model(tmp_path, dtype=torch.float32)
    assert model.config.rotary_width == 18
    text = judge.random_ids(100, time=time)
    judge.compare_logits(reference, model, text, record, "phi3", "rotary scaling")
    judge.compare_left_padding(reference, model, text, record, "phi3")
    judge.compare_cache(reference, model, text, record, "phi3")


def test_gpt_neox_scales_too(tmp_path: Path, record: judge.Record) -> None:
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=100,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=3,
        max_position_embeddings=128,
        initializer_range=0.3,
        rotary_pct=0.5,
        rope_scaling={"type": "linear", "factor": 2.0},
    )
    reference = judge.perturb(GPTNeoXForCausalLM(config))
    reference.save_pretrained(tmp_path)
    text = judge.random_ids(100)
    model = load_model(tmp_path, dtype=torch.float32)
    judge.compare_logits(reference, model, text, record, "gpt_neox", "rotary scaling")


LONGROPE = RotaryScaling("longrope", factor=4.0, original_context=32, short=tuple(SHORT), long=tuple(LONG))


def test_a_cache_whose_positions_would_change_does_not_grow(tmp_path: Path) -> None:
    LlamaForCausalLM(llama_config(dict(SCALINGS["longrope"]))).save_pretrained(tmp_path)
    model = load_model(tmp_path, dtype=torch.float32)
    assert isinstance(model, Transformer)
    cache = model.make_cache(16)
    cache.grow(24)
    with torch.inference_mode():
        model(judge.random_ids(100, 1, 5), cache=cache)
    cache.grow(32)  # still within the original context
    with pytest.raises(LavraError, match="give the cache its final capacity"):
        cache.grow(33)


def test_tables_are_kept_for_few_lengths_only() -> None:
    dynamic = RotaryCache(WIDTH, 10_000.0, RotaryScaling("dynamic", factor=2.0, original_context=8))
    for length in range(9, 200):
        dynamic(slice(0, length), torch.float32, torch.device("cpu"))
    assert len(dynamic._tables) == 1
    longrope = RotaryCache(WIDTH, 10_000.0, LONGROPE)
    for length in range(1, 200):
        longrope(slice(0, length), torch.float32, torch.device("cpu"))
    assert len(longrope._tables) == 2


def test_ntk_raises_the_base_and_stretches_the_lowest_frequency_by_the_factor() -> None:
    plain, _ = rotary_frequencies(WIDTH, 10_000.0, None, 1)
    ntk, _ = rotary_frequencies(WIDTH, 10_000.0, RotaryScaling("ntk", factor=5.0), 1)
    assert ntk[0] == plain[0]
    assert (plain[-1] / ntk[-1]).item() == pytest.approx(5.0, rel=1e-4)
    with pytest.raises(LavraError, match="cannot say ntk"):
        write_scaling(10_000.0, RotaryScaling("ntk", factor=5.0))


def test_longrope_refuses_factors_that_are_no_numbers() -> None:
    for wrong in ((0.0,) * 8, (float("nan"),) * 8, ("1",) * 8, (-1.0,) * 8):
        with pytest.raises(LavraError, match="positive numbers"):
            replace(LONGROPE, short=wrong)


@pytest.mark.parametrize("context", [160, 256, 1024])
def test_a_lengthened_model_turns_as_the_dynamic_rule_does_at_that_length(context: int) -> None:
    config = llama_config({"rope_type": "dynamic", "factor": 2.0})
    expected, _ = ROPE_INIT_FUNCTIONS["dynamic"](config, "cpu", seq_len=context)
    plain = BY_MODEL_TYPE["llama"].read(llama_config({"rope_type": "default"}).to_dict(), {})
    longer = lengthen(plain, context)
    assert longer.context_length == context
    assert longer.rope_scaling is None  # every reader of the model knows a base
    got, _ = rotary_frequencies(longer.turning, longer.rope_theta, None, context)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert lengthen(plain, 64) == plain
