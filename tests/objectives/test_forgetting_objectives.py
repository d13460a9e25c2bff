"""What holds a model is what its formula says, is added once a step, and keeps what it is there to keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from trl_judge import VOCABULARY, both, texts

from lavra.errors import LavraError
from lavra.model.adapters import AdapterConfig, attach
from lavra.model.base import Model
from lavra.model.families import BY_MODEL_TYPE
from lavra.model.heads import logits
from lavra.objectives.language import LanguageModel
from lavra.objectives.objective import IGNORE, pulling
from lavra.objectives.packing import Example, PackedRows, Row
from lavra.objectives.preferences import DPO, Pair
from lavra.objectives.reference import with_references
from lavra.objectives.retention import KLToBase, ewc, fisher, l2_sp
from lavra.objectives.reward import BradleyTerry, reward_model
from lavra.training.interpolation import Point, interpolate, measure_curve, recommend

NEAR = {"atol": 1e-5, "rtol": 1e-5}


def rows(count: int = 12, seed: int = 0, step: int = 7) -> list[Row]:
    """Texts in which each token follows from the one before by adding ``step``: a task that can be learned."""
    random = np.random.default_rng(seed)
    examples = [
        Example((step * np.arange(size) + random.integers(VOCABULARY)) % VOCABULARY)
        for size in random.integers(6, 20, count)
    ]
    return PackedRows(examples, 24)[:]


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return both(tmp_path / "model")[1].train()


@pytest.fixture
def base(tmp_path: Path) -> Model:
    return both(tmp_path / "base", seed=1)[1]


def train(model: Model, objective: Any, given: list[Row], steps: int = 25, rate: float = 1e-2) -> None:
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    batch = objective.collate(given)
    for _ in range(steps):
        optimiser.zero_grad()
        total, count = objective.loss(model, batch)
        held = sum(one.price(dict(model.named_parameters())) for one in pulling(objective))
        (total / count + held).backward()
        optimiser.step()


@torch.no_grad()
def loss(model: Model, given: list[Row]) -> float:
    total, count = LanguageModel().loss(model, LanguageModel().collate(given))
    return float(total / count)


def test_kl_to_the_base_is_added_to_the_objective(model, base):
    objective = KLToBase(LanguageModel(), 0.3, base=base)
    batch = objective.collate(rows())
    kept = batch.targets_BT != IGNORE
    q, p = (logits(one, one(batch.ids_BT, mask=batch.mask(causal=True))[kept]).log_softmax(1) for one in (model, base))
    kl = F.kl_div(q, p, log_target=True, reduction="sum")
    inner, count = LanguageModel().loss(model, batch)
    passes: list[int] = []
    hook = model.register_forward_hook(lambda *_: passes.append(1))
    total, same = objective.loss(model, batch)
    found, targets = objective.metrics(model, batch)["kl_to_base"]
    hook.remove()
    assert len(passes) == 1, "the objective's own pass is used again"
    assert int(same) == int(count) == int(targets)
    torch.testing.assert_close(total, inner + 0.3 * kl, **NEAR)
    torch.testing.assert_close(found, kl.detach(), **NEAR)


def test_the_base_of_an_adapter_is_the_model_without_it(model):
    given = rows()
    before = both_logits = None
    adapters = attach(model, AdapterConfig(rank=4, targets=("q_proj", "down_proj")), BY_MODEL_TYPE["llama"])
    objective = KLToBase(LanguageModel(), 1.0, without=adapters.switched_off)
    batch = objective.collate(given)
    assert float(objective.metrics(model, batch)["kl_to_base"][0]) == pytest.approx(0, abs=1e-4)
    with torch.no_grad():
        before = logits(model, model(batch.ids_BT, mask=batch.mask(causal=True))).log_softmax(-1)
        for parameter in adapters.parameters().values():
            parameter.add_(0.2)
        both_logits = logits(model, model(batch.ids_BT, mask=batch.mask(causal=True))).log_softmax(-1)
    kept = batch.targets_BT != IGNORE
    expected = F.kl_div(both_logits[kept], before[kept], log_target=True, reduction="sum")
    total, _ = objective.loss(model, batch)
    inner, _ = LanguageModel().loss(model, batch)
    torch.testing.assert_close(total - inner, expected, atol=1e-3, rtol=1e-4)
    total.backward()
    assert all(parameter.grad is not None for parameter in adapters.parameters().values())


def test_a_preference_objective_is_held_too(model, base):
    given = texts(8)
    pairs = with_references(base, [Pair(given[2 * n], given[2 * n + 1]) for n in range(4)])
    objective = KLToBase(DPO(), 0.5, base=base)
    batch = objective.collate(pairs)
    total, count = objective.loss(model, batch)
    inner, _ = DPO().loss(model, batch)
    assert int(count) == 4
    assert float(total) > float(inner)
    assert {"accuracy", "margin", "kl", "kl_to_base"} <= objective.metrics(model, batch).keys()


def moved(model: Model) -> dict[str, torch.Tensor]:
    """The model's weights after some change, by name."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return dict(model.named_parameters())


@pytest.mark.parametrize("kind", ["l2", "ewc"])
def test_what_holds_weights_is_half_the_weighted_squared_distance_and_pulls_by_its_gradient(model, kind):
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    importance = {name: torch.rand_like(p) for name, p in start.items()} if kind == "ewc" else None
    objective = (
        l2_sp(LanguageModel(), model, 0.8) if importance is None else ewc(LanguageModel(), model, 0.8, importance)
    )
    weights = moved(model)
    distance = sum(
        ((importance[name] if importance else 1) * (p - start[name]).square()).sum() for name, p in weights.items()
    )
    torch.testing.assert_close(objective.price(weights), 0.4 * distance, **NEAR)
    (0.4 * distance).backward()
    sums = {name: torch.ones_like(p) for name, p in weights.items()}
    price = objective.pull({name: p.detach() for name, p in weights.items()}, sums, 3.0)
    torch.testing.assert_close(price, (0.4 * distance).detach(), **NEAR)
    for name, parameter in weights.items():
        torch.testing.assert_close(sums[name], 1 + 3 * parameter.grad, **NEAR)
    batch = objective.collate(rows())
    assert float(objective.loss(model, batch)[0]) == float(LanguageModel().loss(model, batch)[0]), "once a step"


def test_a_rank_holds_its_own_rows_and_the_prices_add_up(model):
    importance = {name: torch.rand_like(p) for name, p in model.named_parameters()}
    whole = ewc(LanguageModel(), model, 2.0, importance)
    held = [ewc(LanguageModel(), model, 2.0, importance) for _ in range(2)]
    weights = {name: p.detach() for name, p in moved(model).items()}
    price = torch.zeros(())
    for number, one in enumerate(held):
        rows_of = {name: slice(3 * number, 3 if not number else len(p)) for name, p in weights.items()}
        one.take_part(rows_of)
        part = {name: p[rows_of[name]] for name, p in weights.items()}
        price += one.pull(part, {name: torch.zeros_like(p) for name, p in part.items()}, 1.0)
    torch.testing.assert_close(price, whole.price(weights), **NEAR)


def test_it_is_found_wherever_it_stands(model, base):
    held = l2_sp(LanguageModel(), model, 1.0)
    outer = ewc(KLToBase(held, 0.1, base), model, 1.0, {name: torch.ones_like(p) for name, p in moved(model).items()})
    assert pulling(outer) == [outer, held]
    assert pulling(KLToBase(LanguageModel(), 0.1, base)) == []


def test_fisher_is_the_mean_of_squared_gradients(model):
    given = rows(5)
    found = fisher(model, LanguageModel(), given)
    expected = torch.zeros_like(model.embedding.weight)
    for row in given:
        model.zero_grad()
        LanguageModel().loss(model, LanguageModel().collate([row]))[0].backward()
        expected += model.embedding.weight.grad.square() / len(given)
    torch.testing.assert_close(found["embedding.weight"], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["kl", "l2", "ewc"])
def test_it_keeps_what_was_there_before(model, tmp_path, kind):
    """A model that knows one task is tuned on another, with and without being held."""
    old, new = rows(seed=0, step=7), rows(seed=1, step=11)
    train(model, LanguageModel(), old, steps=40)
    known = {name: p.detach().clone() for name, p in model.named_parameters()}
    before = loss(model, old)
    base = both(tmp_path / "copy")[1]
    base.load_state_dict(known)
    train(model, LanguageModel(), new)
    forgotten = loss(model, old) - before
    model.load_state_dict(known)
    objective: Any = {
        "kl": lambda: KLToBase(LanguageModel(), 1.0, base=base),
        "l2": lambda: l2_sp(LanguageModel(), model, 3.0),
        "ewc": lambda: ewc(LanguageModel(), model, 1e5, fisher(model, LanguageModel(), old)),
    }[kind]()
    untuned = loss(model, new)
    train(model, objective, new)
    assert loss(model, old) - before < 0.6 * forgotten
    assert loss(model, new) < untuned


def test_between_two_models_lie_their_weighted_means(model, base):
    one, other = base.state_dict(), model.state_dict()
    half = interpolate(one, other, 0.25)
    for name in one:
        torch.testing.assert_close(half[name], 0.75 * one[name] + 0.25 * other[name])
        assert torch.equal(interpolate(one, other, 0.0)[name], one[name])
        assert torch.equal(interpolate(one, other, 1.0)[name], other[name])
    with pytest.raises(LavraError, match="have not the same weights"):
        interpolate({}, other, 0.5)
    with pytest.raises(LavraError, match="alpha is 2"):
        interpolate(one, other, 2)


def test_the_curve_is_measured_and_a_point_on_it_recommended(model):
    old, new = rows(seed=0, step=7), rows(seed=1, step=11)
    train(model, LanguageModel(), old, steps=40)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model, LanguageModel(), new, steps=10)
    after = {name: p.detach().clone() for name, p in model.named_parameters()}
    curve = measure_curve(model, before, after, lambda one: (loss(one, new), loss(one, old)), allowed=0.2)
    assert [point.alpha for point in curve.points] == [0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0]
    assert curve.points[-1].task == pytest.approx(loss(model, new), abs=1e-5), "the model has its tuned weights again"
    assert curve.points[0].general < curve.points[-1].general
    assert curve.recommended.general <= 1.2 * curve.points[0].general
    worse = [point for point in curve.points if point.general <= 1.2 * curve.points[0].general]
    assert curve.recommended.task == min(point.task for point in worse)


def test_the_recommendation_says_what_it_costs():
    line = [Point(0.0, 3.0, 2.0), Point(0.5, 2.0, 2.01), Point(1.0, 1.5, 2.5)]
    half = recommend(line)
    assert half.recommended.alpha == 0.5
    assert half.reason == "67% of what tuning gained, for 0.5% on general text"
    assert recommend(line, allowed=0.3).recommended.alpha == 1.0
    assert recommend([line[0], Point(1.0, 1.0, 9.0)]).recommended.alpha == 0.0
    with pytest.raises(LavraError, match="alpha 0"):
        recommend(line[1:])


def test_what_cannot_hold_is_refused(model, base):
    with pytest.raises(LavraError, match="not both"):
        KLToBase(LanguageModel(), 1.0)
    with pytest.raises(LavraError, match="must be positive"):
        l2_sp(LanguageModel(), model, 0.0)
    with pytest.raises(LavraError, match="at least one"):
        fisher(model, LanguageModel(), [])
    given = texts(4)
    judge = reward_model(model)
    held = KLToBase(BradleyTerry(), 1.0, base=base)
    with pytest.raises(LavraError, match="learns none"):
        held.loss(judge, held.collate([Pair(given[0], given[1])]))
    held_weights = l2_sp(LanguageModel(), model.requires_grad_(False).train(), 1.0)
    model.requires_grad_(True)
    with pytest.raises(LavraError, match="anchor it anew"):
        held_weights.price(dict(model.named_parameters()))
