"""Every way through ``attend`` gives the formula's answer, and positions turn as the paper says."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import cycle, pairwise
from typing import Any
from unittest import mock

import pytest
import torch
from flash_attention_on_paper import flash_attention_on_paper
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.nn.attention.flex_attention import flex_attention

from lavra.model import kernels, texts, tiles
from lavra.model.attention import Mask, attend
from lavra.model.config import Sparse
from lavra.model.positions import rotary_tables, rotate


@dataclass(frozen=True)
class Case:
    """One call of attention: tensors, a mask, and the options that bend scores."""

    q: Tensor
    k: Tensor
    v: Tensor
    mask: Mask
    options: dict[str, Any]
    tile: int

    def real_queries(self) -> Tensor:
        """(B, T): where an answer is specified."""
        batch, _, queries, _ = self.q.shape
        if self.mask.cross:
            seen = torch.ones(batch, queries, self.k.shape[2], dtype=torch.bool)
            if self.mask.query_segments_BT is not None and self.mask.segments_BS is not None:
                seen &= self.mask.query_segments_BT[:, :, None] == self.mask.segments_BS[:, None]
            if self.mask.valid_BS is not None:
                seen &= self.mask.valid_BS[:, None]
            return seen.any(-1)
        if self.mask.valid_BS is None:
            return torch.ones(batch, queries, dtype=torch.bool)
        return self.mask.valid_BS[:, -queries:]


def sees(mask: Mask, b: int, h: int, i: int, j: int, heads: int) -> bool:
    """Who sees whom, one pair at a time, after the docstrings of Mask and Sparse and not after their code."""
    own = mask.segments_BS if mask.query_segments_BT is None else mask.query_segments_BT
    if own is not None and mask.segments_BS is not None and own[b, i] != mask.segments_BS[b, j]:
        return False
    if mask.valid_BS is not None and not mask.valid_BS[b, j]:
        return i == j and not mask.cross
    if mask.causal and j > i:
        return False
    near = True
    if mask.window is not None:
        near = i - j < mask.window if mask.causal else abs(i - j) <= mask.window
    if mask.sparse is not None:
        block, stride, local = mask.sparse.block, mask.sparse.stride, mask.sparse.local
        if mask.sparse.kind == "strided":
            near &= abs(i // block - j // block) < local or abs(i // block - j // block) % stride == 0
        else:
            near &= i // block // stride == j // block // stride or j // block % stride >= stride - local
    if mask.shift is not None:
        early = 0 if h < (heads + 1) // 2 else mask.shift // 2
        near &= (i + early) // mask.shift == (j + early) // mask.shift
    if near or mask.window is None:
        return near
    # A sink: fewer than so many real tokens of its text stand before it.
    before = 0
    for place in range(j):
        own = mask.segments_BS is None or mask.segments_BS[b, place] == mask.segments_BS[b, j]
        before += own and (mask.valid_BS is None or bool(mask.valid_BS[b, place]))
    return before < mask.sinks


def definition(case: Case, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(score) v in float64, nothing shared, nothing fused."""
    batch, heads, queries, width = q.shape
    keys, offset = k.shape[2], k.shape[2] - queries
    offset = 0 if case.mask.cross else offset
    group, options = heads // k.shape[1], case.options
    by_head = range(heads if case.mask.shift else 1)
    allowed = torch.tensor(
        [
            [
                [[sees(case.mask, b, h, t + offset, s, heads) for s in range(keys)] for t in range(queries)]
                for h in by_head
            ]
            for b in range(batch)
        ]
    )
    allowed |= ~allowed.any(-1, keepdim=True)  # unspecified, but no NaN
    scores = q @ k.repeat_interleave(group, 1).transpose(2, 3) * width**-0.5
    if options.get("soft_cap"):
        scores = options["soft_cap"] * torch.tanh(scores / options["soft_cap"])
    weights = scores.masked_fill(~allowed, -math.inf)
    if options.get("sink_logits_H") is not None:
        sink = options["sink_logits_H"].double()[:, None, None].expand(batch, heads, queries, 1)
        weights = torch.cat((weights, sink), -1)
    return weights.softmax(-1)[..., :keys] @ v.repeat_interleave(group, 1)


def by_tiles(case: Case, q: Tensor, k: Tensor, v: Tensor) -> Tensor | None:
    cut = case.mask.cut(q, k.shape[2], case.tile)
    return tiles.tiled(q, k, v, cut, q.shape[-1] ** -0.5, **case.options)


def by_definition_in_chunks(case: Case, q: Tensor, k: Tensor, v: Tensor) -> Tensor | None:
    return kernels.explicit(q, k, v, case.mask, q.shape[-1] ** -0.5, rows=5, **case.options)


def by_dense(case: Case, q: Tensor, k: Tensor, v: Tensor) -> Tensor | None:
    if case.options:
        return None
    return kernels.dense(q, k, v, case.mask.additive(q.shape[2], k.shape[2], q.shape[1], q), q.shape[-1] ** -0.5)


def by_attend(case: Case, q: Tensor, k: Tensor, v: Tensor) -> Tensor | None:
    return attend(q, k, v, case.mask, **case.options)


def stretches(case: Case, q: Tensor, k: Tensor) -> list[list[int]] | None:
    """The lengths of the texts, where the mask is of texts alone."""
    mask = case.mask
    if case.options or mask.plain or mask.patterned or q.shape[2] != k.shape[2]:
        return None
    return mask.stretches(len(q), q.shape[2])


def by_runs(case: Case, q: Tensor, k: Tensor, v: Tensor) -> Tensor | None:
    lengths = stretches(case, q, k)
    if lengths is None:
        return None
    return kernels.runs(q, k, v, lengths, lambda *qkv: kernels.fused(*qkv, case.mask.causal, q.shape[-1] ** -0.5))


def by_texts(case: Case, q: Tensor, k: Tensor, v: Tensor) -> Tensor | None:
    lengths = stretches(case, q, k)
    if lengths is None:
        return None
    # Pieces so short that texts have several, and weights of some kept and of others computed again.
    with mock.patch.object(texts, "_PIECE", 8), mock.patch.object(texts, "_KEPT", 12):
        return texts.attend_texts(q, k, v, lengths, case.mask.causal, q.shape[-1] ** -0.5)


def by_flex(case: Case, q: Tensor, k: Tensor, v: Tensor) -> Tensor | None:
    if "sink_logits_H" in case.options:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is slow when not compiled
        return kernels.flex(q, k, v, case.mask, q.shape[-1] ** -0.5, **case.options, compiled=False)


def by_varlen(case: Case, q: Tensor, k: Tensor, v: Tensor) -> Tensor | None:
    assert case.mask.segments_BS is not None
    mask = replace(case.mask, segments_BS=case.mask.segments_BS.cuda())
    q, k, v = q.cuda(), k.cuda(), v.cuda()
    if not kernels.varlen_serves(q, mask, None):
        return None
    return kernels.varlen(q, k, v, mask, q.shape[-1] ** -0.5).cpu()


def varlen_as_documented(q: Tensor, k: Tensor, v: Tensor, *rest: Any, **options: Any) -> Tensor:
    """``torch.nn.attention.varlen.varlen_attn`` as its docstring has it, a text at a time."""
    starts, _, longest, _ = rest
    before, after = options["window_size"]
    mixed = []
    for start, end in pairwise(starts.tolist()):
        assert end - start <= longest
        i, j = torch.arange(end - start)[:, None], torch.arange(end - start)
        seen = ((before < 0) | (i - j <= before)) & ((after < 0) | (j - i <= after))
        text = (x[start:end].transpose(0, 1) for x in (q, k, v))
        scale, gqa = options["scale"], options["enable_gqa"]
        mixed.append(F.scaled_dot_product_attention(*text, seen, scale=scale, enable_gqa=gqa).transpose(0, 1))
    return torch.cat(mixed)


def by_varlen_as_documented(case: Case, q: Tensor, k: Tensor, v: Tensor) -> Tensor | None:
    """All of varlen but PyTorch's kernel, which no CPU has."""
    with mock.patch.object(kernels, "_varlen", return_value=varlen_as_documented):
        return kernels.varlen(q, k, v, case.mask, q.shape[-1] ** -0.5)


def by_varlen_above_its_kernel(case: Case, q: Tensor, k: Tensor, v: Tensor) -> Tensor | None:
    """All of varlen and of PyTorch's ``varlen_attn``, forwards and backwards, but the two kernels of a GPU."""
    paper = flash_attention_on_paper()
    before = paper.calls
    mixed = kernels.varlen(q, k, v, case.mask, q.shape[-1] ** -0.5)
    assert paper.calls == before + 1
    return mixed


VARLEN = (by_varlen, by_varlen_as_documented, by_varlen_above_its_kernel)
TRAINED = (
    by_attend,
    by_tiles,
    by_runs,
    by_texts,
    by_dense,
    by_definition_in_chunks,
    by_varlen_above_its_kernel,
)
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="varlen has no kernel without a GPU")


@st.composite
def cases(draw: st.DrawFn, kernel: Any) -> Case:
    """Any mask that the kernel is for, over tensors of any shape and both dtypes."""
    batch, kv_heads, group = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    queries = draw(st.one_of(st.just(1), st.integers(1, 24)))
    before = 0 if kernel in (by_runs, by_texts) or kernel in VARLEN else draw(st.sampled_from((0, 0, 1, 7, 16)))
    keys, heads = queries + before, kv_heads * group
    causal, block, tile = draw(st.booleans()), draw(st.integers(1, 4)), draw(st.sampled_from((1, 2, 3, 8)))
    fields: dict[str, Any] = {"causal": causal}
    patterns = (
        ("none",)
        if kernel in (by_runs, by_texts)
        else ("none", "window")
        if kernel in VARLEN
        else ("none", "window", "sinks", "strided", "fixed", "shift", "cross")
    )
    pattern = draw(st.sampled_from(patterns))
    if pattern in ("window", "sinks"):
        fields["window"] = draw(st.integers(1, 30))
        fields["sinks"] = draw(st.integers(1, 5)) if pattern == "sinks" else 0
    elif pattern in ("strided", "fixed"):
        stride = draw(st.integers(1, 5))
        fields["sparse"] = Sparse(pattern, draw(st.integers(1, stride)), stride, block)
        tile *= block
    elif pattern == "shift":
        fields["shift"] = draw(st.integers(1, 10))
        fields["window"] = draw(st.sampled_from((None, None, 4)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    padding = "none" if kernel in VARLEN else draw(st.sampled_from(("none", "left", "right", "both", "holes")))
    if padding == "holes":
        fields["valid_BS"] = torch.rand(batch, keys, generator=generator) > 0.3
    elif padding != "none":
        first = torch.randint(0, keys, (batch, 1), generator=generator) * (padding != "right")
        end = torch.maximum(first + 1, torch.randint(1, keys + 1, (batch, 1), generator=generator))
        end = end if padding != "left" else torch.full_like(end, keys)
        places = torch.arange(keys)
        fields["valid_BS"] = (places >= first) & (places < end)
    if draw(st.booleans()) or kernel in VARLEN or (kernel in (by_runs, by_texts) and padding == "none"):
        often = draw(st.sampled_from((0.1, 0.4)))
        fields["segments_BS"] = (torch.rand(batch, keys, generator=generator) < often).long().cumsum(1)
    if pattern == "cross":
        keys_segments = fields.get("segments_BS")
        fields |= {"causal": False, "cross": True}
        if keys_segments is not None:
            fields["query_segments_BT"] = torch.randint(0, 4, (batch, queries), generator=generator)
    options: dict[str, Any] = {}
    if kernel in (by_attend, by_tiles, by_definition_in_chunks, by_flex) and draw(st.booleans()):
        options["soft_cap"] = draw(st.sampled_from((0.5, 3.0)))
    if kernel in (by_attend, by_tiles, by_definition_in_chunks) and draw(st.booleans()):
        options["sink_logits_H"] = torch.randn(heads, generator=generator)
    dtype = draw(st.sampled_from((torch.float32, torch.bfloat16)))
    if kernel is by_varlen_above_its_kernel:
        dtype = draw(st.sampled_from((torch.float16, torch.bfloat16)))
    q, k, v = (
        torch.randn(batch, time, count, 8, generator=generator).to(dtype).transpose(1, 2)
        for time, count in ((queries, heads), (keys, kv_heads), (keys, kv_heads))
    )
    return Case(q, k, v, Mask(**fields), options, tile)


def assert_near(got: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """float32: 1e-5. bfloat16 has 8 bits: scores, weights and products of numbers near 1 (up to 8 here) are each
    rounded to 2⁻⁹ of their size, and gradients are differences of such products, so near 0 the error does not shrink
    with them. Single numbers may be off by some per cent of the largest or of 1, all together by less."""
    assert got.isfinite().all()
    if dtype == torch.float32:
        torch.testing.assert_close(got.double(), expected, atol=1e-5, rtol=1e-5)
        return
    error = got.double() - expected
    assert error.abs().max() <= 0.04 * expected.abs().max().clamp_min(1.0)
    if error.numel() >= 64:  # a few numbers, such as the gradients of sinks, have no average to speak of
        assert error.norm() <= 0.02 * expected.norm() + 0.005 * math.sqrt(error.numel())


@pytest.mark.parametrize(
    "kernel",
    [*TRAINED, by_varlen_as_documented, pytest.param(by_varlen, marks=gpu)],
    ids=lambda kernel: kernel.__name__,
)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_every_kernel_is_the_definition(kernel: Any, data: st.DataObject) -> None:
    hold_to_the_definition(kernel, data.draw(cases(kernel)))


@settings(max_examples=25, deadline=None)  # each takes a fifth of a second where nothing is compiled
@given(case=cases(by_flex))
def test_flex_attention_is_the_definition_too(case: Case) -> None:
    hold_to_the_definition(by_flex, case)


@pytest.mark.parametrize(
    ("capability", "chosen"), [((8, 0), ["varlen", "flex", "flex", "flex"]), ((7, 5), ["flex"] * 4)]
)
def test_what_a_gpu_would_be_given(capability: tuple[int, int], chosen: list[str]) -> None:
    """No kernel runs: the tensors are on a GPU in name only."""
    called: list[str] = []

    def note(name: str) -> Any:
        return mock.patch.object(kernels, name, side_effect=lambda *given, **options: called.append(name))

    packed = Mask(causal=True, segments_BS=torch.zeros(1, 300).long())
    with (
        note("varlen"),
        note("flex"),
        mock.patch.object(torch.cuda, "get_device_capability", return_value=capability),
        FakeTensorMode(),
    ):
        q = torch.empty(1, 4, 300, 16, dtype=torch.bfloat16, device="cuda")
        attend(q, q, q, packed)
        attend(q.float(), q.float(), q.float(), packed)
        attend(q, q, q, Mask(causal=True, window=40))
        attend(q, q, q, Mask(causal=True), soft_cap=2.0)
    assert called == chosen


def test_what_a_gpu_kernel_would_refuse_is_not_given_to_it() -> None:
    """FlashAttention: heads of at most 256, in eights. FlexAttention's compiled kernels: heads of 16 and more."""
    served: dict[int, list[bool]] = {}
    packed = Mask(causal=True, segments_BS=torch.zeros(1, 300).long())
    with mock.patch.object(torch.cuda, "get_device_capability", return_value=(9, 0)), FakeTensorMode():
        for width in (4, 8, 20, 64, 256, 264):
            q = torch.empty(1, 4, 300, width, dtype=torch.bfloat16, device="cuda")
            served[width] = [kernels.varlen_serves(q, packed, None), kernels.flex_serves(q)]
            with (
                mock.patch.object(kernels, "flex") as flex,
                mock.patch.object(tiles, "tiled") as tiled,
                mock.patch.object(Mask, "cut"),
            ):
                attend(q, q, q, Mask(causal=True, window=40), soft_cap=2.0)
            assert (flex.call_count, tiled.call_count) == ((0, 1) if width < 16 else (1, 0))
    assert served == {
        4: [False, False],
        8: [True, False],
        20: [False, True],
        64: [True, True],
        256: [True, True],
        264: [False, True],
    }


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.fx.GraphModule]]:
    """FlexAttention compiled as for a GPU up to the graph, one piece or an error; the graphs, once they are made."""
    graphs: list[torch.fx.GraphModule] = []

    def compiled(graph: torch.fx.GraphModule, example: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    kernel = torch.compile(flex_attention, backend=compiled, fullgraph=True)
    monkeypatch.setattr(kernels, "_compiled_flex", lambda: kernel)
    yield graphs
    torch._dynamo.reset()


def test_the_compiler_takes_every_mask_in_one_piece(compiler: list[torch.fx.GraphModule]) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, heads, LENGTH, 16) for heads in (4, 2, 2))
    for mask, cap in zip(PATTERNS.values(), cycle((None, 2.0)), strict=False):
        real = torch.ones(2, LENGTH) if mask.valid_BS is None else mask.valid_BS
        real = real[:, None, :, None]
        got, expected = kernels.flex(q, k, v, mask, 0.25, cap), kernels.explicit(q, k, v, mask, 0.25, None, cap)
        torch.testing.assert_close(got * real, expected * real, atol=1e-5, rtol=1e-5)
        torch._dynamo.reset()  # as many masks as no model has
    assert len(compiler) == len(PATTERNS)


def test_other_windows_lengths_and_caps_are_not_compiled_each(compiler: list[torch.fx.GraphModule]) -> None:
    """A second value makes a kernel for all. It must be no number read out of a tensor, which kernels cannot do."""
    for number in range(12):
        q = torch.randn(1, 2, 260 + 8 * number, 16)
        mask = Mask(causal=True, window=20 + number)
        got = kernels.flex(q, q, q, mask, 0.25, 20.0 + number)
        torch.testing.assert_close(got, kernels.explicit(q, q, q, mask, 0.25, None, 20.0 + number))
    assert len(compiler) <= 3
    pieces = [piece for graph in compiler for piece in graph.modules() if isinstance(piece, torch.fx.GraphModule)]
    assert len(pieces) > len(compiler)
    assert not [node for piece in pieces for node in piece.graph.nodes if node.target == "item"]


def test_varlen_is_for_no_cpu() -> None:
    q = torch.zeros(1, 4, 300, 16, dtype=torch.bfloat16)
    assert not kernels.varlen_serves(q, Mask(causal=True, segments_BS=torch.zeros(1, 300).long()), None)


def hold_to_the_definition(kernel: Any, case: Case) -> None:
    real = case.real_queries()[:, None, :, None]
    given = [x.detach().clone().requires_grad_(kernel in TRAINED) for x in (case.q, case.k, case.v)]
    exact = [x.detach().double().requires_grad_(kernel in TRAINED) for x in given]
    sink = case.options.get("sink_logits_H")
    if sink is not None:
        case = replace(case, options=case.options | {"sink_logits_H": sink.clone().requires_grad_(True)})
        exact_case = replace(case, options=case.options | {"sink_logits_H": sink.double().requires_grad_(True)})
        given.append(case.options["sink_logits_H"])
        exact.append(exact_case.options["sink_logits_H"])
    else:
        exact_case = case
    got = kernel(case, *given[:3])
    if got is None:
        return
    assert got.isfinite().all(), "padded queries' rows are finite too"
    expected = definition(exact_case, *exact[:3])
    dtype = case.q.dtype
    assert_near(got.detach() * real, expected.detach() * real, dtype)
    if kernel in TRAINED:
        torch.manual_seed(len(case.options))
        pull = torch.randn(got.shape) * real
        (got.float() * pull).sum().backward()
        (expected * pull).sum().backward()
        for ours, theirs in zip(given, exact, strict=True):
            assert ours.grad is not None
            assert theirs.grad is not None
            assert_near(ours.grad, theirs.grad, dtype)


LENGTH = 700  # beyond what is small enough to be served dense
TEXTS = torch.tensor([[0] * 300 + [1] * 90 + [2] * 310, [0] * 10 + [1] * 10 + [2] * 680])
PATTERNS = {
    "causal": Mask(causal=True),
    "everything": Mask(causal=False),
    "window": Mask(causal=True, window=50),
    "radius": Mask(causal=False, window=50),
    "sinks": Mask(causal=True, window=50, sinks=4),
    "strided": Mask(causal=True, sparse=Sparse("strided", 2, 5, 16)),
    "fixed": Mask(causal=True, sparse=Sparse("fixed", 1, 4, 16)),
    "shifted groups": Mask(causal=True, shift=100),
    "segments": Mask(causal=True, segments_BS=TEXTS),
    "window in segments": Mask(causal=True, window=50, sinks=2, segments_BS=TEXTS),
    "groups in segments": Mask(causal=True, shift=64, segments_BS=TEXTS),
    "left padding": Mask(causal=True, valid_BS=torch.arange(LENGTH) >= torch.tensor([[0], [123]])),
    "holes": Mask(causal=True, valid_BS=torch.arange(LENGTH) % torch.tensor([[7], [3]]) > 0),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", PATTERNS)
def test_what_attend_chooses_for_long_rows_is_the_dense_answer(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    mask = PATTERNS[name]
    q, k, v = (torch.randn(2, LENGTH, heads, 16).to(dtype).transpose(1, 2).requires_grad_(True) for heads in (4, 2, 2))
    exact = [x.detach().double().requires_grad_(True) for x in (q, k, v)]
    got = attend(q, k, v, mask)
    allowed = mask.dense(LENGTH, LENGTH, 4, q.device)
    scores = (exact[0] @ exact[1].repeat_interleave(2, 1).transpose(2, 3) / 4).masked_fill(~allowed, -math.inf)
    expected = scores.softmax(-1) @ exact[2].repeat_interleave(2, 1)
    real = torch.ones(2, LENGTH) if mask.valid_BS is None else mask.valid_BS
    real = real[:, None, :, None]
    assert_near(got.detach() * real, expected.detach() * real, dtype)
    (got.float() * real).square().sum().backward()
    (expected * real).square().sum().backward()
    for ours, theirs in zip((q, k, v), exact, strict=True):
        assert_near(ours.grad, theirs.grad, dtype)  # type: ignore[arg-type]


def test_decoding_reads_the_keys_of_the_window_and_no_others() -> None:
    """What lies outside may be anything: it is not even multiplied with zero."""
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 4, 1, 8), torch.randn(1, 2, 500, 8), torch.randn(1, 2, 500, 8)
    for sinks in (0, 3):
        expected = attend(q, k, v, Mask(causal=True, window=40, sinks=sinks))
        spoiled_k, spoiled_v = k.clone(), v.clone()
        spoiled_k[:, :, sinks:460] = spoiled_v[:, :, sinks:460] = math.nan
        assert torch.equal(attend(q, spoiled_k, spoiled_v, Mask(causal=True, window=40, sinks=sinks)), expected)


@pytest.mark.parametrize(
    ("mask", "most"),
    [
        # Tiles of 256 queries see 256 to 512 keys before themselves.
        (Mask(causal=True, window=256), 3 * 256 * 8192),
        (Mask(causal=False, window=64), 4 * 64 * 8192),
        # √8192 ≈ 90 = 2 blocks of 64 nearby, and every eleventh of 128 before.
        (Mask(causal=True, sparse=Sparse("strided", 2, 11, 64)), (2 + 128 / 11 / 2 + 1) * 64 * 8192),
    ],
)
def test_tiles_leave_out_what_nobody_sees(mask: Mask, most: float) -> None:
    work = sum((tile.rows.stop - tile.rows.start) * tile.count for tile in mask.cut(torch.empty(1, 1, 8192, 8), 8192))
    assert work <= most


def test_a_soft_cap_over_a_long_text_holds_scores_of_a_tile_only() -> None:
    """All scores at once were 4,096² × 8 heads × 4 bytes = 512 MiB, several times over with gradients."""
    q, k, v = (torch.randn(1, heads, 4096, 16, requires_grad=True) for heads in (8, 2, 2))
    mask = Mask(causal=True)
    cut = mask.cut(q, 4096)
    attend(q, k, v, mask, soft_cap=5.0).sum().backward()
    largest = max((tile.rows.stop - tile.rows.start) * tile.count * 8 * 4 for tile in cut)
    assert largest <= 1 << 25
    assert q.grad is not None
    assert q.grad.isfinite().all()


def test_a_mask_used_for_many_steps_remembers_the_latest_only() -> None:
    valid = torch.ones(1, 200, dtype=torch.bool)
    valid[:, :3] = False
    mask = Mask(causal=True, valid_BS=valid)
    for keys in range(5, 200):
        attend(torch.randn(1, 2, 1, 8), torch.randn(1, 2, keys, 8), torch.randn(1, 2, keys, 8), mask)
    assert len(mask._derived) <= 2


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
