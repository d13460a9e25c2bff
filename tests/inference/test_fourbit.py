"""4-bit weights are found again exactly where they are, nowhere else, and answer as well as the bf16 they replace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lavra.inference.fourbit import FEW_ROWS, FourBitLinear, narrow, recover
from lavra.model.heads import logits
from lavra.model.weights import load_model


def four_bit_matrix(rows: int, columns: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes, each block using its whole range, and the weights a Q4_1 file would give, in float32."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 16, (rows, columns // 32, 32), generator=generator)
    codes[..., 3], codes[..., 17] = 0, 15
    scale = torch.rand(rows, columns // 32, 1, generator=generator) * 0.02 + 0.001
    offset = -scale * (torch.rand(scale.shape, generator=generator) * 6 + 4)
    return codes.view(rows, columns), (codes * scale + offset).view(rows, columns)


def test_the_codes_of_a_widened_matrix_are_found_again() -> None:
    codes, weights = four_bit_matrix(64, 128)
    found = recover(weights.bfloat16())
    assert found is not None
    assert torch.equal(found[0], codes.int())
    scales, offsets = found[1].float().unbind(-1)  # (K / 32, N)
    again = (codes.view(64, 4, 32) - 8) * scales.T[..., None] + offsets.T[..., None]
    assert (again.view(64, 128) - weights).abs().max() <= 2**-7 * weights.abs().max()


def test_a_matrix_that_is_not_4_bit_is_left_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    assert recover(torch.randn(64, 128, generator=generator).bfloat16()) is None
    _, weights = four_bit_matrix(64, 128)
    weights[40, 70] *= 1.2  # one weight of 8,192 off the grid of its block
    assert recover(weights.bfloat16()) is None
    assert recover(four_bit_matrix(64, 128)[1][:, :40].bfloat16()) is None  # not whole blocks


def test_constant_blocks_and_zeros_are_4_bit_too() -> None:
    weights = torch.zeros(16, 64)
    weights[:, 32:] = 0.25
    found = recover(weights.bfloat16())
    assert found is not None
    layer = FourBitLinear(torch.nn.Identity(), *found, None)
    assert layer(torch.ones(1, 64, dtype=torch.bfloat16)).tolist() == [[8.0] * 16]


@pytest.mark.parametrize("rows", [1, FEW_ROWS])
def test_a_few_rows_give_the_product_and_more_go_to_the_other_layer(rows: int) -> None:
    _, weights = four_bit_matrix(96, 64)
    found = recover(weights.bfloat16())
    assert found is not None
    many = torch.nn.Linear(64, 96, dtype=torch.bfloat16)
    bias = torch.randn(96).bfloat16()
    layer = FourBitLinear(many, *found, bias)
    x = torch.randn(1, rows, 64).bfloat16()
    exact = x.float() @ weights.T + bias.float()
    assert layer(x).shape == (1, rows, 96)
    assert (layer(x).float() - exact).abs().max() < 0.02 * exact.abs().max()
    x = torch.randn(1, FEW_ROWS + 1, 64).bfloat16()
    assert torch.equal(layer(x), many(x))


@pytest.mark.slow
def test_smollm2_is_as_near_to_float32_as_in_bf16(
    pulled: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mean KL divergence of the next token from the float32 model's, token by token."""
    path = pulled("smollm2-135m")
    exact = load_model(path, dtype=torch.float32)
    plain, narrowed = (load_model(path, dtype=torch.bfloat16) for _ in range(2))
    monkeypatch.setattr("lavra.inference.fourbit._is_faster", lambda *_: True)
    assert narrow(narrowed) == 4 * exact.config.layers, "every matrix of the blocks is Q4_1 in the file"
    ids = torch.randint(100, 40_000, (24,), generator=torch.Generator().manual_seed(2)).tolist()

    def steps(model: torch.nn.Module) -> torch.Tensor:
        cache = model.make_cache(64)  # type: ignore[operator]
        with torch.inference_mode():
            rows = [logits(model, model(torch.tensor([[token]]), cache=cache)[0, -1]) for token in ids]  # type: ignore[arg-type]
        return torch.stack(rows).float().log_softmax(-1)

    expected = steps(exact)

    def divergence(found: torch.Tensor) -> float:
        return float((expected.exp() * (expected - found)).sum(-1).mean())

    assert divergence(steps(narrowed)) < 2 * divergence(steps(plain)) + 1e-4
    assert narrow(exact) == 0, "float32 stays what it is"
