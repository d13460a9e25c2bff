"""What is computed again on the way back is what it was: the same gradients, from less memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny import VOCABULARY, tiny_model
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from lavra.model.activations import count_activations
from lavra.model.base import Model
from lavra.model.heads import cross_entropy
from lavra.training.recompute import mlps_are_recomputed, recompute, recompute_mlps

IDS = torch.arange(96).view(2, 48) % VOCABULARY


def blocks(model: Model) -> None:
    recompute(model.blocks)


def step(prepare: Callable[[Model], None]) -> tuple[Tensor, dict[str, Tensor | None], int]:
    """The loss, the gradients, and the bytes that autograd held of them in between."""
    model = tiny_model(norm_position="both").train()
    prepare(model)
    held: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss, _ = cross_entropy(model, model(IDS), IDS.roll(-1, 1))
    size = sum(tensor.untyped_storage().nbytes() for tensor in held.values())
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters()}, size


@pytest.mark.parametrize("prepare", [recompute_mlps, blocks], ids=["mlps", "blocks"])
def test_loss_and_gradients_are_the_same_bits(prepare: Callable[[Model], None]) -> None:
    loss, gradients, size = step(lambda model: None)
    again, others, less = step(prepare)
    assert torch.equal(loss, again)
    assert all(torch.equal(one, others[name]) for name, one in gradients.items() if one is not None)  # type: ignore[arg-type]
    assert less < 0.6 * size


def test_what_the_plan_counts_lies_between_all_and_nothing_but_inputs() -> None:
    counted = count_activations(tiny_model(hidden_width=192).config, 2, 48, torch.float32)
    assert counted.checkpointed < counted.mlps_checkpointed < 0.75 * counted.all


def test_only_the_choice_of_mlps_is_called_one() -> None:
    model = tiny_model()
    assert not mlps_are_recomputed(model)
    recompute_mlps(model)
    assert mlps_are_recomputed(model)
    assert not mlps_are_recomputed(nn.Linear(2, 2))
