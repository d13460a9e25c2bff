"""A mixture of experts is what a plain loop over experts computes, and its balance loss is transformers'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import judge
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import MixtralConfig, MixtralForCausalLM
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from lavra.model.blocks import ACTIVATIONS
from lavra.model.config import Experts, ModelConfig
from lavra.model.experts import ExpertMLP, balance_loss
from lavra.model.weights import load_model


def experts(
    count: int, chosen: int, *, width: int = 48, hidden: int = 24, gated: bool = True, **more: Any
) -> ExpertMLP:
    config = ModelConfig(
        vocabulary_size=50,
        context_length=64,
        layers=1,
        width=width,
        heads=1,
        kv_heads=1,
        head_width=16,
        hidden_width=32,
        causal=True,
        norm="rms",
        norm_epsilon=1e-6,
        positions="rotary",
        activation="silu",
        gated=gated,
        experts=Experts(count, chosen, hidden, **more),
    )
    torch.manual_seed(0)
    return ExpertMLP(config, ACTIVATIONS)


def by_loop(mlp: ExpertMLP, x_BTC: Tensor) -> Tensor:
    """Every expert asked for every token, and its answer weighed, by 0 where it was not chosen."""
    probability = mlp.router(x_BTC).float().softmax(-1)
    weight, chosen = probability.topk(mlp.chosen, -1)
    if mlp.normalised:
        weight = weight / weight.sum(-1, keepdim=True)
    total = torch.zeros_like(x_BTC)
    for expert in range(mlp.count):
        own = (weight * (chosen == expert)).sum(-1, keepdim=True).to(x_BTC.dtype)
        up = x_BTC @ mlp.experts_up[expert].T
        if mlp.gated:
            gate, value = up.chunk(2, -1)
            up = F.silu(gate) * value
        else:
            up = F.silu(up)
        total = total + own * (up @ mlp.experts_down[expert].T)
    if mlp.shared_up is not None:
        gate, value = mlp.shared_up(x_BTC).chunk(2, -1)
        shared = mlp.shared_down(F.silu(gate) * value)
        total = total + (shared * torch.sigmoid(mlp.shared_gate(x_BTC)) if mlp.shared_gate is not None else shared)
    return total


@pytest.mark.parametrize(
    "options",
    [
        {"count": 5, "chosen": 2},
        {"count": 5, "chosen": 1, "normalised": False},
        {"count": 3, "chosen": 3, "gated": False},
        {"count": 40, "chosen": 2},  # most have no token
        {"count": 5, "chosen": 2, "shared_width": 40},
        {"count": 5, "chosen": 2, "shared_width": 40, "shared_gate": True},
        {"count": 5, "chosen": 2, "width": 17, "hidden": 13},  # sizes that the grouped kernel refuses
    ],
    ids=str,
)
def test_all_experts_at_once_give_what_a_loop_gives_and_the_same_gradients(options: dict[str, Any]) -> None:
    mlp = experts(**options)
    x = torch.randn(3, 7, options.get("width", 48), requires_grad=True)
    wanted = torch.randn_like(x)
    inputs = [x, *mlp.parameters()]
    got, expected = mlp(x), by_loop(mlp, x)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    ours = torch.autograd.grad(got, inputs, wanted)
    theirs = torch.autograd.grad(expected, inputs, wanted)
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("width", [48, 44])  # for the grouped kernel, and too narrow for its steps of 16 bytes
def test_in_bfloat16_they_agree_to_its_three_digits(width: int) -> None:
    exact = experts(5, 2, width=width)
    rounded = experts(5, 2, width=width).to(torch.bfloat16)
    rounded.router.weight.data = exact.router.weight.data.bfloat16()
    exact.load_state_dict({name: value.float() for name, value in rounded.state_dict().items()})
    x = torch.randn(2, 9, width).bfloat16()
    got, expected = rounded(x), by_loop(exact, x.float())
    assert got.dtype is torch.bfloat16
    torch.testing.assert_close(got.float(), expected, atol=0.03, rtol=0.03)


def test_one_token_needs_no_others() -> None:
    mlp = experts(8, 2)
    x = torch.randn(1, 6, 48)
    alone = torch.cat([mlp(x[:, place : place + 1]) for place in range(6)], 1)
    torch.testing.assert_close(mlp(x), alone, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("chosen", [1, 2, 4])
def test_the_balance_loss_is_that_of_transformers(chosen: int) -> None:
    mlp = experts(4, chosen).train()
    x = torch.randn(2, 50, 48)
    mlp(x)
    scores = mlp.router(x).reshape(-1, 4)
    expected = load_balancing_loss_func((scores,), num_experts=4, top_k=chosen)
    assert mlp.balance_loss is not None
    torch.testing.assert_close(mlp.balance_loss, expected, atol=1e-5, rtol=1e-5)
    ours = torch.autograd.grad(mlp.balance_loss, mlp.router.weight)[0]
    theirs = torch.autograd.grad(expected, mlp.router.weight)[0]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_an_even_router_loses_as_much_as_experts_are_chosen_and_a_lopsided_one_more() -> None:
    mlp = experts(4, 2).train()
    torch.nn.init.zeros_(mlp.router.weight)
    mlp(torch.randn(1, 10, 48))
    assert mlp.balance_loss is not None
    assert mlp.balance_loss.item() == pytest.approx(2.0)
    mlp.router.weight.data[0] = 5.0
    mlp(torch.ones(1, 10, 48))
    assert mlp.balance_loss.item() > 3.5


def test_the_balance_loss_of_a_model_is_the_mean_of_its_layers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=100,
        hidden_size=48,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        num_local_experts=4,
        initializer_range=0.3,
    )
    reference = MixtralForCausalLM(config).eval()
    reference.save_pretrained(tmp_path)
    model = load_model(tmp_path, dtype=torch.float32)
    assert balance_loss(model) is None  # nothing has been trained
    model.train()
    ids = judge.random_ids(100)
    model(ids)
    routed = reference(ids, output_router_logits=True).router_logits
    layers = [load_balancing_loss_func((scores,), num_experts=4, top_k=2) for scores in routed]
    found = balance_loss(model)
    assert found is not None
    torch.testing.assert_close(found, torch.stack(layers).mean(), atol=1e-4, rtol=1e-4)
