"""Weights in few bits: the nearest level of each block; products and gradients of the weights they stand for."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lavra.errors import LavraError
from lavra.model.quantised import BLOCK, NF4, QuantisedLinear


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
