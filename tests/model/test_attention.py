"""Every way through ``attend`` gives the formula's answer, and positions turn as the paper says."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lavra.model.attention import Mask, attend
from lavra.model.positions import rotary_tables, rotate


def formula(q: Tensor, k: Tensor, v: Tensor, causal: bool, valid: Tensor | None) -> Tensor:
    """softmax(q kᵀ / √D) v in float64 with a loop over heads: slow, and plainly right."""
    batch, heads, queries, width = q.shape
    keys, group = k.shape[2], heads // k.shape[1]
    out = torch.zeros(q.shape, dtype=torch.float64)
    for b in range(batch):
        for h in range(heads):
            scores = q[b, h].double() @ k[b, h // group].double().T / math.sqrt(width)
            for t in range(queries):
                for s in range(keys):
                    itself = s == t + keys - queries
                    hidden = valid is not None and not valid[b, s] and not itself
                    if (causal and s > t + keys - queries) or hidden:
                        scores[t, s] = -math.inf
            out[b, h] = scores.softmax(-1) @ v[b, h // group].double()
    return out


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 3),
    kv_heads=st.integers(1, 3),
    group=st.integers(1, 3),
    queries=st.integers(1, 6),
    before=st.integers(0, 5),
    causal=st.booleans(),
    padded=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_attend_is_the_formula(
    batch: int, kv_heads: int, group: int, queries: int, before: int, causal: bool, padded: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    keys = queries + before
    q = torch.randn(batch, kv_heads * group, queries, 8, generator=generator)
    k = torch.randn(batch, kv_heads, keys, 8, generator=generator)
    v = torch.randn(batch, kv_heads, keys, 8, generator=generator)
    valid = torch.rand(batch, keys, generator=generator) > 0.3 if padded else None
    got = attend(q, k, v, Mask(causal=causal, valid_BS=valid))
    torch.testing.assert_close(got.double(), formula(q, k, v, causal, valid), atol=1e-5, rtol=1e-5)


def test_rows_of_padding_stay_finite() -> None:
    q = torch.randn(1, 2, 4, 8)
    valid = torch.tensor([[False, False, True, True]])
    assert attend(q, q, q, Mask(causal=True, valid_BS=valid)).isfinite().all()


def test_rotation_is_multiplication_by_a_complex_phase() -> None:
    """RoFormer, eq. 12: dimension pair i at position m is turned by m · θ^(-2i/D)."""
    x = torch.randn(1, 9, 1, 16, dtype=torch.float64)
    cos, sin = (table.double().unsqueeze(1) for table in rotary_tables(9, 16, 10_000.0))
    pairs = torch.complex(x[..., :8], x[..., 8:])
    angle = torch.arange(9)[:, None].double() * 10_000.0 ** (-torch.arange(8).double() / 8)
    turned = pairs * torch.polar(torch.ones_like(angle), angle).unsqueeze(1)
    torch.testing.assert_close(rotate(x, cos, sin), torch.cat((turned.real, turned.imag), -1), atol=1e-6, rtol=1e-6)


def test_scores_after_rotation_depend_on_the_distance_alone() -> None:
    cos, sin = (table.unsqueeze(1) for table in rotary_tables(64, 32, 10_000.0))
    q, k = (
        rotate(torch.randn(32).expand(1, 64, 1, 32), cos, sin),
        rotate(torch.randn(32).expand(1, 64, 1, 32), cos, sin),
    )
    scores = q[0, :, 0] @ k[0, :, 0].T
    for distance in (0, 3, 20):
        diagonal = scores.diagonal(-distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4, rtol=1e-4)
