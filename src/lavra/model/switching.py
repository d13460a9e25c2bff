"""Several adapters over one base, whose weights are held once; which of them is used is said before a pass.

Merged, an adapter costs no time, and a copy of the base. Here each stays apart, as what it adds to the output of the
maps it lies on (Hu et al. 2021, section 4.1), for a third more time a token (135M Llama, rank 16 on every map). What
does not depend on the input is computed once, at load: products of DoRA's norms, joined matrices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavra.errors import LavraError
from lavra.model.adapter_files import CONFIG, load_adapter, recorded_context
from lavra.model.adapters import Adapted
from lavra.model.base import Model
from lavra.model.families.family import Family
from lavra.model.virtual import VirtualAdapters, VirtualTokens
from lavra.model.weights import read_json

FEW_ROWS = 8
"""Up to so many, low-rank products are made in float32: at one row in a third of the time of bf16 (Zen 5)."""


class Addition:
    """What one adapter makes of the output of one map, frozen; ``dtype``: of the map's inputs."""

    def __init__(self, adapted: Adapted, dtype: torch.dtype) -> None:
        self._rows = [part.rows for part in adapted.parts]
        self._input = self._whole = self._down = self._up = self._bias = None
        config, base = adapted.config, adapted.base
        if config.method == "ia3":
            scales = [scale.detach() for scale in adapted.scales]
            if adapted.inputs:
                self._input = scales[0].to(dtype)
            else:
                self._whole = self._over_rows(scales, base.out_features).to(dtype)
            return
        self._down = torch.cat([matrix.detach().float() for matrix in adapted.down])
        # One product for all parts of a joined matrix: at one token a step each call counts, and zeros are cheap.
        up = torch.zeros(base.out_features, len(self._down), device=self._down.device)
        for index, (row, matrix) in enumerate(zip(self._rows, adapted.up, strict=True)):
            rank = matrix.shape[1]
            up[row, index * rank : (index + 1) * rank] = matrix.detach().float() * config.scale
        self._up = up.T.contiguous()
        if config.method == "dora":
            factors = [m.detach() / n for m, n in zip(adapted.magnitude, adapted.row_norms(), strict=True)]
            self._whole = self._over_rows(factors, base.out_features).to(dtype)
            self._bias = None if base.bias is None else base.bias.detach().to(dtype)

    def _over_rows(self, parts: list[Tensor], length: int) -> Tensor:
        """One factor for each row of the map; 1 where no part is adapted."""
        whole = torch.ones(length, device=parts[0].device)
        for row, part in zip(self._rows, parts, strict=True):
            whole[row] = part.float()
        return whole

    def __call__(self, base: nn.Module, x: Tensor) -> Tensor:
        if self._input is not None:
            return base(x * self._input)
        y: Tensor = base(x)
        if self._bias is not None:  # DoRA scales the weights alone
            y = y - self._bias
        if self._down is not None and self._up is not None:
            few = x.numel() // x.shape[-1] <= FEW_ROWS
            dtype = torch.float32 if few else x.dtype
            low = F.linear(x.to(dtype), self._down.to(dtype)).flatten(0, -2)
            y = y + (low @ self._up.to(dtype)).to(y.dtype).view(y.shape)
        if self._whole is not None:
            y = y * self._whole
        return y if self._bias is None else y + self._bias


class Switched(nn.Module):
    """A map with what several adapters add to it."""

    def __init__(self, base: nn.Module, choice: Choice, additions: Mapping[str, Addition]) -> None:
        super().__init__()
        self.base, self._choice, self._additions = base, choice, dict(additions)

    def forward(self, x: Tensor) -> Tensor:
        addition = self._additions.get(self._choice.name or "")
        return self.base(x) if addition is None else addition(self.base, x)


@dataclass
class Choice:
    """``name``: of the adapter in use, None for the base alone. To be changed between passes only."""

    name: str | None = None


@dataclass
class Adaptations:
    """Adapters by the name that chooses them: ``additions`` to maps by their path, ``virtual`` tokens before texts."""

    names: tuple[str, ...] = ()
    additions: dict[str, dict[str, Addition]] = field(default_factory=dict)
    virtual: dict[str, VirtualTokens] = field(default_factory=dict)

    def lay(self, model: Model) -> Choice:
        """Put them over ``model``, however its maps are packed by now."""
        choice = Choice()
        for path, additions in self.additions.items():
            model.set_submodule(path, Switched(model.get_submodule(path), choice, additions))
        return choice


@torch.no_grad()
def read_adapters(
    model: Model, family: Family, named: Mapping[str, Path], *, base_sha256: str = "", dtype: torch.dtype | None = None
) -> Adaptations:
    """The adapters in the directories of ``named``, over ``model``, which is left as it was.

    Raises LavraError as ``load_adapter`` does, and for an adapter that changes the base itself (modules trained whole,
    a stretched context): that one cannot share it.
    """
    found = Adaptations(tuple(named))
    for name, directory in named.items():
        if read_json(directory / CONFIG).get("modules_to_save") or recorded_context(directory):
            raise LavraError(
                f"the adapter {name} changes modules of its base and cannot share it with others; serve it alone"
            )
        adapters = load_adapter(model, family, directory, base_sha256=base_sha256)
        if isinstance(adapters, VirtualAdapters):
            found.virtual[name] = adapters.virtual.requires_grad_(False).to(dtype or model.dtype)
        for path, adapted in adapters.by_path.items():
            found.additions.setdefault(path, {})[name] = Addition(adapted, dtype or model.dtype)
        adapters.detach()
    return found
