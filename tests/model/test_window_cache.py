"""A cache that forgets what lies before a window answers as one that remembers everything, and is as small as said."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import judge
import pytest
import torch
import zoo
from torch import Tensor

from lavra.model import cache as caches
from lavra.model.attention import Mask
from lavra.model.building import build, initialise
from lavra.model.cache import KVCache
from lavra.model.config import ModelConfig
from lavra.model.counts import count_cache
from lavra.model.transformer import Transformer
from lavra.model.weights import load_model

WINDOWED = ModelConfig(
    vocabulary_size=99,
    context_length=4096,
    layers=3,
    width=48,
    heads=6,
    kv_heads=2,
    head_width=8,
    hidden_width=64,
    causal=True,
    norm="rms",
    norm_epsilon=1e-5,
    positions="rotary",
    activation="silu",
    gated=True,
    window=8,
    local_layers=(0, 2),
)
CONFIGS = {
    "rotary": WINDOWED,
    "all layers": replace(WINDOWED, local_layers=None),
    "alibi": replace(WINDOWED, positions="none", relative="alibi"),
    "buckets": replace(WINDOWED, positions="none", relative="buckets", relative_buckets=8, relative_distance=32),
    "shaw": replace(WINDOWED, positions="none", relative="shaw", relative_distance=6),
    "learned, soft cap": replace(WINDOWED, positions="learned", attention_soft_cap=2.0),
    "sink logits": replace(WINDOWED, sink_logits=True),
    "sinks": replace(WINDOWED, sinks=3),
    "a window of one": replace(WINDOWED, window=1),
}
TIME = 60
CUTS = {
    "a token at a time": list(range(TIME + 1)),
    "chunks": [0, 7, 14, 21, 28, 35, 42, 49, 56, 60],
    "a prompt beyond window and spare": [0, 41, *range(42, TIME + 1)],
    "long chunks": [0, 2, 30, 59, 60],
}


@pytest.fixture
def little_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of this file are short: what is kept beyond a window is, too."""
    monkeypatch.setattr(caches, "SPARE", 6)
    monkeypatch.setattr(caches, "_MOVED", 2)


def made(config: ModelConfig) -> Transformer:
    model = build(config)
    assert isinstance(model, Transformer)
    initialise(model, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.2)
    return model.eval()


@torch.inference_mode()
def decode(model: Transformer, ids: Tensor, cuts: list[int], valid: Tensor | None, cache: Any = None) -> Tensor:
    """Hidden states of ``ids`` from the cache's length on, as ``cuts`` divide them."""
    cache = model.make_cache(ids.shape[1], batch=len(ids)) if cache is None else cache
    parts = []
    for start, end in pairwise(cuts):
        mask = None if valid is None else Mask(causal=True, valid_BS=valid[:, :end])
        parts.append(model(ids[:, start:end], mask=mask, cache=cache))
    return torch.cat(parts, 1)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.usefixtures("little_spare")
def test_decoding_is_the_whole_pass(name: str, cuts: str, padded: bool) -> None:
    model, ids = made(CONFIGS[name]), judge.random_ids(99, time=TIME)
    valid = torch.arange(TIME)[None] >= torch.tensor([[0], [3], [30]])
    with torch.inference_mode():
        expected = model(ids, mask=Mask(causal=True, valid_BS=valid) if padded else None)
    got = decode(model, ids, CUTS[cuts], valid if padded else None)
    real = valid if padded else torch.ones_like(valid)
    torch.testing.assert_close(got[real], expected[real], atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("little_spare")
def test_what_a_window_has_passed_is_forgotten_and_nothing_else() -> None:
    """Else the test above would hold of a cache that keeps everything."""
    model, ids = made(WINDOWED), judge.random_ids(99, time=TIME)
    cache = model.make_cache(TIME, batch=3)
    assert isinstance(cache, KVCache)
    decode(model, ids, CUTS["a token at a time"], None, cache)
    assert [keys.shape[2] for keys in cache.keys] == [7 + 6, TIME, 7 + 6]
    assert cache.first[1] == 0
    assert cache.first[0] == cache.first[2] > TIME - 14


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.usefixtures("little_spare")
def test_an_answer_is_taken_back_as_far_as_the_cache_says(cuts: str) -> None:
    model, ids, other = made(WINDOWED), judge.random_ids(99, time=TIME), judge.random_ids(99, time=TIME, seed=1)
    found = set()
    for back in range(0, TIME + 1, 3):
        cache = model.make_cache(TIME, batch=3)
        decode(model, ids, CUTS[cuts], None, cache)
        reached = cache.reusable(back)
        assert reached in (0, back)
        found.add(reached)
        cache.truncate(reached)
        both = torch.cat((ids[:, :reached], other[:, reached:]), 1)
        with torch.inference_mode():
            expected = model(both)[:, reached:]
        if reached < TIME:
            got = decode(model, both, [reached, *range(reached + 1, TIME + 1)], None, cache)
            torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    assert {0, TIME} < found, "some of the text can be taken back"


@pytest.mark.usefixtures("little_spare")
def test_a_cache_that_grows_goes_on_where_it_was() -> None:
    model, ids = made(WINDOWED), judge.random_ids(99, time=TIME)
    for first in (5, 11, 20, 40):
        cache = model.make_cache(first, batch=3)
        parts = [decode(model, ids[:, :first], list(range(first + 1)), None, cache)]
        cache.grow(TIME)
        assert [keys.shape for keys in cache.keys] == [keys.shape for keys in model.make_cache(TIME, batch=3).keys]
        parts.append(decode(model, ids, list(range(first, TIME + 1)), None, cache))
        with torch.inference_mode():
            torch.testing.assert_close(torch.cat(parts, 1), model(ids), atol=1e-4, rtol=1e-4)


def test_gemma_beyond_its_window_and_what_is_spared(tmp_path: Path) -> None:
    """As it is served: 1,300 tokens through a window of 8, in chunks and one by one; transformers read it at once."""
    reference = zoo.make(
        "gemma3_text", max_position_embeddings=2048, layer_types=["sliding_attention"] * 2 + ["full_attention"]
    )
    reference.save_pretrained(tmp_path)
    model = load_model(tmp_path, dtype=torch.float32)
    assert isinstance(model, Transformer)
    ids = judge.random_ids(99, batch=1, time=1300)
    cache = model.make_cache(1300)
    hidden = decode(model, ids, [0, 256, 512, 768, 1024, *range(1025, 1301)], None, cache)
    assert isinstance(cache, KVCache)
    assert cache.first[0] > 0
    held = sum(tensor.numel() for tensor in (*cache.keys, *cache.values))
    assert held == count_cache(model.config, 1300).at_context < count_cache(model.config, 1300).unbounded
    with torch.inference_mode():
        expected = reference.model(input_ids=ids).last_hidden_state
    torch.testing.assert_close(hidden, expected, atol=1e-4, rtol=1e-4)
