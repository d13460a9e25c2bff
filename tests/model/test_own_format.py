"""Lavra's own directories: whatever a config can say is saved and comes back, and what a stranger writes is checked."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from lavra.errors import LavraError
from lavra.inference.engine import Engine
from lavra.inference.sampling import Sampling
from lavra.model.base import Model
from lavra.model.building import build, initialise
from lavra.model.config import Experts, Image, Memory, ModelConfig, RotaryScaling, Sparse
from lavra.model.inspection import inspect
from lavra.model.transformer import Transformer
from lavra.model.weights import load_model
from lavra.model.writing import save_model
from lavra.tokens.tokenizer import Tokenizer

VOCABULARY = 50
PLAIN = ModelConfig(
    vocabulary_size=VOCABULARY,
    context_length=32,
    layers=2,
    width=24,
    heads=4,
    kv_heads=2,
    head_width=6,
    hidden_width=40,
    causal=True,
    norm="rms",
    norm_epsilon=1e-5,
    positions="rotary",
    activation="silu",
    gated=True,
)
ENCODER = replace(PLAIN, causal=False, head="none", positions="sinusoidal", kv_heads=4)
TOWER = replace(
    ENCODER, vocabulary_size=0, context_length=5, image=Image(8, 4), positions="learned", projection_width=7
)
EARLIER = {"positions": "none", "heads": 1, "kv_heads": 1}
CONFIGS = {
    "a plain decoder": PLAIN,
    "shaw": replace(PLAIN, positions="none", relative="shaw", relative_distance=5),
    "alibi": replace(PLAIN, positions="none", relative="alibi", tied_embeddings=False),
    "buckets": replace(PLAIN, positions="none", relative="buckets", relative_buckets=8, relative_distance=20),
    "sparse": replace(PLAIN, sparse=Sparse("strided", 2, 3, 4)),
    "a window with sinks": replace(PLAIN, window=5, local_layers=(1,), sinks=2, sink_logits=True),
    "long rope": replace(
        PLAIN, rope_scaling=RotaryScaling("longrope", 4.0, 8, short=(1.0, 1.5, 2.0), long=(2.0, 3, 4.5))
    ),
    "a memory": replace(PLAIN, memory=Memory(6, 4, 3)),
    "experts": replace(PLAIN, experts=Experts(4, 2, 12, shared_width=8, shared_gate=True, dense_layers=(0,))),
    "two stacks": replace(PLAIN, positions="sinusoidal", encoder=ENCODER, logit_soft_cap=9.5),
    "two towers": replace(PLAIN, vision=TOWER, projection_width=7, pooling="end", end_token=3, head="none"),
    "a classifier": replace(PLAIN, head="sequence", labels=("sim", "não"), head_bias=True, tied_embeddings=True),
    "lstm": replace(PLAIN, architecture="lstm", **EARLIER),
    "gru": replace(PLAIN, architecture="gru", norm="layer", output_bias=True, **EARLIER),
    "convolution": replace(PLAIN, architecture="convolution", kernel_width=3, **EARLIER),
}
IDS = torch.randint(4, VOCABULARY, (2, 11), generator=torch.Generator().manual_seed(0))


def made(config: ModelConfig) -> Model:
    model = build(config)
    initialise(model, 0)
    with torch.no_grad():
        for parameter in model.parameters():  # nothing is zero or one, by which a swap would not show
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.3)
    return model.eval()


def output(model: Model) -> Tensor:
    more: dict[str, Any] = {}
    if model.config.encoder is not None:
        assert isinstance(model, Transformer)
        more["source"] = model.encode(IDS)
    with torch.inference_mode():
        return model(IDS, **more)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_every_config_comes_back_and_every_bit_of_its_weights(
    tmp_path: Path, config: ModelConfig, dtype: torch.dtype
) -> None:
    model = made(config).to(dtype)
    path = tmp_path / "model"
    assert save_model(model, path, family="lavra") == "lavra"
    again = load_model(path, dtype=dtype)
    assert again.config == config
    assert type(again) is type(model)
    ours, theirs = dict(model.named_parameters()), dict(again.named_parameters())
    assert ours.keys() == theirs.keys() == load_file(path / "model.safetensors").keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(output(again), output(model))


@pytest.mark.parametrize("name", ["shaw", "sparse", "a memory", "lstm", "convolution"])
def test_what_no_other_format_can_say_is_written_in_lavras(tmp_path: Path, name: str) -> None:
    assert save_model(made(CONFIGS[name]), tmp_path / "model") == "lavra"


def test_what_another_tool_can_load_is_not(tmp_path: Path) -> None:
    assert save_model(made(PLAIN), tmp_path / "model") != "lavra"


@pytest.mark.parametrize("name", ["a memory", "lstm", "gru", "convolution"])
def test_a_saved_model_is_found_to_write_and_the_engine_writes_with_it(tmp_path: Path, name: str) -> None:
    vocabulary = {f"w{number}": number for number in range(VOCABULARY)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="w0"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    path = tmp_path / "model"
    save_model(made(CONFIGS[name]), path, family="lavra", tokenizer=Tokenizer(backend))
    assert inspect(path).kind == "decoder"
    engine = Engine.load(str(path), dtype=torch.float32)
    prompt = engine.tokenizer.encode("w7 w9 w11")
    steps = [step.token_id for step in engine.stream(prompt, Sampling(temperature=0.0, max_tokens=5))]
    assert steps == [step.token_id for step in engine.stream(prompt, Sampling(temperature=0.0, max_tokens=5))]
    assert len(steps) == 5


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "model"
    save_model(made(CONFIGS["two towers"]), path, family="lavra")
    return path


def edited(directory: Path, **changes: Any) -> dict[str, Any]:
    return json.loads((directory / "config.json").read_text()) | changes


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"layers": 10**6}, "layers is 1000000"),
        ({"layers": "2"}, "layers is '2'"),
        ({"layers": 3}, r"lacks the tensors blocks\.2\.attention\.output\.weight"),
        ({"layers": 1}, r"has the tensors blocks\.1\."),
        ({"hidden_width": 41}, r"mlp.*has shape"),
        ({"vision": 3}, "vision is not an object"),
        ({"vision": {"layers": 2}}, "lacks vision.vocabulary_size"),
        ({"memory": {"recent": 4, "compressed": 4, "speed": 1}}, "field 'memory.speed', which this version"),
        ({"colour": "blue"}, "field 'colour', which this version"),
        ({"memory": {"recent": 4}}, "lacks memory.compressed"),
        ({"rope_scaling": {"kind": "yarn", "original_context": 8, "truncate": "no"}}, "truncate is 'no'"),
        (
            {"rope_scaling": {"kind": "longrope", "original_context": 8, "short": ["a"], "long": [1]}},
            "must be positive numbers",
        ),
        ({"experts": {"count": 4, "chosen": 2, "width": 8, "normalised": 1}}, "normalised is 1"),
        ({"experts": {"count": 4, "chosen": 2, "width": 8, "dense_layers": 5}}, "dense_layers is 5"),
        ({"causal": "yes"}, "causal is 'yes'"),
        ({"labels": "abc"}, "labels"),
        ({"local_layers": {"0": 1}}, "local_layers"),
        ({"norm_epsilon": "small"}, "norm_epsilon"),
        ({"architecture": ["lstm"]}, "architecture"),
        ({"width": 1 << 23, "hidden_width": 1 << 23, "head_width": 1 << 23, "heads": 1 << 23}, "beyond any memory"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_a_config_that_is_no_model_ends_in_a_sentence(
    directory: Path, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(edited(directory, **changes)))
    (tmp_path / "model.safetensors").symlink_to(directory / "model.safetensors")
    with pytest.raises(LavraError, match=sentence):
        load_model(tmp_path, dtype=torch.float32)


def test_stacks_within_stacks_are_refused(directory: Path, tmp_path: Path) -> None:
    config = edited(directory)
    for _ in range(200):
        config = edited(directory, vision=config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(LavraError):
        load_model(tmp_path, dtype=torch.float32)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = sorted(field.name for field in fields(ModelConfig))
PARTS = (RotaryScaling, Sparse, Experts, Image, Memory, ModelConfig)
PART_FIELDS = {field.name for part in PARTS for field in fields(part)}


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(FIELDS), json_values, min_size=1, max_size=3))
def test_whatever_json_says_is_a_sentence_or_a_model(directory: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(edited(directory, **changes)))
    link = tmp_path / "model.safetensors"
    if not link.exists():
        link.symlink_to(directory / "model.safetensors")
    try:
        load_model(tmp_path, dtype=torch.float32)
    except LavraError as error:
        sentence = str(error)
    else:
        sentence = "a model"
    assert sentence
    assert "\n" not in sentence


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    part=st.sampled_from(["rope_scaling", "sparse", "experts", "image", "memory", "encoder", "vision"]),
    given_fields=st.dictionaries(
        st.sampled_from(sorted(PART_FIELDS)),
        json_values | st.sampled_from(["yarn", "longrope", "strided", "mean"]) | st.integers(1, 20),
        max_size=6,
    ),
)
def test_whatever_json_says_of_a_part_is_a_sentence_or_a_model(
    directory: Path, tmp_path: Path, part: str, given_fields: dict[str, Any]
) -> None:
    test_whatever_json_says_is_a_sentence_or_a_model.hypothesis.inner_test(directory, tmp_path, {part: given_fields})  # type: ignore[attr-defined]
