"""Packing wastes nearly nothing, loses nothing, and texts of a row never see each other."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lavra.errors import LavraError
from lavra.model.building import build, initialise
from lavra.model.config import ModelConfig
from lavra.objectives.language import LanguageModel
from lavra.objectives.objective import IGNORE
from lavra.objectives.packing import Example, PackedRows, best_fit, cut, make_row, stream

lengths_and_room = st.integers(1, 40).flatmap(
    lambda room: st.tuples(st.lists(st.integers(1, room), max_size=200), st.just(room))
)


def one_by_one(lengths: list[int], room: int) -> int:
    """How many rows best fit decreasing needs, as the textbook does it."""
    left: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [number for number, free in enumerate(left) if free >= length]
        if fitting:
            left[min(fitting, key=lambda number: left[number])] -= length
        else:
            left.append(room - length)
    return len(left)


@given(lengths_and_room)
def test_the_vectorised_placement_is_best_fit_decreasing(drawn: tuple[list[int], int]) -> None:
    lengths, room = drawn
    rows = best_fit(np.array(lengths, dtype=np.int64), room)
    filled = np.bincount(rows, weights=lengths) if lengths else np.zeros(0)
    assert (filled <= room).all()
    assert (filled > 0).all()
    assert len(filled) == one_by_one(lengths, room)


@given(st.lists(st.integers(2, 33), min_size=1, max_size=60), st.integers(0, 1000))
def test_every_target_of_every_example_stands_in_the_rows_once_after_its_token(lengths: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    given_examples = [
        Example(random.integers(1, 50, size), random.random(size) < 0.5, n) for n, size in enumerate(lengths)
    ]
    rows = PackedRows(given_examples, 32)
    found: dict[int, list[tuple[int, int]]] = {}
    for row in rows:
        assert (row.segments[row.sources < 0] == 0).all()
        for place in np.flatnonzero(row.sources >= 0):
            found.setdefault(int(row.sources[place]), []).append((int(row.ids[place]), int(row.targets[place])))
    for number, example in enumerate(given_examples):
        assert example.weights is not None
        learned = np.where(example.weights[1:] > 0, example.ids[1:], IGNORE)
        assert found[number] == list(zip(example.ids[:-1].tolist(), learned.tolist(), strict=True))


def test_padding_is_below_one_per_cent_on_lengths_as_chats_have_them_and_a_million_take_seconds() -> None:
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(5.3, 0.9, 1_000_000).astype(np.int64), 2, 2048)
    began = time.perf_counter()
    rows = best_fit(lengths, 2048)
    assert time.perf_counter() - began < 10
    assert 1 - lengths.sum() / (2048 * (rows.max() + 1)) < 0.01
    few = rows_of(lengths[:2000])
    assert few.padding < 0.01


def rows_of(lengths: np.ndarray) -> PackedRows:
    return PackedRows([Example(np.zeros(length, np.int64)) for length in lengths], 2048)


def test_an_example_longer_than_a_row_is_refused_by_number_and_cut_on_request() -> None:
    long = Example(np.arange(100), np.ones(100), 7)
    with pytest.raises(LavraError, match="example 1 has 100 tokens"):
        PackedRows([Example(np.arange(5)), long], 32)
    pieces = list(cut([long], 32))
    assert [piece.ids[0] for piece in pieces] == [0, 32, 64, 96]
    assert np.concatenate([piece.ids[1:] for piece in pieces]).tolist() == list(range(1, 100))
    assert len(list(cut([long], 32, tail=False))) == 1


def test_a_stream_fills_every_row_but_the_last_and_learns_every_target_once() -> None:
    texts = [Example(np.arange(10 * n, 10 * n + size)) for n, size in enumerate((5, 70, 2, 33, 41))]
    rows = list(stream(texts, 32))
    assert all((row.segments > 0).all() for row in rows[:-1])
    learned = np.concatenate([row.targets[row.targets != IGNORE] for row in rows])
    assert learned.tolist() == np.concatenate([text.ids[1:] for text in texts]).tolist()


def decoder(**changes: object) -> torch.nn.Module:
    config = ModelConfig(
        vocabulary_size=97, context_length=128, layers=3, width=32, heads=4, kv_heads=2, head_width=8, hidden_width=48,
        causal=True, norm="rms", norm_epsilon=1e-5, norm_bias=False, activation="silu", gated=True,
        **{"positions": "rotary", **changes},  # type: ignore[arg-type]
    )  # fmt: skip
    model = build(config)
    initialise(model, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.05)
    return model.train()


@pytest.mark.parametrize("changes", [{}, {"positions": "learned"}, {"window": 7}])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_of_packed_texts_is_that_of_each_alone(changes: dict[str, object], weighted: bool) -> None:
    random = np.random.default_rng(3)
    texts = [
        Example(random.integers(0, 97, size), random.choice([0.0, 0.5, 2.0], size) if weighted else None)
        for size in (2, 17, 9, 30, 5, 23, 11, 12)
    ]
    model, objective = decoder(**changes), LanguageModel()
    packed, packed_count = objective.loss(model, objective.collate(list(PackedRows(texts, 40))))
    alone = [objective.loss(model, objective.collate([make_row([text], text.places)])) for text in texts]
    assert float(packed_count) == pytest.approx(float(sum(count for _, count in alone)))
    assert packed.item() == pytest.approx(sum(total.item() for total, _ in alone), rel=1e-5)


def test_the_loss_is_pytorchs_cross_entropy_of_full_logits() -> None:
    from torch.nn import functional as F

    from lavra.model.heads import logits

    model, objective = decoder(), LanguageModel()
    row = make_row([Example(np.arange(1, 30))], 29)
    batch = objective.collate([row])
    total, count = objective.loss(model, batch)
    assert batch.targets_BT is not None
    expected = F.cross_entropy(logits(model, model(batch.ids_BT))[0].float(), batch.targets_BT[0], reduction="sum")
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert int(count) == 28
