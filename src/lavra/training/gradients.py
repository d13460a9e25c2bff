"""Gradients of micro-batches summed in float32, while the backward pass goes on.

A bf16 gradient that is added to a bf16 sum loses three digits each time; and a loop that divides each micro-batch by
its own count weighs tokens unequally. Here each parameter's gradient is added to a float32 sum as soon as it is there,
then dropped, so that bf16 gradients of all parameters never exist at once; the one division is the optimiser's.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def local(tensor: Tensor) -> Tensor:
    """What of a sharded tensor lies on this rank; any other tensor itself."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


class GradientSums:
    """The sums of ``parameters``' gradients since :meth:`clear`, by name; on each rank its own part."""

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self._parameters = dict(parameters)
        self._sums: dict[str, Tensor] = {}
        self._fresh: set[str] = set()  # have a sum of this step
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(lambda _, name=name: self._take(name))
            for name, parameter in self._parameters.items()
        ]

    def _take(self, name: str) -> None:
        parameter = self._parameters[name]
        if parameter.grad is None:
            return
        gradient, parameter.grad = local(parameter.grad.detach()), None
        if name in self._fresh:
            self._sums[name].add_(gradient)
        elif gradient.dtype == torch.float32:
            self._sums[name] = gradient
        elif name in self._sums:
            self._sums[name].copy_(gradient)
        else:
            self._sums[name] = gradient.float()
        self._fresh.add(name)

    def finish(self) -> None:
        """After a backward pass: whatever no hook has taken."""
        for name in self._parameters:
            self._take(name)

    def get(self) -> dict[str, Tensor]:
        """Of the parameters that had any gradient."""
        return {name: self._sums[name] for name in self._parameters if name in self._fresh}

    def complete(self) -> dict[str, Tensor]:
        """Of all parameters, zeros where there was no gradient: what ranks can add up."""
        for name, parameter in self._parameters.items():
            if name not in self._fresh:
                self._sums[name] = torch.zeros_like(local(parameter.detach()), dtype=torch.float32)
                self._fresh.add(name)
        return self.get()

    def clear(self) -> None:
        """Forget the sums; the memory of those that hooks convert into is kept for the next step."""
        for name in self._fresh:
            if self._parameters[name].dtype == torch.float32:
                del self._sums[name]
        self._fresh.clear()
        for parameter in self._parameters.values():
            parameter.grad = None

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self.clear()
        self._sums.clear()


def squared_norm(tensors: Mapping[str, Tensor]) -> Tensor:
    """Σ x², (), float64: NaN or infinite where any element is."""
    if not tensors:
        return torch.zeros((), dtype=torch.float64)
    norms = torch._foreach_norm(list(tensors.values()))
    return torch.stack(norms).double().square().sum()
