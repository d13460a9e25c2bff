"""Quick reading computes what the model computes, and a model or machine that it is not for is left to the model."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import judge
import numpy as np
import pytest
import torch
import zoo
from torch import Tensor

from lavra.model import quick_encoder
from lavra.model.attention import Mask
from lavra.model.packing import _available, pack
from lavra.model.quick_encoder import QuickEncoder, serves
from lavra.model.weights import load_model

pytest.importorskip("numba")
needs_packing = pytest.mark.skipif(not _available(), reason="PyTorch has no oneDNN bf16 kernels here")

LENGTHS = torch.tensor([64, 63, 1, 17, 40])


@pytest.fixture(scope="module")
def kernels() -> Any:
    return importlib.import_module("lavra.model.register_kernels")


def bits(x: Tensor) -> np.ndarray:
    return x.view(torch.uint16).numpy()


def normal(*shape: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return (torch.randn(*shape, generator=generator) * scale).bfloat16()


@needs_packing
@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta", "distilbert"])
@pytest.mark.parametrize(("scores_at_once", "known"), [(1 << 18, 1 << 18), (1 << 18, 0), (1, 1 << 18)])
def test_it_reads_texts_of_any_length_as_the_model_does(
    kind: str, scores_at_once: int, known: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernels: Any
) -> None:
    """Held to float32: nowhere farther from it than the model itself in bf16 is, by more than a rounding."""
    monkeypatch.setattr(quick_encoder, "_MOST_SCORES", scores_at_once)
    monkeypatch.setattr(quick_encoder, "MOST_KNOWN", known)
    judge.perturb(made := zoo.make(kind)).save_pretrained(tmp_path)
    del made
    exact, rounded = load_model(tmp_path, dtype=torch.float32), load_model(tmp_path, dtype=torch.bfloat16)
    assert serves(rounded.config)
    ids = judge.random_ids(99, batch=len(LENGTHS), time=64)
    valid = torch.arange(64) < LENGTHS[:, None]
    with torch.inference_mode():
        expected, plain = (model(ids, mask=Mask(causal=False, valid_BS=valid)) for model in (exact, rounded))
    quick = QuickEncoder(pack(rounded), kernels)
    assert quick.reads(ids)
    found = quick(ids, LENGTHS)
    assert found.isfinite().all()
    off, allowed = ((states.float() - expected)[valid] for states in (found, plain))
    assert off.square().mean().sqrt() <= 1.1 * allowed.square().mean().sqrt()
    assert off.abs().max() <= 1.5 * allowed.abs().max()


@pytest.mark.parametrize("kind", ["modernbert", "mpnet", "gpt2", "llama", "t5", "clip", "vit"])
def test_other_models_are_left_to_themselves(kind: str, tmp_path: Path) -> None:
    zoo.make(kind).save_pretrained(tmp_path)
    model = pack(load_model(tmp_path, dtype=torch.bfloat16))
    assert not serves(model.config)
    assert quick_encoder.quick_encoder(model) is None


@needs_packing
def test_without_numba_or_what_is_packed_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo.make("bert").save_pretrained(tmp_path)
    monkeypatch.setattr(quick_encoder, "bf16_in_vectors", lambda: True)
    assert quick_encoder.quick_encoder(pack(load_model(tmp_path, dtype=torch.float32))) is None
    model = load_model(tmp_path, dtype=torch.bfloat16)
    assert quick_encoder.quick_encoder(model) is None  # could be trained yet
    model = pack(model)
    assert quick_encoder.quick_encoder(model) is not None
    monkeypatch.delitem(sys.modules, "lavra.model.register_kernels", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    assert quick_encoder.quick_encoder(model) is None


@needs_packing
def test_ids_beyond_the_table_and_texts_too_long_are_the_models_to_refuse(tmp_path: Path, kernels: Any) -> None:
    zoo.make("bert").save_pretrained(tmp_path)
    quick = QuickEncoder(pack(load_model(tmp_path, dtype=torch.bfloat16)), kernels)
    assert quick.reads(torch.full((2, 64), 98))
    assert not quick.reads(torch.full((2, 65), 98))
    assert not quick.reads(torch.full((2, 64), 99))
    assert not quick.reads(torch.full((2, 64), -1))


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0, 3e4])
def test_weights_are_those_of_softmax_however_great_the_scores(scale: float, kernels: Any) -> None:
    scores, keys = normal(6, 50, 128, scale=scale), np.array([128, 100, 1, 64, 127, 3])
    expected = scores.float().mul(0.25)
    for head, count in enumerate(keys):
        expected[head, :, count:] = -torch.inf
    expected, inverse = expected.softmax(-1), torch.empty(6, 50)
    kernels.weigh(bits(scores), keys, 0.25, inverse.numpy())
    # Within half of the last of bf16's eight bits, and what float32's own exponential is off by.
    torch.testing.assert_close(scores.float() * inverse[..., None], expected, rtol=2**-8, atol=1e-30)


def test_gelu_is_the_exact_one_for_every_bf16(kernels: Any) -> None:
    every = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    every = every[every.abs() < 1e30]
    expected = torch.nn.functional.gelu(every.double())
    kernels.gelu(bits(every))
    off = (every.double() - expected).abs()
    assert (off <= expected.abs() * 2**-8 + 4.6e-5).all()
    assert (off <= expected.abs() * 2**-8 + 3.5e-6)[expected.abs() > 1e-4].all()


def test_one_pass_gives_what_several_operations_do(kernels: Any) -> None:
    weight, bias = 1 + normal(48).float() / 8, normal(48, scale=0.1).float()
    x, added = normal(70, 48), normal(70, 48, scale=3.0)
    expected = torch.nn.functional.layer_norm(x.float() + added.float(), (48,), weight, bias, 1e-5)
    kernels.add_and_normalise(bits(x), bits(added), weight.numpy(), bias.numpy(), 1e-5)
    torch.testing.assert_close(x.float(), expected, rtol=2**-8, atol=1e-6)

    words, places, kind = normal(99, 48), normal(20, 48), normal(1, 48)[0].float()
    ids, states = judge.random_ids(99, batch=3, time=20), torch.empty(60, 48, dtype=torch.bfloat16)
    expected = torch.nn.functional.layer_norm(words[ids].float() + places.float() + kind, (48,), weight, bias, 1e-5)
    inverse = np.empty((3, 20), np.float32)
    given = bits(words), bits(places), kind.numpy(), weight.numpy(), bias.numpy()
    kernels.embed(ids.numpy(), *given, 1e-5, bits(states), inverse)
    torch.testing.assert_close(states.float().view(expected.shape), expected, rtol=2**-8, atol=1e-6)

    qkv = normal(2, 9, 3, 4, 16)
    q, k, v = (torch.zeros(2, 4, room, 16, dtype=torch.bfloat16) for room in (9, 64, 64))
    kernels.split(bits(qkv), bits(q), bits(k), bits(v))
    for number, heads in enumerate((q, k, v)):
        assert torch.equal(heads[:, :, :9], qkv[:, :, number].transpose(1, 2))
    assert not k[:, :, 9:].any()
    inverse, mixed = torch.rand(2, 4, 9) + 0.5, torch.empty(2, 9, 4, 16, dtype=torch.bfloat16)
    kernels.merge(bits(q), inverse.numpy(), bits(mixed))
    expected = (q.float() * inverse[..., None]).transpose(1, 2)
    torch.testing.assert_close(mixed.float(), expected, rtol=2**-8, atol=0)
