"""A step is what the formula says, however it is computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import LENGTH, Steps, loader, settings, tiny_model, trainer
from torch import Tensor, nn

from lavra.errors import LavraError
from lavra.model.heads import logits
from lavra.objectives.language import LanguageModel
from lavra.objectives.objective import IGNORE, Batch
from lavra.objectives.packing import Example, PackedRows
from lavra.training.loader import ShuffledLoader
from lavra.training.loop import Trainer
from lavra.training.optimiser import AdamW
from lavra.training.run import RunDirectory
from lavra.training.schedules import rate_share


def losses(path: Path, **changes: Any) -> tuple[list[float], nn.Module]:
    steps = Steps()
    run = trainer(path, callbacks=[steps], **changes)
    run.train()
    return [step.loss for step in steps.seen], run.model


def test_accumulating_1_4_and_16_micro_batches_gives_the_same_losses(tmp_path: Path) -> None:
    found = {}
    for pieces in (1, 4, 16):
        found[pieces], _ = losses(
            tmp_path / str(pieces), steps=10, batch_tokens=16 * LENGTH, micro_tokens=16 * LENGTH // pieces
        )
    assert found[4] == pytest.approx(found[1], rel=1e-6)
    assert found[16] == pytest.approx(found[1], rel=1e-6)


def test_in_bf16_too_only_rounding_differs(tmp_path: Path) -> None:
    found = [
        losses(
            tmp_path / str(pieces), steps=10, model=tiny_model(dtype=torch.bfloat16),
            batch_tokens=16 * LENGTH, micro_tokens=16 * LENGTH // pieces,
        )[0]
        for pieces in (1, 16)
    ]  # fmt: skip
    assert found[1] == pytest.approx(found[0], rel=2e-3)


def test_steps_are_those_of_a_plain_loop_with_pytorchs_own_optimiser(tmp_path: Path) -> None:
    """Full logits, one batch a step, mean over all targets, clipping by PyTorch, AdamW not fused."""
    chosen = settings(steps=6, clip=0.5, weight_decay=0.1)
    model, objective, data = tiny_model(), LanguageModel(), loader(chosen)
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=1.0, betas=chosen.betas, eps=chosen.epsilon, fused=False, foreach=False,
    )  # fmt: skip
    expected = []
    for step in range(6):
        rows = [row for micro in data.next_step() for row in micro.examples]
        batch = objective.collate(rows)
        assert batch.targets_BT is not None
        scores = logits(model, model(batch.ids_BT, mask=batch.mask(causal=True)))
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), batch.targets_BT.flatten(), ignore_index=IGNORE)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        for group in optimiser.param_groups:
            group["lr"] = chosen.learning_rate * rate_share(chosen, step, 6)
        optimiser.step()
        expected.append(loss.item())
    found, trained = losses(tmp_path, steps=6, clip=0.5, weight_decay=0.1)
    assert found == pytest.approx(expected, rel=1e-5)
    for ours, theirs in zip(trained.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)


def test_adamw_is_pytorchs_and_decays_matrices_only() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(7, 5), nn.Linear(7, 5)
    theirs.load_state_dict(ours.state_dict())
    mine = AdamW(dict(ours.named_parameters()), betas=(0.9, 0.99), epsilon=1e-6, weight_decay=0.3)
    reference = torch.optim.AdamW(
        [{"params": [theirs.weight], "weight_decay": 0.3}, {"params": [theirs.bias], "weight_decay": 0.0}],
        betas=(0.9, 0.99), eps=1e-6,
    )  # fmt: skip
    for step in range(5):
        gradients = {"weight": torch.randn(5, 7), "bias": torch.randn(5)}
        for name, parameter in theirs.named_parameters():
            parameter.grad = gradients[name] / 3.0
        for group in reference.param_groups:
            group["lr"] = 0.1 / (step + 1)
        reference.step()
        mine.step(gradients, rate=0.1 / (step + 1), divisor=3.0)
        torch.testing.assert_close(ours.weight, theirs.weight)
        torch.testing.assert_close(ours.bias, theirs.bias)


def test_masters_keep_updates_that_bf16_would_lose() -> None:
    layer = nn.Linear(4, 4, bias=False, dtype=torch.bfloat16)
    nn.init.ones_(layer.weight)
    optimiser = AdamW(dict(layer.named_parameters()), betas=(0.9, 0.99), epsilon=1e-8, weight_decay=0.0)
    for _ in range(20):  # each a quarter of the last bit of 1
        optimiser.step({"weight": torch.ones(4, 4)}, rate=1e-3, divisor=1.0)
    assert optimiser.masters["weight"].allclose(torch.tensor(0.98), atol=1e-4)
    assert layer.weight.eq(torch.tensor(0.98).bfloat16()).all()


def test_checkpointed_activations_change_no_bit(tmp_path: Path) -> None:
    plain, first = losses(tmp_path / "plain", steps=4)
    again, second = losses(tmp_path / "again", steps=4, checkpointing=True)
    assert plain == again
    assert all(a.equal(b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_only_what_requires_gradients_is_trained_and_saved(tmp_path: Path) -> None:
    model = tiny_model().requires_grad_(False)
    model.blocks[1].mlp.down.weight.requires_grad_()  # type: ignore[union-attr]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    run = trainer(tmp_path, model=model, steps=3)
    run.train()
    changed = [name for name, p in model.named_parameters() if not p.equal(before[name])]
    assert changed == ["blocks.1.mlp.down.weight"]
    assert run.plan.trained == before["blocks.1.mlp.down.weight"].numel()
    assert list(run.optimiser.masters) == changed


def test_a_step_whose_labels_are_all_masked_is_refused(tmp_path: Path) -> None:
    ids = torch.arange(20).numpy()
    rows = PackedRows([Example(ids, 0.0 * ids)], LENGTH)
    chosen = settings(steps=1)
    data = ShuffledLoader(rows, rows.sizes, batch_tokens=LENGTH, micro_tokens=LENGTH)
    with pytest.raises(LavraError, match="every label of its examples is masked"):
        Trainer(tiny_model(), LanguageModel(), data, chosen, RunDirectory(tmp_path)).train()


class Agreement(LanguageModel):
    """With a metric: how many targets are odd."""

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        assert batch.targets_BT is not None
        valid = batch.targets_BT[batch.targets_BT != IGNORE]
        return {"odd": ((valid % 2).sum(), torch.tensor(len(valid)))}


def test_metrics_are_divided_over_the_whole_step(tmp_path: Path) -> None:
    found: dict[int, Sequence[float]] = {}
    for micro in (1, 8):
        chosen, steps = settings(steps=3, micro_tokens=micro * LENGTH), Steps()
        Trainer(
            tiny_model(), Agreement(), loader(chosen), chosen, RunDirectory(tmp_path / str(micro)), callbacks=[steps]
        ).train()
        found[micro] = [step.metrics["odd"] for step in steps.seen]
    assert found[1] == pytest.approx(found[8], rel=1e-12)


def test_nothing_to_train_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LavraError, match="nothing of this model is trained"):
        trainer(tmp_path, model=tiny_model().requires_grad_(False))
