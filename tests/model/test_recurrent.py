"""LSTM, GRU and convolutional language models: their formulas, their states, and what they share with a transformer."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from lavra.errors import LavraError
from lavra.inference.engine import PREFILL_CHUNK, Engine
from lavra.inference.sampling import Sampling
from lavra.model.attention import Mask
from lavra.model.building import STANDARD_DEVIATION, build, initialise
from lavra.model.cache import StateCache
from lavra.model.config import ModelConfig
from lavra.model.heads import cross_entropy, logits
from lavra.model.recurrent import Recurrent
from lavra.tokens.tokenizer import Tokenizer

ARCHITECTURES = ("lstm", "gru", "convolution")
VOCABULARY = 50
KERNEL = 4
IDS = torch.randint(0, VOCABULARY, (3, 20), generator=torch.Generator().manual_seed(0))


def config(architecture: str, **changes: Any) -> ModelConfig:
    fields: dict[str, Any] = {
        "vocabulary_size": VOCABULARY,
        "context_length": 64,
        "layers": 3,
        "width": 16,
        "heads": 1,
        "kv_heads": 1,
        "head_width": 16,
        "hidden_width": 24,
        "causal": True,
        "architecture": architecture,
        "kernel_width": KERNEL if architecture == "convolution" else 0,
        "norm": "layer",
        "norm_epsilon": 1e-5,
        "positions": "none",
        "activation": "silu",
        "gated": False,
    }
    return ModelConfig(**(fields | changes))


def made(architecture: str, dtype: torch.dtype = torch.float32, **changes: Any) -> Recurrent:
    """Random in every parameter, biases and norms too."""
    model = build(config(architecture, **changes)).to(dtype)
    assert isinstance(model, Recurrent)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return model.eval()


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> Recurrent:
    return made(request.param)


def by_formula(model: Recurrent, ids: Tensor) -> Tensor:
    """(T, C) of one text, a token at a time, gates written out."""
    assert model.embedding is not None
    assert model.final_norm is not None
    x = model.embedding(ids)
    for block in model.blocks:
        read, mixed = block.norm(x), []
        if model.config.architecture == "convolution":
            weight, bias = block.mixer.convolution.weight, block.mixer.convolution.bias
            for t in range(len(ids)):
                total = bias.clone()
                for back in range(KERNEL):
                    if t - back >= 0:
                        total = total + weight[:, :, KERNEL - 1 - back] @ read[t - back]
                value, gate = total.chunk(2)
                mixed.append(value * torch.sigmoid(gate))
        else:
            cell = block.mixer
            h = c = x.new_zeros(model.config.hidden_width)
            for t in range(len(ids)):
                seen = cell.weight_ih_l0 @ read[t] + cell.bias_ih_l0
                held = cell.weight_hh_l0 @ h + cell.bias_hh_l0
                if model.config.architecture == "lstm":
                    i, f, g, o = (seen + held).chunk(4)
                    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                    h = torch.sigmoid(o) * torch.tanh(c)
                else:
                    (r, z, n), (hr, hz, hn) = seen.chunk(3), held.chunk(3)
                    r, z = torch.sigmoid(r + hr), torch.sigmoid(z + hz)
                    h = (1 - z) * torch.tanh(n + r * hn) + z * h
                mixed.append(h)
        x = x + block.output(torch.stack(mixed))
    return model.final_norm(x)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_it_computes_its_formula(architecture: str, norm: str) -> None:
    model = made(architecture, torch.float64, norm=norm, output_bias=True)
    with torch.inference_mode():
        expected = torch.stack([by_formula(model, row) for row in IDS])
        torch.testing.assert_close(model(IDS), expected, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("cuts", [(0, 20), (0, 7, 8, 9, 20), tuple(range(21)), (0, 1, 19, 20)], ids=str)
def test_a_text_in_pieces_is_the_text(model: Recurrent, cuts: tuple[int, ...]) -> None:
    cache = model.make_cache(20, batch=3)
    with torch.inference_mode():
        parts = [model(IDS[:, start:end], cache=cache) for start, end in pairwise(cuts)]
        torch.testing.assert_close(torch.cat(parts, 1), model(IDS), atol=1e-5, rtol=1e-5)
    assert cache.length == 20


rows = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=12, max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    architecture=st.sampled_from(ARCHITECTURES),
    layout=st.tuples(rows, rows, rows),
    cuts=st.sets(st.integers(1, 11), max_size=4),
)
def test_texts_packed_into_rows_and_padded_anywhere_are_what_they_are_alone(
    architecture: str, layout: tuple[list[tuple[bool, bool]], ...], cuts: set[int]
) -> None:
    """Whatever the padding, the segments, and the pieces in which the rows are read."""
    model = made(architecture)
    valid = torch.tensor([[real for real, _ in row] for row in layout])
    segments = torch.tensor([[int(begins) for _, begins in row] for row in layout]).cumsum(1)
    ids = IDS[:, :12]
    cache = model.make_cache(12, batch=3)
    with torch.inference_mode():
        whole = model(ids, mask=Mask(causal=True, valid_BS=valid, segments_BS=segments))
        parts = [
            model(
                ids[:, start:end],
                mask=Mask(causal=True, valid_BS=valid[:, :end], segments_BS=segments[:, :end]),
                cache=cache,
            )
            for start, end in pairwise([0, *sorted(cuts), 12])
        ]
        pieces = torch.cat(parts, 1)
        for row in range(3):
            for segment in segments[row].unique():
                text = valid[row] & (segments[row] == segment)
                if text.any():
                    alone = model(ids[row, text][None])[0]
                    torch.testing.assert_close(whole[row, text], alone, atol=1e-5, rtol=1e-5)
                    torch.testing.assert_close(pieces[row, text], alone, atol=1e-5, rtol=1e-5)
    assert whole.isfinite().all()


def test_padding_before_and_packing_alone(model: Recurrent) -> None:
    segments = torch.repeat_interleave(torch.arange(4), torch.tensor([9, 5, 5, 1]))[None]
    pads = torch.tensor([0, 3, 7])
    valid = torch.arange(20)[None] >= pads[:, None]
    with torch.inference_mode():
        packed = model(IDS[:1], mask=Mask(causal=True, segments_BS=segments))
        alone = torch.cat([model(part) for part in IDS[:1].split([9, 5, 5, 1], 1)], 1)
        torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)
        padded = model(IDS, mask=Mask(causal=True, valid_BS=valid))
        for row, pad in enumerate(pads):
            alone = model(IDS[row : row + 1, pad:])
            torch.testing.assert_close(padded[row : row + 1, pad:], alone, atol=1e-5, rtol=1e-5)


def test_gradients_flow_through_packed_texts_as_through_each_alone(model: Recurrent) -> None:
    segments = torch.repeat_interleave(torch.arange(3), torch.tensor([9, 5, 6]))[None]

    def gradients(outputs: list[Tensor]) -> list[Tensor]:
        loss = torch.stack([(out * torch.arange(out.shape[1])[:, None].cos()).sum() for out in outputs]).sum()
        return list(torch.autograd.grad(loss, list(model.parameters()), allow_unused=True))

    packed = model(IDS[:1], mask=Mask(causal=True, segments_BS=segments))
    whole = gradients(list(packed.split([9, 5, 6], 1)))
    alone = gradients([model(part) for part in IDS[:1].split([9, 5, 6], 1)])
    for one, other in zip(whole, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)


def test_what_it_remembers_does_not_grow(model: Recurrent) -> None:
    cache = model.make_cache(10_000)
    assert isinstance(cache, StateCache)

    def size() -> int:
        return sum(part.numel() for state in cache.states for part in state)

    before = size()
    with torch.inference_mode():
        for _ in range(3):
            model(IDS[:1], cache=cache)
    kept = {"lstm": 2 * 24, "gru": 24, "convolution": (KERNEL - 1) * 16}[model.config.architecture]
    assert size() == before == 3 * kept


def test_it_goes_back_only_to_what_was_marked(model: Recurrent) -> None:
    cache = model.make_cache(64)
    with torch.inference_mode():
        model(IDS[:1, :8], cache=cache)
        cache.mark()
        once = model(IDS[:1, 8:], cache=cache)
        cache.mark()
        assert [cache.reusable(length) for length in (64, 20, 19, 8, 7)] == [20, 20, 8, 8, 0]
        cache.truncate(8)
        assert torch.equal(model(IDS[:1, 8:], cache=cache), once)
        cache.truncate(8)
        assert cache.reusable(20) == 8
        cache.truncate(0)
        torch.testing.assert_close(model(IDS[:1], cache=cache), model(IDS[:1]), atol=1e-5, rtol=1e-5)
    with pytest.raises(LavraError, match="70 tokens do not fit into a context of 64"):
        model(torch.zeros(1, 50, dtype=torch.long), cache=cache)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A word an id; the last ends a text."""
    vocabulary = {f"w{number}": number for number in range(VOCABULARY)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="w0"))
    return Tokenizer(backend, eos_ids=frozenset({VOCABULARY - 1}))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_engine_writes_with_it_and_reuses_what_prompts_share(architecture: str, tokenizer: Tokenizer) -> None:
    """Greedy, against the whole text computed anew for every token; a shared beginning is not computed again, and
    changes nothing."""
    model = made(architecture, context_length=2048)
    engine = Engine(model, tokenizer)
    shared = torch.randint(
        0, VOCABULARY - 1, (2 * PREFILL_CHUNK + 9,), generator=torch.Generator().manual_seed(3)
    ).tolist()
    passes: list[int] = []
    forward = engine._forward
    engine._forward = lambda ids: passes.append(len(ids)) or forward(ids)  # type: ignore[assignment, func-returns-value]
    for ending, computed in ([1, 2], len(shared) + 2), ([7], 10), ([1, 2, 3, 4], 13):
        prompt, passes[:] = shared + ending, []
        steps = [step.token_id for step in engine.stream(prompt, Sampling(temperature=0.0, max_tokens=6))]
        assert sum(passes) == computed + len(steps) - 1
        text = list(prompt)
        with torch.inference_mode():
            for step in steps:
                assert step == int(logits(model, model(torch.tensor([text]))[0, -1]).argmax())
                text.append(step)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_learns(architecture: str) -> None:
    """A text that repeats itself every four tokens is foretold after four."""
    torch.manual_seed(0)
    model = build(
        config(
            architecture, layers=2, width=32, hidden_width=48, kernel_width=8 if architecture == "convolution" else 0
        )
    )
    initialise(model, 0)
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(200):
        ids = torch.randint(0, 10, (32, 4)).repeat(1, 4)
        hidden = model(ids[:, :-1])[:, 4:]
        total, count = cross_entropy(model, hidden, ids[:, 5:])
        if step == 0:
            assert abs(float(total.detach() / count) - torch.tensor(float(VOCABULARY)).log()) < 0.5  # knows nothing yet
        optimiser.zero_grad()
        (total / count).backward()
        optimiser.step()
    assert total.detach() / count < 0.3 * torch.tensor(10.0).log()


@pytest.mark.parametrize("architecture", ["transformer", *ARCHITECTURES])
def test_it_is_born_as_gpt_2(architecture: str) -> None:
    changes: dict[str, Any] = {
        "width": 64,
        "hidden_width": 96,
        "head_width": 64,
        "attention_bias": True,
        "mlp_bias": True,
    }
    if architecture == "transformer":
        changes |= {"positions": "learned", "kernel_width": 0}
    model, again, other = (build(config(architecture, **changes)) for _ in range(3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))  # nothing may be left as it was
    initialise(model, 7)
    initialise(again, 7)
    initialise(other, 8)
    state, twin = model.state_dict(), again.state_dict()
    assert all(torch.equal(state[name], twin[name]) for name in state)
    assert not torch.equal(state["embedding.weight"], other.state_dict()["embedding.weight"])
    for name, value in state.items():
        assert value.isfinite().all(), name
        if name.endswith("norm.weight"):
            assert (value == 1).all()
        elif name.endswith("bias"):
            assert (value == 0).all(), name
        elif "mixer.weight_hh" in name:
            torch.testing.assert_close(value.T @ value, torch.eye(96) * len(value) / 96, atol=1e-4, rtol=0)
        elif "mixer.bias_ih" in name and architecture == "lstm":
            assert (value[96:192] == 1).all()
            assert (value.sum() == 96).all()
        elif not name.startswith("blocks") or "qkv" in name or "up" in name:
            assert abs(float(value.std()) / STANDARD_DEVIATION - 1) < 0.1, name
    residual = [name for name in state if name.endswith(("output.weight", "down.weight"))]
    assert len(residual) == (6 if architecture == "transformer" else 3)
    for name in residual:
        assert abs(float(state[name].std()) / (STANDARD_DEVIATION / len(residual) ** 0.5) - 1) < 0.1, name


def test_dropout_is_for_training_only() -> None:
    model = made("gru", dropout=0.5)
    with torch.inference_mode():
        assert torch.equal(model(IDS), model(IDS))
        assert not torch.equal(model.train()(IDS), model(IDS))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"positions": "rotary"}, "positions is 'rotary'; a lstm has none"),
        ({"relative": "alibi"}, "relative"),
        ({"window": 8}, "window is 8"),
        ({"causal": False, "head": "none"}, "reads from left to right"),
        ({"norm_position": "post"}, "norm_position"),
        ({"qk_norm": "head"}, "qk_norm"),
        ({"residual_scale": 0.5}, "residual_scale"),
        ({"architecture": "convolution", "kernel_width": 1}, "kernel_width"),
        ({"architecture": "mamba"}, "Lavra knows transformer, lstm, gru, convolution"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_it_has_no_part_for_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LavraError, match=sentence):
        config(**({"architecture": "lstm"} | changes))


def test_pytorchs_own_modules_agree() -> None:
    """The two layouts of gates, and PyTorch's: a layer of the model is its LSTM between a norm and a projection."""
    model = made("lstm", layers=1)
    block = model.blocks[0]
    twin = nn.LSTM(16, 24, batch_first=True)
    twin.load_state_dict(block.mixer.state_dict())
    with torch.inference_mode():
        x = model.embedding(IDS)  # type: ignore[misc]
        expected = F.layer_norm(
            x + block.output(twin(block.norm(x))[0]), (16,), model.final_norm.weight, model.final_norm.bias, 1e-5
        )  # type: ignore[union-attr, arg-type]
        torch.testing.assert_close(model(IDS), expected, atol=1e-5, rtol=1e-5)
