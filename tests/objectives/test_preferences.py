"""Losses over preferences are TRL's on the same weights and texts; packing, references and metrics hold too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from trl_judge import both, gradient_of_both, log_p, padded, scoring, stub, texts

from lavra.errors import LavraError
from lavra.model.adapters import AdapterConfig, attach
from lavra.model.base import Model
from lavra.model.families import BY_MODEL_TYPE
from lavra.objectives.answers import Text, answer_log_probabilities, in_a_row, places
from lavra.objectives.kto import KTO, judge
from lavra.objectives.preferences import DPO, ORPO, Pair, SimPO, log_one_less
from lavra.objectives.reference import answer_scores, with_references

PAIRS = 5
NEAR = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Model]:
    theirs, ours = both(tmp_path_factory.mktemp("tiny"))
    return scoring(theirs), ours


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Model]:
    """The model before training: other weights."""
    return both(tmp_path_factory.mktemp("reference"), seed=1)


def pairs(count: int = PAIRS, seed: int = 0) -> list[Pair]:
    given = texts(2 * count, seed)
    return [Pair(given[2 * n], given[2 * n + 1]) for n in range(count)]


def sides(given: list[Pair]) -> list[Text]:
    return [pair.chosen for pair in given] + [pair.rejected for pair in given]


def mean(objective: Any, model: Model, items: list[Any]) -> Tensor:
    total, count = objective.loss(model, objective.collate(items))
    return total / count


def dpo_of_trl(theirs: Any, reference: Any, given: list[Pair], kind: str, beta: float, smoothing: float) -> Tensor:
    from trl import DPOTrainer

    with torch.no_grad():
        chosen, rejected = log_p(reference, sides(given)).chunk(2)
    inputs = padded(sides(given)) | {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
    trainer = stub(
        model=theirs, ld_alpha=None, precompute_ref_logps=True, f_divergence_type="reverse_kl", loss_types=[kind],
        loss_weights=[1.0], beta=beta, label_smoothing=smoothing, use_weighting=False,
    )  # fmt: skip
    return DPOTrainer._compute_loss(trainer, theirs, inputs, False)


def test_log_probabilities_of_packed_answers_are_those_of_padded_ones(models):
    theirs, ours = models
    given = texts(9)
    found, lengths = answer_log_probabilities(ours, in_a_row(given), len(given))
    torch.testing.assert_close(found, log_p(theirs, given), **NEAR)
    assert lengths.tolist() == [len(text.ids) - text.answer for text in given]
    batch = padded(given)
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    out = theirs(batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels, fused_lm_head=True)
    torch.testing.assert_close(found, out.log_probs.sum(1), **NEAR)


def test_a_row_of_answers_has_no_padding():
    given = texts(9)
    batch = in_a_row(given)
    assert batch.tokens == batch.ids_BT.numel() == sum(text.places for text in given)


@pytest.mark.parametrize(
    ("kind", "theirs_kind"), [("sigmoid", "sigmoid"), ("ipo", "ipo"), ("normalised", "sigmoid_norm")]
)
def test_dpo_is_trls_with_its_gradient(models, other, kind, theirs_kind):
    theirs, ours = models
    given = with_references(other[1], pairs())
    objective = DPO(beta=0.3, kind=kind)
    expected = dpo_of_trl(theirs, other[0], given, theirs_kind, 0.3, 0.0)
    got = mean(objective, ours, given)
    torch.testing.assert_close(got, expected, **NEAR)
    for model in models:
        model.zero_grad()
    expected.backward()
    got.backward()
    torch.testing.assert_close(*gradient_of_both(theirs, ours), **NEAR)


def test_label_smoothing_is_conservative_dpo(models, other):
    """TRL has the formula under another name: a batch of one pair leaves nothing to sort."""
    theirs, ours = models
    for pair in with_references(other[1], pairs()):
        expected = dpo_of_trl(theirs, other[0], [pair], "aot_unpaired", 0.3, 0.2)
        torch.testing.assert_close(mean(DPO(beta=0.3, label_smoothing=0.2), ours, [pair]), expected, **NEAR)


def test_orpo_is_trls(models):
    """The first term of TRL is a mean over a batch's tokens, ours over each pair's: pairs are compared one by one."""
    from trl.experimental.orpo import ORPOTrainer

    theirs, ours = models
    trainer = stub(beta=0.4)
    for pair in pairs():
        batch = padded(sides([pair]))
        ids, mask = batch["input_ids"], batch["attention_mask"]
        labels = ids.masked_fill(batch["completion_mask"] == 0, -100)
        log = ORPOTrainer.get_batch_logps(theirs(ids, attention_mask=mask).logits, labels, average_log_prob=True)
        odds, *_ = ORPOTrainer.odds_ratio_loss(trainer, log[:1], log[1:])
        torch.testing.assert_close(mean(ORPO(beta=0.4), ours, [pair]), -log[0] - odds[0], **NEAR)
        whole = theirs(ids[:1], attention_mask=mask[:1], labels=ids[:1].masked_fill(mask[:1] == 0, -100)).loss
        torch.testing.assert_close(mean(ORPO(beta=0.4, prompts=True), ours, [pair]), whole - odds[0], **NEAR)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_simpo_is_trls(models, smoothing):
    from trl.experimental.cpo import CPOTrainer

    theirs, ours = models
    given = pairs()
    batch = padded(sides(given))
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    out = theirs(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    log = CPOTrainer.get_batch_logps(out, labels, average_log_prob=True)
    trainer = stub(beta=2.5, simpo_gamma=0.8, loss_type="simpo", label_smoothing=smoothing, alpha=0.0)
    expected, *_ = CPOTrainer.cpo_loss(trainer, *log.chunk(2))
    got = mean(SimPO(beta=2.5, gamma=0.8, label_smoothing=smoothing), ours, given)
    torch.testing.assert_close(got, expected.mean(), **NEAR)


def test_kto_is_trls_with_its_gradient(models, other):
    from trl import KTOTrainer

    theirs, ours = models
    given, good = texts(7), [True, False, True, True, False, True, False]
    items = with_references(other[1], judge(given, good))
    answers, borrowed = [item.text for item in items], [item.other for item in items]
    with torch.no_grad():
        inputs = padded(answers) | {"ref_logps": log_p(other[0], answers), "ref_KL_logps": log_p(other[0], borrowed)}
    inputs |= {f"KL_{name}": tensor for name, tensor in padded(borrowed).items()} | {"label": torch.tensor(good)}
    trainer = stub(
        model=theirs, calculate_KL=True, precompute_ref_logps=True, loss_type="kto", beta=0.2, desirable_weight=1.3,
        undesirable_weight=0.7,
    )  # fmt: skip
    trainer._compute_kl_logps = lambda model, batch: KTOTrainer._compute_kl_logps(trainer, model, batch)
    expected = KTOTrainer._compute_loss(trainer, theirs, inputs, False)
    objective = KTO(beta=0.2, good_weight=1.3, bad_weight=0.7)
    got = mean(objective, ours, items)
    torch.testing.assert_close(got, expected, **NEAR)
    total, count = objective.metrics(ours, objective.collate(items))["kl"]
    assert float(total / count) == pytest.approx(trainer._metrics["eval"]["kl"][-1], abs=1e-4)
    for model in models:
        model.zero_grad()
    expected.backward()
    got.backward()
    torch.testing.assert_close(*gradient_of_both(theirs, ours), **NEAR)


@pytest.mark.parametrize("objective", [DPO(), DPO(kind="ipo"), SimPO(), ORPO(), ORPO(prompts=True)], ids=repr)
def test_a_pair_costs_the_same_in_whatever_company(models, other, objective):
    given = with_references(other[1], pairs(6))
    together, count = objective.loss(models[1], objective.collate(given))
    alone = [objective.loss(models[1], objective.collate([pair]))[0] for pair in given]
    assert int(count) == 6
    torch.testing.assert_close(together, torch.stack(alone).sum(), **NEAR)


def test_metrics_are_of_the_same_pass_and_say_what_they_are(models, other):
    ours, objective = models[1], DPO(beta=0.3)
    given = with_references(other[1], pairs())
    batch = objective.collate(given)
    log = torch.tensor(answer_scores(ours, sides(given))).view(2, -1)
    ratios = log - torch.tensor([pair.reference for pair in given]).T
    passes: list[int] = []
    hook = ours.register_forward_hook(lambda *_: passes.append(1))
    objective.loss(ours, batch)
    found = {name: float(total / count) for name, (total, count) in objective.metrics(ours, batch).items()}
    assert len(passes) == 1
    hook.remove()
    assert found["margin"] == pytest.approx(0.3 * float((ratios[0] - ratios[1]).mean()), abs=1e-5)
    assert found["accuracy"] == pytest.approx(float((ratios[0] > ratios[1]).float().mean()))
    tokens = sum(len(text.ids) - text.answer for text in sides(given))
    assert found["kl"] == pytest.approx(-float(ratios.sum()) / tokens, abs=1e-5)
    again = objective.metrics(ours, objective.collate(given))  # another batch object: computed anew
    assert float(again["margin"][0] / again["margin"][1]) == pytest.approx(found["margin"], abs=1e-5)


def test_references_are_computed_once_and_again_when_anything_changed(models, tmp_path: Path):
    ours, stored = models[1], tmp_path / "run" / "reference.safetensors"
    passes: list[int] = []
    hook = ours.register_forward_hook(lambda *_: passes.append(1))
    first = with_references(ours, pairs(), stored=stored, base="a")
    computed = len(passes)
    again = with_references(ours, pairs(), stored=stored, base="a")
    assert [pair.reference for pair in again] == [pair.reference for pair in first]
    assert len(passes) == computed
    with_references(ours, pairs(), stored=stored, base="b")
    assert len(passes) == 2 * computed
    with_references(ours, pairs(seed=3), stored=stored, base="b")
    assert len(passes) == 3 * computed
    stored.write_bytes(stored.read_bytes()[:20])
    with_references(ours, pairs(seed=3), stored=stored, base="b")
    assert len(passes) == 4 * computed
    hook.remove()


def test_the_reference_of_an_adapter_is_its_base(tmp_path: Path):
    _, ours = both(tmp_path)
    before = answer_scores(ours, sides(pairs()))
    adapters = attach(ours, AdapterConfig(rank=4, targets=("q_proj", "down_proj")), BY_MODEL_TYPE["llama"])
    with torch.no_grad():
        for parameter in adapters.parameters().values():
            parameter.add_(0.3)
    moved = answer_scores(ours, sides(pairs()))
    assert max(abs(a - b) for a, b in zip(before, moved, strict=True)) > 0.01
    given = with_references(ours, pairs(), without=adapters.switched_off())
    assert [pair.reference[0] for pair in given] == pytest.approx(before[:PAIRS], abs=1e-5)
    assert answer_scores(ours, sides(pairs())) == moved


def test_dpo_prefers_what_it_was_taught(tmp_path: Path):
    _, ours = both(tmp_path)
    given = with_references(ours, pairs(8))
    objective = DPO(beta=0.1)
    optimiser = torch.optim.AdamW(ours.parameters(), lr=1e-3)
    for _ in range(12):
        optimiser.zero_grad()
        mean(objective, ours, given).backward()
        optimiser.step()
    total, count = objective.metrics(ours, objective.collate(given))["accuracy"]
    assert float(total / count) == 1.0


def test_one_minus_p_is_exact_where_p_is_nearly_one_or_nearly_nothing():
    for value in (-1e-6, -0.1, -0.7, -3.0, -40.0):
        exact = np.log1p(-np.exp(np.float64(value)))
        assert float(log_one_less(torch.tensor(value, dtype=torch.float64))) == pytest.approx(exact, rel=1e-9)
    assert torch.isfinite(log_one_less(torch.tensor(0.0)))


def test_what_cannot_be_learned_from_is_refused():
    with pytest.raises(LavraError, match="compute the references first"):
        DPO().collate(pairs())
    with pytest.raises(LavraError, match="no prompt or no answer"):
        Text(np.arange(4), 4)
    with pytest.raises(LavraError, match="beta is -1"):
        DPO(beta=-1)
    with pytest.raises(LavraError, match="no label smoothing"):
        DPO(kind="ipo", label_smoothing=0.1)
    with pytest.raises(LavraError, match="at least two rows"):
        judge(texts(1), [True])
    assert places(replace(pairs()[0], margin=1.0)) == sum(text.places for text in pairs()[0].texts)
