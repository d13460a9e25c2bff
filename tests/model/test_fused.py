"""What has a backward pass of its own gives the plain expression's values and gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from lavra.model.fused import gated_silu, rms_norm, split_heads
from lavra.model.positions import rotary_tables, rotate

Function = Callable[..., Tensor | tuple[Tensor, ...]]


def values_and_gradients(function: Function, *inputs: Tensor) -> list[Tensor]:
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    given = function(*leaves)
    outputs = given if isinstance(given, tuple) else (given,)
    generator = torch.Generator().manual_seed(1)
    torch.stack([(x * torch.randn(x.shape, generator=generator)).sum() for x in outputs]).sum().backward()
    return [*outputs, *(leaf.grad for leaf in leaves)]  # type: ignore[list-item]


def assert_same(ours: Function, plain: Function, *inputs: Tensor) -> None:
    pairs = zip(values_and_gradients(ours, *inputs), values_and_gradients(plain, *inputs), strict=True)
    for got, expected in pairs:
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_gated_silu() -> None:
    def plain(up: Tensor) -> Tensor:
        gate, value = up.chunk(2, -1)
        return F.silu(gate) * value

    assert_same(gated_silu, plain, torch.randn(3, 5, 16))


def test_rms_norm() -> None:
    x, weight = torch.randn(3, 5, 16), torch.randn(16)
    assert_same(lambda x, w: rms_norm(x, w, 1e-5), lambda x, w: F.rms_norm(x, (16,), w, 1e-5), x, weight)


def test_rms_norm_in_bf16_is_no_further_from_float32_than_pytorchs_own() -> None:
    x, weight = torch.randn(64, 48), 1 + torch.randn(48) * 0.1
    exact = F.rms_norm(x.bfloat16().float(), (48,), weight.bfloat16().float(), 1e-5)
    own = (rms_norm(x.bfloat16(), weight.bfloat16(), 1e-5).float() - exact).abs().max()
    theirs = (F.rms_norm(x.bfloat16(), (48,), weight.bfloat16(), 1e-5).float() - exact).abs().max()
    assert own <= theirs


def test_split_heads_turns_queries_and_keys_and_leaves_values() -> None:
    cos, sin = (table.unsqueeze(1) for table in rotary_tables(7, 8, 10_000.0))

    def plain(qkv: Tensor) -> tuple[Tensor, ...]:
        turned = rotate(qkv[:, :, :6], cos, sin)
        return turned[:, :, :4].transpose(1, 2), turned[:, :, 4:].transpose(1, 2), qkv[:, :, 6:].transpose(1, 2)

    assert_same(lambda qkv: split_heads(qkv, 4, 2, cos, sin), plain, torch.randn(2, 7, 8, 8))
