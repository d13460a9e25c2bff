"""A config is refused by the name of its field, or it is a model that runs. There is no third outcome."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any, get_args

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lavra.errors import LavraError
from lavra.model import config as module
from lavra.model.building import build, initialise
from lavra.model.config import Experts, Image, Memory, ModelConfig, RotaryScaling, Sparse
from lavra.model.heads import classify, logits
from lavra.model.transformer import Transformer

NAMES = {
    field.name for owner in (ModelConfig, RotaryScaling, Sparse, Experts, Image, Memory) for field in fields(owner)
}
REQUIRED: dict[str, Any] = {
    "vocabulary_size": 17,
    "context_length": 16,
    "layers": 2,
    "width": 8,
    "heads": 2,
    "kv_heads": 2,
    "head_width": 4,
    "hidden_width": 12,
    "causal": True,
    "norm": "rms",
    "norm_epsilon": 1e-5,
    "positions": "rotary",
    "activation": "silu",
    "gated": True,
}


def allowed(make: Callable[[], Any]) -> Any:
    """What is made, or None where it is refused in one sentence that names a field."""
    try:
        return make()
    except LavraError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 400
    assert any(name in message for name in NAMES), message
    return None


small = st.integers(0, 5)
maybe = st.none() | small
flag = st.booleans()
layer_lists = st.none() | st.lists(st.integers(0, 3), max_size=3).map(tuple)


def one(options: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(get_args(options))


def part(of: type, /, **strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Arguments of a part of the config, to be put together where a refusal can be seen."""
    return st.none() | st.fixed_dictionaries({}, optional=strategies).map(lambda values: (of, values))


PARTS = {
    "rope_scaling": part(
        RotaryScaling,
        kind=st.sampled_from(["linear", "ntk", "dynamic", "yarn", "llama3", "longrope"]),
        factor=st.sampled_from([0.5, 1.0, 4.0]),
        original_context=st.sampled_from([0, 1, 8]),
        short=st.lists(st.sampled_from([1.0, 2.0]), max_size=2).map(tuple),
        long=st.lists(st.sampled_from([1.0, 2.0]), max_size=2).map(tuple),
        attention_factor=st.sampled_from([None, 0.0, 1.5]),
        low_frequency_factor=st.sampled_from([1.0, 4.0]),
    ),
    "sparse": part(Sparse, kind=st.sampled_from(["strided", "fixed"]), local=small, stride=small, block=small),
    "experts": part(
        Experts, count=small, chosen=small, width=small, shared_width=small, shared_gate=flag, every=small,
        normalised=flag, dense_layers=layer_lists,
    ),
    "memory": part(
        Memory, recent=small, compressed=small, rate=small, function=st.sampled_from(["convolution", "mean", "max"])
    ),
    "image": part(Image, size=st.sampled_from([0, 4, 6]), patch=small, channels=small, bias=flag),
}  # fmt: skip
CHOICES: dict[str, st.SearchStrategy[Any]] = {
    "architecture": st.just("transformer") | one(module.Architecture),
    "norm": one(module.Norm),
    "norm_position": one(module.NormPosition),
    "positions": one(module.Positions),
    "relative": one(module.Relative),
    "activation": one(module.Activation),
    "head": one(module.Head),
    "pooling": one(module.Pooling),
    "pooler": one(module.Pooler),
    "qk_norm": st.sampled_from(["none", "head", "all"]),
    "layers": st.integers(1, 3),
    "width": st.sampled_from([1, 3, 8]),
    "heads": st.integers(1, 4),
    "kv_heads": st.integers(1, 4),
    "head_width": st.integers(1, 5),
    "hidden_width": st.integers(1, 5),
    "context_length": st.sampled_from([4, 16]),
    "kernel_width": small,
    "rotary_width": maybe,
    "unrotated_layers": layer_lists.filter(lambda layers: layers is not None),
    "local_rope_theta": st.sampled_from([None, 1.0, 100.0]),
    "rope_theta": st.sampled_from([1.0, 1e4, 1e30]),
    "relative_buckets": st.integers(0, 9),
    "relative_distance": st.integers(0, 9),
    "position_offset": small,
    "window": maybe,
    "radius": maybe,
    "local_layers": layer_lists,
    "sinks": small,
    "attention_scale": st.sampled_from([None, 0.0, 0.3]),
    "attention_soft_cap": st.sampled_from([None, 1e-3, 20.0]),
    "logit_soft_cap": st.sampled_from([None, 20.0]),
    "token_types": small,
    "projection_width": small,
    "labels": st.lists(st.sampled_from(["yes", "no"]), max_size=2).map(tuple),
    "embedding_scale": st.sampled_from([0.0, 1.0, 3.0]),
    "residual_scale": st.sampled_from([0.5, 1.0]),
    **{field.name: flag for field in fields(ModelConfig) if field.type == "bool"},
    **PARTS,
}


@st.composite
def few(draw: st.DrawFn) -> dict[str, Any]:
    """Some fields at a time: with all of them at once nearly every config contradicts itself."""
    names = draw(st.lists(st.sampled_from(sorted(CHOICES)), max_size=7, unique=True))
    return {name: draw(CHOICES[name]) for name in names}


# The second stack begins as what it has to be, so that some of them are.
ENCODER = {"causal": False, "head": "none"}
TOWER = {**ENCODER, "image": (Image, {"size": 4, "patch": 2}), "vocabulary_size": 0, "context_length": 5}
second = st.sampled_from([(None, {}), ("encoder", ENCODER), ("vision", TOWER)])


def put_together(chosen: dict[str, Any], **more: Any) -> ModelConfig:
    values = {**REQUIRED, **chosen, **more}
    for name, given_part in values.items():
        if isinstance(given_part, tuple) and given_part and isinstance(given_part[0], type):
            kind, arguments = given_part
            try:
                values[name] = kind(**arguments)
            except TypeError:  # a required argument is missing: a mistake of a programmer, not of a file
                values[name] = None
    return ModelConfig(**values)


def in_steps(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """The hidden states of four tokens, read as two, one and one."""
    cache = model.make_cache(4, batch=2)
    return torch.cat([model(part, cache=cache) for part in (ids[:, :2], ids[:, 2:3], ids[:, 3:])], 1)


def run(config: ModelConfig) -> None:
    """Everything that the config says it can do, once."""
    model = build(config).eval()
    initialise(model, 0)
    ids = torch.arange(4)[None].repeat(2, 1) % max(config.vocabulary_size, 1)
    with torch.inference_mode():
        if config.image is not None:
            image = config.image
            hidden = model(pixels_BIHW=torch.ones(2, image.channels, image.size, image.size))
            assert hidden.shape == (2, image.tokens, config.width)
        elif config.encoder is not None:
            assert isinstance(model, Transformer)
            hidden = model(ids, source=model.encode(ids))
            if config.width > 3:  # of fewer, norms may leave but signs
                another = model(ids, source=model.encode(ids + 5))
                assert not torch.equal(hidden, another), "what the encoder read has to matter"
        else:
            hidden = model(ids)
        assert hidden.isfinite().all()
        if config.head in ("language", "masked"):
            assert logits(model, hidden).shape == (2, 4, config.vocabulary_size)
        elif config.head in ("sequence", "token", "reward") and config.pooling != "end":
            assert classify(model, hidden).isfinite().all()
        if config.causal and config.image is None and config.encoder is None:
            if config.memory is not None and config.memory.recent < 3:  # what a segment sees depends on the segments
                with torch.inference_mode(False):  # then learning, which keeps no keys and values, is the judge
                    hidden = in_steps(model, ids).detach()
            torch.testing.assert_close(in_steps(model, ids), hidden, atol=1e-3, rtol=1e-3)
    if config.vision is not None:
        assert isinstance(model, Transformer)
        run(config.vision)


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@example(first={"memory": (Memory, {"recent": 1, "compressed": 0})}, beside=(None, {}), other={}, bidirectional=False)
@example(
    first={"memory": (Memory, {"recent": 1, "compressed": 2, "rate": 1})},
    beside=(None, {}),
    other={},
    bidirectional=False,
)
@example(
    first={"memory": (Memory, {"recent": 2, "compressed": 1, "rate": 2, "function": "max"})},
    beside=(None, {}),
    other={},
    bidirectional=False,
)
@given(first=few(), beside=second, other=few(), bidirectional=flag)
def test_any_combination_of_fields_is_refused_by_name_or_runs(
    first: dict[str, Any], beside: tuple[str | None, dict[str, Any]], other: dict[str, Any], bidirectional: bool
) -> None:
    name, start = beside
    if bidirectional and name is None:
        first = {**ENCODER, **first}
    config = allowed(lambda: put_together(first, **({} if name is None else {name: put_together({**start, **other})})))
    if config is not None:
        run(config)


wild = st.sampled_from([None, -1, 0, 1, 2**24, 2**63, 10**30, True, "x", "", math.nan, math.inf, -math.inf, 0.5, [], {},
                        (), (1,), ("x",), [[]], b"x", {"kind": "linear"}])  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(field.name for field in fields(ModelConfig))), wild, max_size=4))
def test_values_that_no_field_can_have_are_refused_by_name(values: dict[str, Any]) -> None:
    allowed(lambda: ModelConfig(**{**REQUIRED, **values}))


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from([RotaryScaling, Sparse, Experts, Image, Memory]),
    st.data(),
)
def test_values_that_no_part_can_have_are_refused_by_name(kind: type, data: st.DataObject) -> None:
    good: dict[Any, dict[str, Any]] = {
        RotaryScaling: {"kind": "yarn", "original_context": 8},
        Sparse: {"kind": "fixed", "local": 1, "stride": 2},
        Experts: {"count": 4, "chosen": 2, "width": 8},
        Image: {"size": 32, "patch": 8},
        Memory: {"recent": 4, "compressed": 2},
    }
    names = st.sampled_from([field.name for field in fields(kind)])
    values = data.draw(st.dictionaries(names, wild, max_size=3))
    allowed(lambda: kind(**{**good[kind], **values}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kv_heads": 3, "heads": 4}, "kv_heads is 3; it does not divide heads 4"),
        ({"causal": False, "window": 4, "head": "none"}, "window is 4; .*encoder"),
        ({"experts": None, "head_width": 5}, "head_width is 5; rotary positions turn pairs"),
        ({"local_layers": (7,), "window": 2}, "local_layers is .*layers from 0 to 1"),
        ({"head": "sequence"}, r"labels is \(\); a sequence head needs"),
        ({"parallel": True, "norm_position": "post"}, "norm_position is 'post'; attention and MLP in parallel"),
        ({"parallel": True, "encoder": ModelConfig(**{**REQUIRED, **ENCODER})}, "parallel is True; cross-attention"),
        ({"first_norm": False, "norm_position": "after"}, "first_norm is False; .* nothing is normalised before"),
        ({"norm": "layer", "norm_plus_one": True}, "norm_plus_one is True; it is for RMS norms"),
        ({"experts": Experts(count=2, chosen=1, width=4, shared_gate=True)}, "experts is .*; shared_gate is the gate"),
    ],
)
def test_a_contradiction_is_told_with_its_field_and_reason(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LavraError, match=sentence):
        ModelConfig(**{**REQUIRED, **changes})


def test_an_image_tower_cannot_stand_under_a_decoder() -> None:
    tower = put_together(TOWER)
    with pytest.raises(LavraError, match=r"encoder is .*an image tower stands beside a stack, as vision"):
        ModelConfig(**{**REQUIRED, "encoder": tower})
