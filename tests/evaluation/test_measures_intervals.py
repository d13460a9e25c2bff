"""Intervals are the bootstrap's as scipy computes it, hold the truth as often as they say, and tests are exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lavra.evaluation.intervals import holm, mean_interval, paired, questions_needed


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize("count", [12, 60, 300])
def test_the_interval_is_scipys_bca(random: np.random.Generator, count: int) -> None:
    for sample in (random.beta(0.5, 2, count), (random.random(count) < 0.2).astype(float), random.normal(3, 2, count)):
        found = mean_interval(sample, resamples=20_000)
        judge = stats.bootstrap((sample,), np.mean, n_resamples=20_000, method="BCa", rng=1).confidence_interval
        spread = sample.std() / math.sqrt(count)
        assert found.mean == pytest.approx(sample.mean())
        # Two bootstraps of 20,000 differ by chance, by some hundredths of a standard error.
        assert found.low == pytest.approx(judge.low, abs=0.12 * spread)
        assert found.high == pytest.approx(judge.high, abs=0.12 * spread)


def test_intervals_of_95_percent_hold_the_truth_about_as_often(random: np.random.Generator) -> None:
    held = 0
    for number in range(300):
        interval = mean_interval((random.random(80) < 0.3).astype(float), seed=number, resamples=500)
        held += interval.low <= 0.3 <= interval.high
    assert 0.90 <= held / 300 <= 0.985


def test_all_right_is_not_certain() -> None:
    judge = stats.binomtest(20, 20).proportion_ci(method="wilson")
    found = mean_interval([1.0] * 20)
    assert (found.low, found.high) == pytest.approx((judge.low, judge.high))
    none = mean_interval([0.0] * 20)
    assert (none.low, none.high) == pytest.approx((1 - judge.high, 1 - judge.low))


def test_one_question_proves_little() -> None:
    alone = mean_interval([0.6])
    assert alone.low < 0.2
    assert alone.high > 0.9
    assert (mean_interval([3.0, 3.0]).low, mean_interval([3.0, 3.0]).high) == (3, 3)


def test_what_does_not_apply_is_left_out() -> None:
    assert mean_interval([0.0, math.nan, 1.0, math.nan]).count == 2
    assert mean_interval([math.nan, math.nan]).count == 0
    assert math.isnan(mean_interval([]).mean)
    assert str(mean_interval([])) == "–"


def test_few_differences_are_tested_exactly(random: np.random.Generator) -> None:
    a, b = random.random(9), random.random(9)
    judge = stats.permutation_test(
        (a - b,), lambda x, axis: x.sum(axis=axis), permutation_type="samples", vectorized=True, n_resamples=np.inf
    )
    assert paired(a, b).p == pytest.approx(judge.pvalue)


def test_many_differences_are_tested_as_scipy_does(random: np.random.Generator) -> None:
    a = random.random(150)
    b = a + random.normal(0.03, 0.2, 150)
    found = paired(a, b)
    assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.02)
    assert found.mean == pytest.approx((a - b).mean())
    assert paired(b, a).mean == pytest.approx(-found.mean)
    assert paired(b, a).p == pytest.approx(found.p, abs=0.01)


def test_pairing_sees_what_two_intervals_side_by_side_hide(random: np.random.Generator) -> None:
    difficulty = random.random(100)
    better, worse = difficulty, difficulty - random.random(100) * 0.1
    assert mean_interval(better).low < mean_interval(worse).high
    found = paired(better, worse)
    assert found.low > 0
    assert found.p < 0.001


def test_the_same_replies_do_not_differ() -> None:
    found = paired([0.2, 0.5, 0.9], [0.2, 0.5, 0.9])
    assert (found.mean, found.low, found.high, found.p, found.needed) == (0, 0, 0, 1, None)


def test_a_difference_is_seen_in_80_of_100_samples_of_the_size_that_is_said(random: np.random.Generator) -> None:
    differences = random.normal(0.1, 0.4, 100_000)
    needed = questions_needed(differences, np.zeros_like(differences))
    assert needed is not None
    seen = sum(stats.ttest_1samp(random.choice(differences, needed), 0).pvalue < 0.05 for _ in range(400))
    assert 0.74 <= seen / 400 <= 0.86


def test_many_comparisons_are_corrected() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
