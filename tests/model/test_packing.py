"""A packed model computes what it computed before, in every number of rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import judge
import pytest
import torch
import zoo

from lavra.model.heads import logits
from lavra.model.packing import PackedLinear, _available, pack
from lavra.model.transformer import Transformer
from lavra.model.weights import load_model


@pytest.mark.parametrize("name", ["smollm2-135m", "minilm-l6"])
def test_packing_changes_no_result(pulled: Callable[[str], Path], name: str) -> None:
    if not _available():
        pytest.skip("PyTorch has no oneDNN bf16 kernels here")
    path = pulled(name)
    plain, packed = load_model(path, dtype=torch.bfloat16), pack(load_model(path, dtype=torch.bfloat16))
    assert any(isinstance(module, PackedLinear) for module in packed.modules())
    for time in (1, 7, 70):
        ids = torch.randint(17, 20_000, (1, time), generator=torch.Generator().manual_seed(time))
        with torch.inference_mode():
            expected, got = plain(ids), packed(ids)
            if plain.config.writes:
                expected, got = logits(plain, expected[:, -1]), logits(packed, got[:, -1])
        # Equal to the bit on the chip it was measured on; another chip's kernels may add in another order.
        cosine = torch.cosine_similarity(expected.float().flatten(), got.float().flatten(), dim=0)
        assert cosine > 0.999


@pytest.mark.parametrize("kind", ["bart", "t5", "clip"])
def test_both_stacks_are_packed(kind: str, tmp_path: Path) -> None:
    if not _available():
        pytest.skip("PyTorch has no oneDNN bf16 kernels here")
    zoo.make(kind).save_pretrained(tmp_path)
    plain = load_model(tmp_path, dtype=torch.bfloat16)
    packed = pack(load_model(tmp_path, dtype=torch.bfloat16))
    assert isinstance(plain, Transformer)
    assert isinstance(packed, Transformer)
    for stack in (packed, packed.vision or packed.encoder):
        assert isinstance(stack, Transformer)
        assert not any(isinstance(module, torch.nn.Linear) for module in stack.blocks.modules())
    ids = judge.random_ids(99, batch=2, time=30)
    with torch.inference_mode():
        if packed.vision is not None and plain.vision is not None:
            pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
            expected, got = plain.vision(pixels_BIHW=pixels), packed.vision(pixels_BIHW=pixels)
        else:
            expected, got = (model(ids[:, :7], source=model.encode(ids)) for model in (plain, packed))
    torch.testing.assert_close(got, expected, atol=0.02, rtol=0.02)


def test_what_cannot_gain_is_left_alone(pulled: Callable[[str], Path]) -> None:
    model = pack(load_model(pulled("minilm-l6"), dtype=torch.float32))
    assert not any(isinstance(module, PackedLinear) for module in model.modules())
