"""Every schedule is its formula."""

from __future__ import annotations

import math

import pytest
import torch

from lavra.errors import LavraError
from lavra.training.schedules import rate_share
from lavra.training.settings import TrainSettings


def shares(steps: int = 100, **settings: object) -> list[float]:
    chosen = TrainSettings(steps=steps, **settings)  # type: ignore[arg-type]
    return [rate_share(chosen, step, steps) for step in range(steps)]


def test_warm_up_is_linear_to_the_full_rate() -> None:
    found = shares(schedule="constant", warmup=10)
    assert found[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert set(found[10:]) == {1.0}
    assert shares(schedule="constant", warmup=0.1) == found


@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_cosine_and_linear_are_transformers_own_after_the_warm_up(name: str) -> None:
    from transformers import get_scheduler

    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = get_scheduler(name, optimiser, num_warmup_steps=10, num_training_steps=100)
    expected = []
    for _ in range(100):
        expected.append(theirs.get_last_lr()[0])
        optimiser.step()
        theirs.step()
    assert shares(schedule=name, warmup=10)[10:] == pytest.approx(expected[10:])


def test_cosine_falls_to_its_floor() -> None:
    found = shares(steps=1000, schedule="cosine", warmup=0, floor=0.1)
    assert found[0] == 1.0
    assert found[500] == pytest.approx(0.1 + 0.9 * 0.5)
    assert found[-1] == pytest.approx(0.1, abs=1e-4)


def test_wsd_is_constant_then_falls_by_one_minus_a_square_root() -> None:
    found = shares(schedule="wsd", warmup=10, decay=0.2, floor=0.05)
    assert set(found[10:80]) == {1.0}
    assert found[80:] == pytest.approx([0.05 + 0.95 * (1 - math.sqrt((n + 1) / 20)) for n in range(20)])
    assert found[-1] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"steps": 0}, "steps"),
        ({}, "steps or epochs"),
        ({"steps": 1, "epochs": 1}, "steps or epochs"),
        ({"steps": 1, "schedule": "triangle"}, "schedule"),
        ({"steps": 1, "learning_rate": float("nan")}, "learning_rate"),
        ({"steps": 1, "learning_rate": "fast"}, "learning_rate"),
        ({"steps": 1, "betas": (0.9, 1.0)}, "betas"),
        ({"steps": 1, "floor": 2.0}, "floor"),
        ({"steps": 1.5}, "steps"),
        ({"steps": 1, "clip": -1.0}, "clip"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(LavraError, match=named):
        TrainSettings(**wrong)  # type: ignore[arg-type]
