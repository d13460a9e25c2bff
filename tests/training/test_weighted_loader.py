"""Examples drawn more often or less than once an epoch: as often as is asked for, and the same after a break."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lavra.errors import LavraError
from lavra.training.loader import Mixed, ShuffledLoader

SIZES = [10] * 40
TIMES = np.array([0.25] * 16 + [1.0] * 4 + [2.5] * 20)


def make(sizes: list[int], times: Any, **changes: Any) -> ShuffledLoader:
    options = {"batch_tokens": 100, "micro_tokens": 40, "seed": 1, **changes}
    return ShuffledLoader(list(range(len(sizes))), sizes, times=times, **options)


def drawn(loader: ShuffledLoader, epochs: int) -> Counter[Any]:
    steps = [loader.next_step() for _ in range(loader.steps(epochs))]
    return Counter(example for step in steps for micro in step if not micro.filler for example in micro.examples)


@given(
    st.lists(st.tuples(st.integers(1, 60), st.sampled_from([0.1, 0.5, 1.0, 1.37, 4.0])), min_size=1, max_size=40),
    st.integers(0, 3),
)
@hypothesis_settings(deadline=None)
def test_each_example_is_drawn_as_often_as_is_asked_for(examples: list[tuple[int, float]], seed: int) -> None:
    sizes, times = [size for size, _ in examples], np.array([value for _, value in examples])
    counts = drawn(make(sizes, times, seed=seed), 10)
    assert all(abs(counts[number] - 10 * value) <= 1 for number, value in enumerate(times))


def test_rare_examples_take_turns() -> None:
    """A quarter of them an epoch, and after four epochs each was there once."""
    loader = make(SIZES, TIMES)
    each = [drawn(make(SIZES, TIMES), epochs) for epochs in (1, 4)]
    assert sum(each[0][number] for number in range(16)) == 4
    assert [each[1][number] for number in range(20)] == [1] * 16 + [4] * 4
    assert {each[1][number] for number in range(20, 40)} == {10}
    assert loader.epoch_tokens == 10 * (4 + 4 + 50)


def test_a_run_continues_in_the_middle_of_an_epoch() -> None:
    whole, first, second = (make(SIZES, TIMES) for _ in range(3))
    for _ in range(7):
        first.next_step()
    second.load_state_dict(first.state_dict())
    for _ in range(7):
        whole.next_step()
    for _ in range(20):
        assert second.next_step() == whole.next_step()
    with pytest.raises(LavraError, match="other examples"):
        make(SIZES, TIMES * 2).load_state_dict(first.state_dict())


def test_once_each_is_what_it_was_without_weights() -> None:
    plain, ones = make(SIZES, None), make(SIZES, np.ones(40))
    assert plain.fingerprint == ones.fingerprint
    assert [plain.next_step() for _ in range(9)] == [ones.next_step() for _ in range(9)]
    with pytest.raises(LavraError, match="positive number of times"):
        make(SIZES, np.zeros(40))


def test_replay_is_counted_by_what_is_drawn() -> None:
    beside = [Mixed([f"old {number}" for number in range(30)], [10] * 30, 0.5)]
    counts = drawn(make(SIZES, TIMES * 2, beside=beside), 3)
    old = sum(count for name, count in counts.items() if isinstance(name, str))
    assert old == pytest.approx(0.5 * (sum(counts.values()) - old), abs=2)
