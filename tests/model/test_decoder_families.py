"""Every decoder family: tiny random models of transformers compute the same when Lavra reads what they saved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import judge
import pytest
import torch
import transformers
from torch import Tensor

from lavra.model.attention import Mask
from lavra.model.families import BY_MODEL_TYPE
from lavra.model.heads import classify, reward
from lavra.model.transformer import Transformer
from lavra.model.weights import load_model, open_model
from lavra.model.writing import save_model

VOCABULARY = 120
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,  # large enough for a wrong weight to show
    "pad_token_id": 0,
}
EXPERTS = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
MANY = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
WINDOW = 8

# By name: what transformers' classes begin with, fields beside the sizes.
Case = tuple[str, dict[str, Any]]
CASES: dict[str, Case] = {
    "llama": ("Llama", {}),
    "llama, biases, own head width": ("Llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 12}),
    "smollm2": ("Llama", {"tie_word_embeddings": True}),
    "smollm3": ("SmolLM3", {"no_rope_layers": [1, 0, 1, 0], "tie_word_embeddings": True}),
    "smollm3, window": ("SmolLM3", {"no_rope_layer_interval": 2, "use_sliding_window": True, "sliding_window": WINDOW}),
    "mistral": ("Mistral", {"sliding_window": None, "head_dim": 12}),
    "mistral, window": ("Mistral", {"sliding_window": WINDOW}),
    "mixtral": ("Mixtral", {"num_local_experts": 5, "sliding_window": WINDOW}),
    "qwen2": ("Qwen2", {}),
    "qwen2, window": ("Qwen2", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 2}),
    "qwen2, layer types": ("Qwen2", {"use_sliding_window": True, "sliding_window": WINDOW, "layer_types": MANY}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "qwen3, window, biases": (
        "Qwen3",
        {"attention_bias": True, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
    "qwen2_moe": (
        "Qwen2Moe",
        {**EXPERTS, "shared_expert_intermediate_size": 40, "norm_topk_prob": True, "qkv_bias": False},
    ),
    "qwen2_moe, window": (
        "Qwen2Moe",
        {
            **EXPERTS,
            "shared_expert_intermediate_size": 40,
            "use_sliding_window": True,
            "sliding_window": WINDOW,
            "max_window_layers": 3,
        },
    ),
    "qwen3_moe": ("Qwen3Moe", {**EXPERTS, "head_dim": 16, "norm_topk_prob": True}),
    "qwen3_moe, some dense": (
        "Qwen3Moe",
        {
            **EXPERTS,
            "decoder_sparse_step": 2,
            "mlp_only_layers": [3],
            "use_sliding_window": True,
            "sliding_window": WINDOW,
        },
    ),
    "gemma": ("Gemma", {"head_dim": 16}),
    "gemma2": ("Gemma2", {"head_dim": 16, "query_pre_attn_scalar": 24, "sliding_window": WINDOW}),
    "gemma2, caps": (
        "Gemma2",
        {"head_dim": 16, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "sliding_window": WINDOW},
    ),
    "gemma3_text": (
        "Gemma3Text",
        {"head_dim": 16, "query_pre_attn_scalar": 24, "sliding_window": WINDOW, "layer_types": MANY},
    ),
    "phi3": ("Phi3", {"resid_pdrop": 0.0}),
    "phi3, partial, window": (
        "Phi3",
        {
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5},
            "sliding_window": WINDOW,
        },
    ),
    "olmo2": ("Olmo2", {}),
    "gpt2": ("GPT2", {}),
    "gpt2, other choices": (
        "GPT2",
        {"n_inner": 72, "activation_function": "relu", "scale_attn_weights": False, "tie_word_embeddings": False},
    ),
    "gpt_neox": ("GPTNeoX", {"rotary_pct": 0.5}),
    "gpt_neox, in sequence": ("GPTNeoX", {"use_parallel_residual": False, "attention_bias": False}),
}
WINDOWED = [name for name, (_, fields) in CASES.items() if fields.get("sliding_window")]

CLASSES = {"Gemma3Text": "Gemma3ForCausalLM", "GPT2": "GPT2LMHeadModel"}
GPT2_NAMES = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "max_position_embeddings": "n_positions",
}


def make(case: str | Case, ending: str = "ForCausalLM", **changes: Any) -> Any:
    """A random model of transformers, in float32, with every vector moved off zero and one."""
    stem, fields = CASES[case] if isinstance(case, str) else case
    sizes = dict(SIZES)
    if stem in ("GPT2", "GPTNeoX"):
        del sizes["num_key_value_heads"]
    if stem == "GPT2":
        del sizes["intermediate_size"]
        sizes = {GPT2_NAMES.get(name, name): value for name, value in sizes.items()}
    torch.manual_seed(0)
    config = getattr(transformers, stem + "Config")(**(sizes | fields | changes))
    # Only the eager attention knows every option (soft caps).
    config._attn_implementation = "eager"
    name = CLASSES.get(stem, stem + ending) if ending == "ForCausalLM" else stem + ending
    return judge.perturb(getattr(transformers, name)(config))


Pair = tuple[Any, Transformer, Path]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """transformers' model, Lavra's reading of it, and the directory between them; each made once."""
    made: dict[str, Pair] = {}

    def get(name: str) -> Pair:
        if name not in made:
            path = tmp_path_factory.mktemp("model")
            reference = make(name)
            reference.save_pretrained(path)
            made[name] = reference, load_model(path, dtype=torch.float32), path
        return made[name]

    return get


def ids(time: int = 30) -> Tensor:
    return judge.random_ids(VOCABULARY, time=time)


every = pytest.mark.parametrize("name", CASES)


def family_of(name: str) -> str:
    return name.partition(",")[0]


@every
def test_logits_are_those_of_transformers(name: str, pair: Callable[[str], Pair], record: judge.Record) -> None:
    reference, model, _ = pair(name)
    judge.compare_logits(reference, model, ids(), record, family_of(name))


@every
def test_left_padding_changes_nothing(name: str, pair: Callable[[str], Pair], record: judge.Record) -> None:
    reference, model, _ = pair(name)
    judge.compare_left_padding(reference, model, ids(), record, family_of(name))


@every
def test_packed_texts_are_each_as_if_alone(name: str, pair: Callable[[str], Pair], record: judge.Record) -> None:
    reference, model, _ = pair(name)
    judge.compare_packed(reference, model, ids(), record, family_of(name))


@every
def test_decoding_with_a_cache_is_the_full_forward(
    name: str, pair: Callable[[str], Pair], record: judge.Record
) -> None:
    reference, model, _ = pair(name)
    judge.compare_cache(reference, model, ids(), record, family_of(name))


@pytest.mark.parametrize("name", WINDOWED)
def test_texts_longer_than_the_window_agree(name: str, pair: Callable[[str], Pair], record: judge.Record) -> None:
    reference, model, _ = pair(name)
    assert model.config.window == WINDOW
    judge.compare_window(reference, model, ids(4 * WINDOW), record, family_of(name))


@every
def test_what_is_written_transformers_loads_and_computes_the_same(
    name: str, pair: Callable[[str], Pair], record: judge.Record, tmp_path: Path
) -> None:
    reference, model, path = pair(name)
    kind = json.loads((path / "config.json").read_text())["model_type"]
    written = tmp_path / "written"
    assert save_model(model, written, family=kind) == kind
    again, info = transformers.AutoModelForCausalLM.from_pretrained(
        written, attn_implementation="eager", output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert type(again) is type(reference)
    weights, expected = again.state_dict(), reference.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[key], expected[key]) for key in expected)
    text = ids()
    expected = judge.reference_output(reference, text)
    judge.assert_near(judge.reference_output(again, text), expected, record, family_of(name), "round trip", 1e-5)
    assert open_model(written)[1] == model.config


@every
def test_a_config_is_what_it_was_when_it_has_been_written_and_read(name: str, pair: Callable[[str], Pair]) -> None:
    _, model, path = pair(name)
    family = BY_MODEL_TYPE[json.loads((path / "config.json").read_text())["model_type"]]
    assert family.write is not None
    assert family.read(family.write(model.config), {}) == model.config


HEADED = ["llama", "qwen3", "gemma", "gemma3_text", "mixtral", "phi3", "gpt2", "gpt_neox"]


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize("name", HEADED)
def test_a_decoder_that_judges_texts_is_read_with_its_head(
    name: str, labels: int, record: judge.Record, tmp_path: Path
) -> None:
    """transformers finds the last token by looking for padding, before a text or behind it; Lavra is told."""
    reference = make(name, "ForSequenceClassification", num_labels=labels)
    reference.save_pretrained(tmp_path / "theirs")
    model = load_model(tmp_path / "theirs", dtype=torch.float32)
    assert model.config.head == ("reward" if labels == 1 else "sequence")
    assert model.config.labels == (() if labels == 1 else ("LABEL_0", "LABEL_1", "LABEL_2"))
    text, place = ids(), torch.arange(30)[None]
    valid = (place >= torch.tensor([[0], [4], [0]])) & (place < torch.tensor([[30], [30], [23]]))
    text[~valid] = 0
    positions = (place - torch.tensor([[0], [4], [0]])).clamp(min=0)
    with torch.inference_mode():
        hidden = model(text, mask=Mask(causal=True, valid_BS=valid))
        got = reward(model, hidden, valid)[:, None] if labels == 1 else classify(model, hidden, valid)
        expected = reference(input_ids=text, attention_mask=valid.long(), position_ids=positions).logits
    judge.assert_near(got, expected, record, name, "classes")
    save_model(model, tmp_path / "ours")
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours")
    assert again.config.num_labels == labels
    assert torch.equal(again.score.weight, reference.score.weight)


@pytest.mark.parametrize("name", ["llama", "qwen3", "mixtral"])
def test_a_decoder_that_labels_tokens_is_read_with_its_head(name: str, record: judge.Record, tmp_path: Path) -> None:
    reference = make(name, "ForTokenClassification", id2label={0: "other", 1: "person", 2: "place"})
    reference.save_pretrained(tmp_path)
    model = load_model(tmp_path, dtype=torch.float32)
    assert model.config.labels == ("other", "person", "place")
    with torch.inference_mode():
        got = classify(model, model(ids()))
    judge.assert_near(got, judge.reference_output(reference, ids()), record, name, "classes")


@pytest.mark.parametrize("name", ["mistral", "olmo2"])
def test_a_decoder_without_a_head_gives_its_states(name: str, record: judge.Record, tmp_path: Path) -> None:
    reference = make(name, "Model")
    reference.save_pretrained(tmp_path)
    model = load_model(tmp_path, dtype=torch.float32)
    assert model.config.head == "none"
    judge.compare_logits(reference, model, ids(), record, name, "states")


def test_of_a_gemma_that_sees_images_the_text_part_is_read(record: judge.Record, tmp_path: Path) -> None:
    torch.manual_seed(0)
    text = {**SIZES, **CASES["gemma3_text"][1]}
    vision = {"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Gemma3Config(
        text_config=text,
        vision_config={**vision, "image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
        image_token_index=100,
        boi_token_index=101,
        eoi_token_index=102,
    )
    reference = judge.perturb(transformers.Gemma3ForConditionalGeneration(config))
    reference.save_pretrained(tmp_path / "theirs")
    model = load_model(tmp_path / "theirs", dtype=torch.float32)
    words = ids() % 100  # ids from 100 on are the places of images
    judge.compare_logits(reference, model, words, record, "gemma3", "logits")
    assert save_model(model, tmp_path / "ours") == "gemma3_text"
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    judge.compare_logits(again, model, words, record, "gemma3", "round trip")
