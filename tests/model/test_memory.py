"""The compressive memory, held to the definition of Rae et al. 2020 written out plainly, token by token."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lavra.errors import LavraError
from lavra.model.attention import Mask
from lavra.model.building import build, initialise
from lavra.model.config import Memory, ModelConfig
from lavra.model.counts import count_cache, count_parameters, keys_seen
from lavra.model.heads import cross_entropy, logits
from lavra.model.memory import CompressiveMemory, reconstruction_loss
from lavra.model.transformer import Transformer

VOCABULARY = 61
IDS = torch.randint(0, VOCABULARY, (2, 48), generator=torch.Generator().manual_seed(0))


def config(memory: Memory | None, **changes: Any) -> ModelConfig:
    fields: dict[str, Any] = {
        "vocabulary_size": VOCABULARY,
        "context_length": 64,
        "layers": 3,
        "width": 32,
        "heads": 4,
        "kv_heads": 2,
        "head_width": 8,
        "hidden_width": 48,
        "causal": True,
        "norm": "rms",
        "norm_epsilon": 1e-6,
        "positions": "rotary",
        "activation": "silu",
        "gated": True,
        "memory": memory,
    }
    return ModelConfig(**(fields | changes))


def made(memory: Memory, **changes: Any) -> Transformer:
    model = build(config(memory, **changes))
    assert isinstance(model, Transformer)
    initialise(model, 0)
    with torch.no_grad():  # sharp attention: a wrong position or a missing state shows
        for block in model.blocks:
            block.attention.qkv.weight.mul_(20)
            block.attention.output.weight.mul_(10)
    return model.eval()


def read(model: Transformer, ids: Tensor, size: int, memory: CompressiveMemory | None = None) -> Tensor:
    """Hidden states of a text that is read in segments of ``size`` tokens."""
    memory = memory or fresh(model, len(ids))
    return torch.cat([model(part, cache=memory) for part in ids.split(size, 1)], 1)


def fresh(model: Transformer, batch: int = 2) -> CompressiveMemory:
    memory = model.make_cache(1, batch)
    assert isinstance(memory, CompressiveMemory)
    return memory


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("size", [1, 7, 16, 48])
@pytest.mark.parametrize(
    "changes", [{}, {"positions": "none"}, {"norm_position": "post"}, {"qk_norm": "head"}], ids=str
)
def test_a_memory_that_holds_everything_changes_nothing(layers: int, size: int, changes: dict[str, Any]) -> None:
    model = made(Memory(recent=48, compressed=1), layers=layers, **changes)
    with torch.inference_mode():
        torch.testing.assert_close(read(model, IDS, size), model(IDS), atol=2e-5, rtol=2e-5)


def plainly(model: Transformer, ids: Tensor, size: int) -> Tensor:
    """The definition for one text, (T, C): lists of states, a loop over tokens, complex numbers for rotary pairs.

    Distances are told from the tokens' own places in the text, which the model never sees.
    """
    settings = model.config.memory
    assert settings is not None
    recent: list[list[tuple[int, Tensor]]] = [[] for _ in model.blocks]  # (place in the text, state), by layer
    compressed: list[list[tuple[int, Tensor]]] = [[] for _ in model.blocks]
    out = []
    for start in range(0, len(ids), size):
        x = model.embedding(ids[start : start + size])  # type: ignore[misc]
        for layer, block in enumerate(model.blocks):
            normed = block.attention_norm(x)
            own = [(start + t, state) for t, state in enumerate(normed)]
            seen = compressed[layer] + recent[layer]
            given = [attend_plainly(model, block.attention, own[t], seen + own[: t + 1]) for t in range(len(own))]
            x = x + block.attention.output(torch.stack(given))
            x = x + block.mlp(block.mlp_norm(x))
            recent[layer] += own
            if not settings.compressed:
                recent[layer] = recent[layer][-settings.recent :]
            while len(recent[layer]) >= settings.recent + settings.rate:
                old, recent[layer] = recent[layer][: settings.rate], recent[layer][settings.rate :]
                states = torch.stack([state for _, state in old])
                one = {"mean": lambda s: s.mean(0), "max": lambda s: s.amax(0)}.get(settings.function)
                if one is None:
                    conv = block.attention.compression.convolution
                    new = conv.bias + torch.einsum("rc,ocr->o", states, conv.weight)
                else:
                    new = one(states)
                # It stands where its last token stood, as far as the memory can tell.
                compressed[layer] = [*compressed[layer], (old[-1][0], new)][-settings.compressed :]
        out.append(model.final_norm(x))  # type: ignore[misc]
    return torch.cat(out)


def attend_plainly(
    model: Transformer, attention: Any, query: tuple[int, Tensor], keys: list[tuple[int, Tensor]]
) -> Tensor:
    settings = model.config
    heads, groups, width = settings.heads, settings.kv_heads, settings.head_width
    q, _, _ = attention.qkv(query[1]).split([heads * width, groups * width, groups * width])
    frequency = settings.rope_theta ** (-torch.arange(0, width, 2) / width)
    mixed = []
    for head in range(heads):
        scores, values = [], []
        for place, state in keys:
            _, k, v = attention.qkv(state).split([heads * width, groups * width, groups * width])
            group = head // (heads // groups)
            ours, theirs = q.view(heads, width)[head], k.view(groups, width)[group]
            turn = torch.polar(torch.ones(width // 2), (query[0] - place) * frequency)
            left, right = (torch.complex(*vector.chunk(2)) for vector in (ours, theirs))
            scores.append((left * turn * right.conj()).real.sum() / math.sqrt(width))
            values.append(v.view(groups, width)[group])
        mixed.append(torch.stack(scores).softmax(0) @ torch.stack(values))
    return torch.cat(mixed)


@pytest.mark.parametrize("function", ["convolution", "mean", "max"])
@pytest.mark.parametrize(
    ("recent", "compressed", "rate", "size"), [(6, 4, 3, 6), (5, 3, 2, 7), (4, 2, 4, 1), (8, 1, 5, 16), (6, 0, 3, 5)]
)
def test_reading_in_segments_is_the_definition(
    function: Any, recent: int, compressed: int, rate: int, size: int
) -> None:
    """Compressed states fall out of the memory, segments do not divide what is compressed, and without compressed
    states it is a Transformer-XL (Dai et al. 2019)."""
    model = made(Memory(recent, compressed, rate, function), layers=2)
    text = IDS[:1, :40]
    with torch.inference_mode():
        torch.testing.assert_close(read(model, text, size)[0], plainly(model, text[0], size), atol=5e-5, rtol=5e-5)


@pytest.mark.parametrize("changes", [{}, {"qk_norm": "all"}, {"rotary_width": 4}, {"attention_bias": True}], ids=str)
@pytest.mark.parametrize("compressed", [4, 0])
def test_what_is_kept_for_generating_is_what_learning_computes_anew(compressed: int, changes: dict[str, Any]) -> None:
    """Keys and values of remembered states, from before they are turned; also when it changes between the two."""
    model = made(Memory(recent=6, compressed=compressed, rate=3), **changes)
    memory, parts = fresh(model), []
    learning = read(model, IDS, 5)
    with torch.inference_mode():
        torch.testing.assert_close(read(model, IDS, 5), learning, atol=2e-5, rtol=2e-5)
    for number, part in enumerate(IDS.split(5, 1)):
        with torch.set_grad_enabled(number % 3 == 0):
            parts.append(model(part, cache=memory))
    torch.testing.assert_close(torch.cat(parts, 1), learning, atol=2e-5, rtol=2e-5)


def test_a_token_that_is_generated_costs_no_product_with_the_memory() -> None:
    """But attention itself, and now and then a compression."""
    model = made(Memory(recent=40, compressed=8, rate=8, function="mean"))
    memory = fresh(model, 1)
    with torch.inference_mode():
        model(IDS[:1], cache=memory)
        with FlopCounterMode(display=False) as counter:
            model(IDS[:1, :1], cache=memory)
    settings = model.config
    a_token = 2 * (32 * (4 + 2 * 2) * 8 + 32 * 32 + 32 * 2 * 48 + 48 * 32)
    seen = 2 * 2 * 4 * 8 * (memory.held + 9)
    assert counter.get_total_flops() <= settings.layers * (a_token + seen)


def test_every_segment_costs_the_same_once_the_memory_is_full() -> None:
    model = made(Memory(recent=8, compressed=4, rate=2))
    memory, costs, held = fresh(model, 1), [], []
    with torch.inference_mode():
        for _ in range(12):
            with FlopCounterMode(display=False) as counter:
                model(IDS[:1, :8], cache=memory)
            costs.append(counter.get_total_flops())
            held.append(memory.held)
    assert held == [8, *[12] * 11]
    assert len(set(costs[2:])) == 1
    assert memory.length == 96


@pytest.mark.parametrize("rate", [2, 3, 4])
def test_so_many_states_become_one_and_the_newest_are_kept(rate: int) -> None:
    model = made(Memory(recent=6, compressed=100, rate=rate, function="mean"))
    memory, seen = fresh(model), 0
    with torch.inference_mode():
        for size in (5, 9, 1, 12, 3):
            model(IDS[:, :size], cache=memory)
            seen += size
            recent, compressed = memory.states[0][:2]
            assert recent.shape[1] + rate * compressed.shape[1] == seen  # nothing is lost
            assert min(6, seen) <= recent.shape[1] < 6 + rate
    _, compressed = memory.states[0][:2]
    states = model.blocks[0].attention_norm(model.embedding(IDS[:, :5]))  # type: ignore[misc]
    torch.testing.assert_close(compressed[:, 0], states[:, :rate].mean(1))


def test_positions_are_never_negative_and_distances_are_those_of_the_text() -> None:
    model = made(Memory(recent=4, compressed=3, rate=3))
    memory = fresh(model)
    with torch.inference_mode():
        read(model, IDS[:, :21], 7, memory)
    recent, compressed = memory.states[0][:2]
    assert (recent.shape[1], compressed.shape[1]) == (6, 3)  # 21 tokens: 6 wait, 9 are in 3, 6 are forgotten
    places = memory.positions(2, torch.device("cpu"))
    assert places.tolist() == [2, 5, 8, *range(9, 15), 15, 16]
    assert places.max() < memory.reach + 2


def test_gradients_stop_at_the_memory() -> None:
    model = made(Memory(recent=8, compressed=4, rate=2)).train()
    memory = fresh(model)
    first = model.embedding(IDS[:, :16]).detach().requires_grad_()  # type: ignore[misc]
    model(inputs_BTC=first, cache=memory)
    model(IDS[:, 16:24], cache=memory).sum().backward()
    assert first.grad is None
    assert all(not part.requires_grad for state in memory.states for part in state)
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == ("compression" in name), name


def test_the_loss_is_that_of_the_paper() -> None:
    """Algorithm 2, with its attention written out; it teaches the compression and nothing else."""
    model = made(Memory(recent=8, compressed=4, rate=4)).train()
    memory = fresh(model)
    model(IDS[:, :10], cache=memory)
    assert memory.loss() is None  # nothing was compressed yet
    kept = [state[0] for state in memory.states]
    seen: list[Tensor] = []
    hooks = [
        block.attention_norm.register_forward_hook(lambda *a: seen.append(a[2].detach())) for block in model.blocks
    ]
    model(IDS[:, 10:16], cache=memory)
    for hook in hooks:
        hook.remove()
    expected = torch.zeros(())
    for block, old, x in zip(model.blocks, kept, seen, strict=True):
        attention = block.attention
        weight = attention.qkv.weight.detach()
        wq, wk, wv = weight.split([32, 16, 16])

        def attend(m: Tensor, wq: Tensor = wq, wk: Tensor = wk, wv: Tensor = wv, x: Tensor = x) -> Tensor:
            q = (x @ wq.T).unflatten(-1, (4, 8)).transpose(1, 2)
            k, v = ((m @ w.T).unflatten(-1, (2, 8)).transpose(1, 2).repeat_interleave(2, 1) for w in (wk, wv))
            return (q @ k.transpose(-1, -2) / math.sqrt(8)).softmax(-1) @ v

        old = torch.cat((old, x), 1)[:, :8]  # 16 states, of which 8 stay
        conv = attention.compression.convolution
        new = F.conv1d(old.transpose(1, 2), conv.weight, conv.bias, stride=4).transpose(1, 2)
        difference = attend(old) - attend(new)
        expected = expected + torch.stack([row.norm() for row in difference]).mean()
    loss = memory.loss()
    assert loss is not None
    torch.testing.assert_close(loss, expected)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None and bool(parameter.grad.any())) == ("compression" in name), name
        assert parameter.requires_grad, name


@pytest.mark.parametrize("function", ["mean", "max"])
def test_what_learns_nothing_has_no_loss(function: Any) -> None:
    model = made(Memory(recent=2, compressed=4, rate=2, function=function)).train()
    memory = fresh(model)
    read(model, IDS, 8, memory)
    assert memory.loss() is None
    assert not [name for name, _ in model.named_parameters() if "compression" in name]


def test_the_loss_teaches_the_convolution_to_keep_what_attention_reads() -> None:
    model = made(Memory(recent=8, compressed=8, rate=2)).train()
    attention = model.blocks[0].attention
    optimiser = torch.optim.Adam(attention.compression.parameters(), lr=3e-3)
    states = model.blocks[0].attention_norm(model.embedding(IDS)).detach()  # type: ignore[misc]
    old, x = states[:, :32], states[:, 32:]
    losses = []
    for _ in range(150):
        loss = reconstruction_loss(attention, x, old, attention.compression(old))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_a_memory_returns_to_what_was_marked() -> None:
    model = made(Memory(recent=4, compressed=3, rate=3))
    memory = fresh(model)
    with torch.inference_mode():
        read(model, IDS[:, :20], 5, memory)
        memory.mark()
        once = read(model, IDS[:, 20:40], 5, memory)
        assert [memory.reusable(length) for length in (40, 20, 19, 0)] == [20, 20, 0, 0]
        memory.truncate(20)
        assert torch.equal(read(model, IDS[:, 20:40], 5, memory), once)
        memory.truncate(0)
        assert memory.held == 0


@pytest.mark.parametrize(
    "mask",
    [
        Mask(causal=True, valid_BS=torch.arange(8).expand(2, 8) > 1),
        Mask(causal=True, segments_BS=torch.arange(8).expand(2, 8) // 4),
    ],
    ids=["padding", "packed"],
)
def test_padding_and_packed_texts_are_refused(mask: Mask) -> None:
    model = made(Memory(recent=4, compressed=3))
    with pytest.raises(LavraError, match="reads one text a row, without padding"):
        model(IDS[:, :8], mask=mask, cache=fresh(model))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"window": 8}, "it takes the place of windows"),
        ({"relative": "alibi", "positions": "none"}, "knows no relative positions"),
        ({"positions": "learned"}, "for decoders with rotary positions or none"),
        ({"causal": False, "head": "masked"}, "for decoders"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_config_that_cannot_have_a_memory_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(LavraError, match=reason):
        config(Memory(recent=4, compressed=3), **changes)


@pytest.mark.parametrize("changes", [{"recent": 0}, {"compressed": -1}, {"rate": 0}, {"function": "sum"}], ids=str)
def test_a_memory_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(LavraError, match=next(iter(changes))):
        Memory(**({"recent": 4, "compressed": 4} | changes))


@pytest.mark.slow
def test_with_a_memory_a_word_from_long_ago_is_found_again() -> None:
    """A word at the beginning, three segments of noise, then the question. Only what is compressed still has it."""
    segment, words, question = 8, 16, 60
    generator = torch.Generator().manual_seed(0)

    def batch(size: int) -> tuple[Tensor, Tensor]:
        needle = torch.randint(0, words, (size,), generator=generator)
        ids = torch.randint(words, 40, (size, 4 * segment), generator=generator)
        ids[:, 2], ids[:, -1] = needle, question
        return ids, needle

    def accuracy(memory: Memory) -> float:
        model = build(config(memory, layers=1))
        assert isinstance(model, Transformer)
        initialise(model, 0)
        with torch.no_grad():  # a standard deviation of 0.02 is for wider models
            for parameter in model.parameters():
                parameter.mul_(3.0 if parameter.dim() > 1 else 1.0)
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(120):
            ids, needle = batch(64)
            state = fresh(model, 64)
            hidden = read(model.train(), ids, segment, state)[:, -1]
            total, count = cross_entropy(model, hidden, needle)
            extra = state.loss()
            optimiser.zero_grad()
            (total / count + (0 if extra is None else 0.1 * extra)).backward()
            optimiser.step()
        ids, needle = batch(512)
        with torch.inference_mode():
            found = logits(model, read(model.eval(), ids, segment, fresh(model, 512))[:, -1]).argmax(-1)
        return float((found == needle).float().mean())

    with_memory = Memory(recent=segment, compressed=8, rate=2)
    without = replace(with_memory, recent=2 * segment, compressed=0)  # as many states, all of them recent
    assert accuracy(with_memory) > 0.95
    assert accuracy(without) < 0.2


@pytest.mark.parametrize("compressed", [4, 0])
def test_what_it_costs_is_counted(compressed: int) -> None:
    """By ``lavra models describe``: numbers that are held, and keys that a token sees, when read a token at a time."""
    model = made(Memory(recent=8, compressed=compressed, rate=3))
    memory, sizes = fresh(model, 1), []
    with torch.inference_mode():
        for place in range(40):
            assert keys_seen(model.config, 0, place + 1) == memory.held + 1
            model(IDS[:1, :1], cache=memory)
            sizes.append(sum(part.numel() for state in memory.states for part in state))
    counted = count_cache(model.config, 40)
    assert counted.state == max(sizes)
    assert counted.at_context == 0
    assert count_parameters(model.config).total.get("memory", 0) == (3 * (3 * 32 * 32 + 32) if compressed else 0)


def test_the_modules_of_a_memory_are_counted_once() -> None:
    model = made(Memory(recent=4, compressed=3, rate=3))
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv1d)]
    assert [tuple(module.weight.shape) for module in convolutions] == [(32, 32, 3)] * 3
