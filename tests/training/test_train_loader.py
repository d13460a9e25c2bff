"""Steps are a function of seed and epoch; they do not depend on how they are computed."""

from __future__ import annotations

import functools
import json
import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lavra.errors import LavraError
from lavra.training.loader import Mixed, ShuffledLoader


def make(sizes: list[int], **changes: Any) -> ShuffledLoader:
    return ShuffledLoader(
        list(range(len(sizes))), sizes, **{"batch_tokens": 100, "micro_tokens": 40, "seed": 1, **changes}
    )


def examples(step: list[Any]) -> list[int]:
    return sorted(example for micro in step if not micro.filler for example in micro.examples)


some_sizes = st.lists(st.integers(1, 60), min_size=1, max_size=60)


@given(some_sizes, st.integers(0, 5))
def test_an_epoch_has_every_example_once(sizes: list[int], seed: int) -> None:
    loader = make(sizes, seed=seed)
    found = [examples(loader.next_step()) for _ in range(loader.steps(1))]
    assert sorted(functools.reduce(operator.iadd, found, [])) == list(range(len(sizes)))
    assert all(sum(sizes[i] for i in step) <= 100 or len(step) == 1 for step in found)


@given(some_sizes, st.integers(1, 4), st.integers(1, 80))
@hypothesis_settings(deadline=None)
def test_ranks_and_micro_batches_only_cut_a_step_into_pieces(sizes: list[int], ranks: int, micro: int) -> None:
    whole = make(sizes)
    parts = [make(sizes, micro_tokens=micro) for _ in range(ranks)]
    for _ in range(whole.steps(2)):
        steps = [part.next_step(rank, ranks) for rank, part in enumerate(parts)]
        assert len({len(step) for step in steps}) == 1  # as many passes on each
        assert sorted(functools.reduce(operator.iadd, map(examples, steps), [])) == examples(whole.next_step())
        for group in (group for step in steps for group in step):
            assert len(group.examples) * max(sizes[i] for i in group.examples) <= micro or len(group.examples) == 1


def test_the_order_differs_by_epoch_and_by_seed_and_is_the_same_for_the_same() -> None:
    sizes = [10] * 50

    def orders(seed: int) -> list[list[int]]:
        loader = make(sizes, seed=seed)
        return [examples(loader.next_step()) for _ in range(loader.steps(2))]

    assert orders(1) == orders(1)
    assert orders(1) != orders(2)
    assert orders(1)[:5] != orders(1)[5:]


def test_it_continues_from_its_state_as_if_it_had_never_stopped() -> None:
    sizes = np.random.default_rng(0).integers(1, 50, 80).tolist()
    loader = make(sizes)
    for _ in range(loader.steps(1) + 3):
        loader.next_step()
    state = json.loads(json.dumps(loader.state_dict()))
    other = make(sizes)
    other.load_state_dict(state)
    for _ in range(loader.steps(2)):
        assert examples(loader.next_step()) == examples(other.next_step())


def test_a_state_of_other_data_is_refused() -> None:
    with pytest.raises(LavraError, match="other examples"):
        make([1, 2, 3]).load_state_dict(make([3, 2, 1]).state_dict())


def test_what_is_mixed_in_has_its_share_of_tokens_and_goes_on_where_the_last_epoch_ended() -> None:
    main, replay = [10] * 100, [5] * 1000
    mixed = Mixed([f"r{n}" for n in range(1000)], replay, weight=0.25)
    loader = make(main, beside=[mixed])
    epochs = []
    for _ in range(3):
        steps = loader._plan(len(epochs))
        found: list[Any] = []
        for _ in range(len(steps)):
            found += [example for micro in loader.next_step() for example in micro.examples]
        epochs.append([example for example in found if isinstance(example, str)])
        assert len([example for example in found if isinstance(example, int)]) == 100
    assert [len(epoch) for epoch in epochs] == [50, 50, 50]
    assert len(set(functools.reduce(operator.iadd, epochs, []))) == 150


def test_nothing_to_train_on_is_an_error() -> None:
    with pytest.raises(LavraError, match="nothing to train on"):
        make([])
