"""Weights in few bits: the nearest level of each block; products and gradients of the weights they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from lavra.errors import LavraError
from lavra.model.adapters import AdapterConfig, attach
from lavra.model.families import BY_MODEL_TYPE
from lavra.model.quantised import BLOCK, NF4, QuantisedLinear
from lavra.model.weights import load_model


def linear(rows: int = 96, columns: int = 128, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(columns, rows, bias=bias)
    nn.init.normal_(layer.weight, std=0.02)
    return layer


def test_levels_are_quantiles_of_the_normal_distribution() -> None:
    """QLoRA, appendix E: seven intervals of equal weight below zero, eight above, between quantiles of .9677083."""
    edge = 0.9677083
    quantile = torch.distributions.Normal(0.0, 1.0).icdf
    above = quantile(torch.linspace(edge, 0.5, 9)[:-1])
    below = -quantile(torch.linspace(edge, 0.5, 8)[:-1])
    levels = torch.cat((above, torch.zeros(1), below)).sort().values
    torch.testing.assert_close(NF4, levels / levels.max(), atol=1e-5, rtol=1e-4)


def test_every_weight_is_the_nearest_level_of_its_block_as_far_as_the_scales_own_bits_go() -> None:
    layer = linear()
    kept = QuantisedLinear(layer, "nf4").dense_weight().view(-1, BLOCK)
    blocks = layer.weight.detach().view(-1, BLOCK)
    largest = blocks.abs().amax(1, keepdim=True)
    distances = (blocks / largest).unsqueeze(-1) - NF4
    exact = NF4[distances.abs().argmin(-1)] * largest
    spread = (largest - largest.mean()).abs().max()
    assert (kept - exact).abs().max() <= spread / 127 / 2 * 1.01


def test_bits_a_weight() -> None:
    assert QuantisedLinear(linear(512, 512, bias=False), "nf4").bits() == pytest.approx(4.127, abs=0.01)
    assert QuantisedLinear(linear(512, 512, bias=False), "int8").bits() == pytest.approx(8.06, abs=0.01)


@pytest.mark.parametrize(("storage", "share"), [("nf4", 0.11), ("int8", 0.01)])
def test_the_error_of_normal_weights_is_small(storage: str, share: float) -> None:
    layer = linear(256, 256)
    kept = QuantisedLinear(layer, storage).dense_weight()  # type: ignore[arg-type]
    assert (kept - layer.weight).norm() / layer.weight.norm() < share


@pytest.mark.parametrize("storage", ["nf4", "int8"])
def test_products_and_gradients_are_those_of_the_dense_weight(storage: str) -> None:
    kept = QuantisedLinear(linear(), storage)  # type: ignore[arg-type]
    x = torch.randn(5, 128, requires_grad=True)
    kept(x).square().sum().backward()
    plain = x.detach().clone().requires_grad_()
    F.linear(plain, kept.dense_weight(), kept.bias).square().sum().backward()
    torch.testing.assert_close(x.grad, plain.grad)
    assert not any(parameter.requires_grad for parameter in kept.parameters())


def test_what_is_no_whole_number_of_blocks_is_a_sentence() -> None:
    with pytest.raises(LavraError, match="blocks of 64; use int8"):
        QuantisedLinear(linear(3, 30), "nf4")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_weights_are_made_in_the_dtype_of_the_product(dtype: torch.dtype) -> None:
    """However many codes are looked up at once: the level of the first weight stands in the high half of a byte."""
    kept = QuantisedLinear(linear(), "nf4")
    codes = kept.get_buffer("codes").long()
    levels = torch.stack((NF4[codes >> 4], NF4[codes & 15]), -1).view(-1, BLOCK).to(dtype)
    full = kept.dense_weight().view(-1, BLOCK)
    largest = (full.abs().amax(1) / levels.float().abs().amax(1)).to(dtype)
    made = kept.dense_weight(dtype)
    assert made.dtype == dtype
    torch.testing.assert_close(made.view(-1, BLOCK), levels * largest[:, None], atol=1e-6, rtol=1e-2)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("base")
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=97, num_hidden_layers=3, attention_bias=True, **shape)).save_pretrained(
        path
    )
    return path


IDS = torch.arange(24).view(2, 12)


@pytest.mark.parametrize("storage", ["nf4", "int8"])
def test_a_model_read_in_few_bits_is_the_one_quantised_when_it_was_there(directory: Path, storage: Any) -> None:
    read = load_model(directory, dtype=torch.float32, storage=storage)
    there = load_model(directory, dtype=torch.float32)
    attach(there, AdapterConfig(rank=2), BY_MODEL_TYPE["llama"]).quantise(storage)
    attach(read, AdapterConfig(rank=2), BY_MODEL_TYPE["llama"])
    assert sum(isinstance(module, QuantisedLinear) for module in read.modules()) == 3 * 4
    assert torch.equal(read(IDS), there(IDS))
    assert {name for name, p in read.named_parameters() if p.requires_grad} == {
        name for name, p in there.named_parameters() if p.requires_grad
    }


def test_merging_over_a_base_in_few_bits_leaves_none_of_it_in_few_bits(directory: Path) -> None:
    """Also of the maps that have no adapter."""
    model = load_model(directory, dtype=torch.float32, storage="nf4")
    adapters = attach(model, AdapterConfig(rank=2, targets=("q_proj",)), BY_MODEL_TYPE["llama"])
    for parameter in adapters.parameters().values():
        nn.init.normal_(parameter, std=0.1)
    before = model(IDS)
    merged = adapters.merge()
    assert not any(isinstance(module, QuantisedLinear) for module in merged.modules())
    torch.testing.assert_close(merged(IDS), before, atol=1e-5, rtol=1e-4)
