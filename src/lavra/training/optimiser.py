"""AdamW (Loshchilov and Hutter 2017, algorithm 2) over float32 masters of weights that are computed with in bf16.

An update is often smaller than the last bit of a bf16 weight and would be lost; the masters keep it (Micikevicius et
al. 2017, section 3.1). A float32 parameter is its own master. Weight decay is for matrices only: norms and biases have
nothing to be decayed towards. The arithmetic is PyTorch's fused kernel: one pass over memory, which also divides the
gradient sums.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lavra.training.gradients import local


class AdamW:
    """Over ``parameters`` by name; of a sharded one, this rank's part."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        *,
        betas: tuple[float, float],
        epsilon: float,
        weight_decay: float,
    ) -> None:
        self._computed: dict[str, Tensor] = {}  # weights of lower precision, which follow their masters
        self.masters: dict[str, Tensor] = {}
        for name, parameter in parameters.items():
            held = local(parameter.detach())
            if held.dtype == torch.float32:
                self.masters[name] = held
            else:
                self._computed[name] = held
                self.masters[name] = held.float()
        matrices = [name for name, parameter in parameters.items() if parameter.dim() >= 2]
        others = [name for name in parameters if name not in set(matrices)]
        # Parts of no elements are of ranks that a small tensor does not reach.
        groups = [
            {"params": [self.masters[name] for name in names if self.masters[name].numel()], "weight_decay": decay}
            for names, decay in ((matrices, weight_decay), (others, 0.0))
        ]
        groups = [group for group in groups if group["params"]]
        self._optimiser = torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=epsilon, fused=True) if groups else None

    @torch.no_grad()
    def step(self, sums: Mapping[str, Tensor], *, rate: float, divisor: float) -> None:
        """One update by the gradients ``sums`` / ``divisor``; a parameter without a sum stays as it is."""
        if self._optimiser is None:
            return
        for name, master in self.masters.items():
            master.grad = sums.get(name) if master.numel() else None
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        device = next(iter(self.masters.values())).device
        # The kernel divides by this: where mixed precision of fp16 puts its loss scale.
        self._optimiser.grad_scale = torch.tensor(divisor, dtype=torch.float32, device=device)  # type: ignore[attr-defined]
        self._optimiser.step()
        for master in self.masters.values():
            master.grad = None
        self.publish()

    @torch.no_grad()
    def publish(self) -> None:
        """Round the masters into the weights that are computed with."""
        if self._computed:
            torch._foreach_copy_(list(self._computed.values()), [self.masters[name] for name in self._computed])

    def state(self) -> tuple[dict[str, int], dict[str, dict[str, Tensor]]]:
        """How many updates each parameter had, and by kind and name what the next one depends on; not copied."""
        updates: dict[str, int] = {}
        first: dict[str, Tensor] = {}
        second: dict[str, Tensor] = {}
        for name, master in self.masters.items():
            held = self._optimiser.state.get(master) if self._optimiser is not None else None
            if held:
                first[name], second[name], updates[name] = held["exp_avg"], held["exp_avg_sq"], int(held["step"])
        return updates, {"weights": dict(self.masters), "first": first, "second": second}

    @torch.no_grad()
    def load(self, updates: Mapping[str, int], tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Continue from :meth:`state`; the tensors are copied from. A parameter without moments had no update yet."""
        for name, master in self.masters.items():
            master.copy_(tensors["weights"][name])
            if self._optimiser is None or not master.numel():
                continue
            self._optimiser.state.pop(master, None)
            if name in updates:
                self._optimiser.state[master] = {
                    "step": torch.tensor(float(updates[name]), device=master.device),
                    "exp_avg": tensors["first"][name].to(master.device, copy=True),
                    "exp_avg_sq": tensors["second"][name].to(master.device, copy=True),
                }
        self.publish()
