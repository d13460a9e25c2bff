"""What is computed again on the way back is what it was: the same gradients, from less memory."""

from __future__ import annotations

import torch
from tiny import VOCABULARY, tiny_model
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from lavra.model.activations import count_activations
from lavra.model.heads import cross_entropy
from lavra.training.recompute import recompute

IDS = torch.arange(96).view(2, 48) % VOCABULARY


def step(*, again: bool) -> tuple[Tensor, dict[str, Tensor | None], int]:
    """The loss, the gradients, and the bytes that autograd held of them in between."""
    model = tiny_model(norm_position="both").train()
    if again:
        recompute(model.blocks)
    held: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss, _ = cross_entropy(model, model(IDS), IDS.roll(-1, 1))
    size = sum(tensor.untyped_storage().nbytes() for tensor in held.values())
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters()}, size


def test_loss_and_gradients_are_the_same_bits() -> None:
    loss, gradients, size = step(again=False)
    again, others, less = step(again=True)
    assert torch.equal(loss, again)
    assert all(torch.equal(one, others[name]) for name, one in gradients.items() if one is not None)  # type: ignore[arg-type]
    assert less < 0.6 * size


def test_what_the_plan_counts_lies_between_all_and_nothing_but_inputs() -> None:
    counted = count_activations(tiny_model(hidden_width=192).config, 2, 48, torch.float32)
    assert counted.checkpointed < 0.75 * counted.all
