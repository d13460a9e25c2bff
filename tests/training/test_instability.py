"""NaN and spikes: the step is not taken; three in a row go back; a rate that diverges ends with the best kept."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import LENGTH, Steps, tiny_model, trainer
from torch import Tensor, nn

from lavra.objectives.language import LanguageModel
from lavra.objectives.objective import Batch
from lavra.objectives.retention import l2_sp
from lavra.training.guard import Guard


class Poisoned(LanguageModel):
    """Its loss is multiplied by something in chosen calls."""

    def __init__(self, calls: dict[int, float]) -> None:
        super().__init__()
        object.__setattr__(self, "calls", calls)
        object.__setattr__(self, "made", [0])

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        self.made[0] += 1  # type: ignore[attr-defined]
        total, count = super().loss(model, batch)
        return total * self.calls.get(self.made[0], 1.0), count  # type: ignore[attr-defined]


def run(path: Path, calls: dict[int, float], **changes: Any) -> tuple[Any, Steps, Any]:
    steps = Steps()
    one = trainer(path, callbacks=[steps], micro_tokens=8 * LENGTH, **changes)
    one.objective = one.forward.objective = Poisoned(calls)
    return one.train(), steps, one


@pytest.mark.parametrize("factor", [math.nan, math.inf, 50.0])
def test_a_step_that_is_no_number_or_a_spike_is_skipped_and_said(tmp_path: Path, factor: float) -> None:
    result, steps, one = run(tmp_path, {15: factor})
    assert result.stopped == "finished"
    assert [step.step for step in steps.seen if step.skipped] == [15]
    assert len(steps.events) == 1
    assert "the update of this step was not made" in steps.events[0]
    assert all(p.isfinite().all() for p in one.model.parameters())
    updates, _ = one.optimiser.state()
    assert set(updates.values()) == {23}


def test_a_price_on_moving_that_rises_is_no_spike(tmp_path: Path) -> None:
    """What holds a model costs nothing at first, and then more than all that it reads."""
    model = tiny_model()
    steps = Steps()
    training = trainer(tmp_path, model=model, callbacks=[steps], objective=l2_sp(LanguageModel(), model, 3000.0))
    assert training.train().stopped == "finished"
    prices = [step.metrics["anchor"] for step in steps.seen]
    assert prices[0] == 0
    assert max(prices) > 4 * steps.seen[0].loss
    assert not [step for step in steps.seen if step.skipped]
    assert steps.seen[-1].loss < steps.seen[0].loss + 0.1, "the loss is that of the texts"


def test_three_in_a_row_go_back_to_the_checkpoint_with_half_the_rate(tmp_path: Path) -> None:
    result, steps, one = run(tmp_path, {13: math.nan, 14: math.nan, 15: math.nan})
    assert result.stopped == "finished"
    assert [step.step for step in steps.seen] == [*range(1, 16), *range(11, 25)]
    assert "back from step 15 to 10, with 0.5 of the rate" in steps.events[-1]
    before = {step.step: step.rate for step in steps.seen[:15]}
    after = {step.step: step.rate for step in steps.seen[15:]}
    assert after[12] == pytest.approx(before[12] / 2)
    consumed = one.loader.epoch * one.loader.steps(1) + one.loader.state_dict()["step"]
    assert consumed == len(steps.seen) == 29  # the data in between was left out


def test_a_rate_that_diverges_is_stopped_said_and_the_best_kept(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = tiny_model()
    steps = Steps()
    one = trainer(tmp_path, model=model, callbacks=[steps], learning_rate=300.0, steps=200, clip=0.0, warmup=0.0)
    result = one.train()
    assert result.stopped == "diverged"
    assert "it diverged with a rate of 300" in result.message
    assert result.best is not None
    first = steps.seen[0].loss
    one.model.eval()
    with torch.no_grad():
        micro = one.loader.next_step()[0]
        total, count = one.objective.loss(one.model, one.objective.collate(micro.examples))
    assert float(total / count) < first * 1.2


def test_a_warm_model_with_a_rate_far_too_high_ends_near_where_it_began(tmp_path: Path) -> None:
    warm = trainer(tmp_path / "warm", steps=60, learning_rate=1e-2)
    warm.train()
    steps = Steps()
    one = trainer(tmp_path / "hot", model=warm.model, callbacks=[steps], learning_rate=3.0, steps=60, warmup=0.0)
    result = one.train()
    assert result.stopped in ("diverged", "finished")
    assert any("updates in a row" in event for event in steps.events)


def test_the_guard_lets_ordinary_noise_and_progress_pass() -> None:
    guard = Guard(8.0)
    generator = torch.Generator().manual_seed(0)
    for step in range(500):
        noise = 0.15 * float(torch.randn((), generator=generator))
        assert guard.judge(2.0 + 3.0 * math.exp(-step / 50) + noise, 1.0) is None
    assert guard.judge(6.0, 1.0) is not None
    assert guard.judge(2.1, math.inf) is not None
    assert guard.refused == 2


def test_a_loss_that_climbs_slowly_is_noticed() -> None:
    guard = Guard(8.0)
    refused = [guard.judge(2.0 + 0.02 * step, 1.0) for step in range(400)]
    assert any(refused)
    assert refused.index(next(reason for reason in refused if reason)) < 150
