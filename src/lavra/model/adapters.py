"""Adapters: a few trained numbers over a frozen model. LoRA (Hu et al. 2021), rsLoRA (Kalajdzievski 2023), DoRA (Liu et
al. 2024) and IA³ (Liu et al. 2022), on the linear maps of the blocks. Prompt and prefix tuning are in ``virtual.py``.

Lavra joins projections that read the same input (query, key and value are one matrix), while the world's adapters
speak of ``q_proj``: each part of a joined matrix has an adapter of its own, named as the model's family names it. The
frozen matrix computes no gradient of itself, so that a step of LoRA costs two thirds of a full one. Files are in
``adapter_files.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavra.errors import LavraError
from lavra.model.base import Model
from lavra.model.families.family import Family, Layout
from lavra.model.placing import empty_model, places
from lavra.model.quantised import QuantisedLinear, Storage, may_be_quantised

Method = Literal["lora", "dora", "ia3", "prompt", "prefix"]
METHODS: tuple[Method, ...] = ("lora", "dora", "ia3", "prompt", "prefix")
VIRTUAL: tuple[Method, ...] = ("prompt", "prefix")
"""Those that change no map, but put virtual tokens before texts."""


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """``rank`` r and ``alpha``: what is added is alpha / r · B A, or alpha / √r with ``rank_stabilised``. ``targets``:
    the maps that are adapted, by the last part of their names in the family's files (``q_proj``), none for all.
    ``inputs``: of these, the ones that IA³ scales at their input (the MLP's last map). ``whole``: modules that
    are trained as they are beside the adapter, by Lavra's name or the file's (LongLoRA: ``embedding`` and every
    ``norm``). ``tokens``: the virtual ones of prompt and prefix, which have nothing of the rest."""

    method: Method = "lora"
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    rank_stabilised: bool = False
    targets: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ("down_proj", "wo", "c_proj", "dense_4h_to_h", "fc2")
    whole: tuple[str, ...] = ()
    tokens: int = 20

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise LavraError(f"adapter: method is {self.method!r}; Lavra knows {', '.join(METHODS)}")
        if type(self.rank) is not int or not 1 <= self.rank <= 4096:
            raise LavraError(f"adapter: rank is {self.rank!r}; it must be a whole number from 1 to 4096")
        if type(self.tokens) is not int or not 1 <= self.tokens <= 4096:
            raise LavraError(f"adapter: tokens is {self.tokens!r}; it must be a whole number from 1 to 4096")
        for name, least, most in (("alpha", 0.0, 1e6), ("dropout", 0.0, 0.99)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
                raise LavraError(f"adapter: {name} is {value!r}; it must lie between {least:g} and {most:g}")

    @property
    def scale(self) -> float:
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)


@dataclass(frozen=True)
class Part:
    """Rows ``start`` to ``start + length`` of a joined matrix, which a family's files call ``name``."""

    name: str
    start: int
    length: int
    layout: Layout | None = None

    @property
    def rows(self) -> slice:
        return slice(self.start, self.start + self.length)


class Adapted(nn.Module):
    """A linear map with an adapter over it; see ``quantised.py`` for a base in fewer bits."""

    def __init__(
        self, base: nn.Linear | QuantisedLinear, parts: Sequence[Part], config: AdapterConfig, *, inputs: bool = False
    ) -> None:
        super().__init__()
        self.base = base
        self.parts, self.config = tuple(parts), config
        self.inputs = inputs and config.method == "ia3"
        self.active = True
        columns, device = base.in_features, next(iter((*base.parameters(), *base.buffers()))).device
        if config.method == "ia3":
            sizes = [columns] if self.inputs else [part.length for part in parts]
            self.scales = nn.ParameterList(nn.Parameter(torch.ones(size, device=device)) for size in sizes)
            return
        rank = config.rank
        self.down = nn.ParameterList(nn.Parameter(torch.empty(rank, columns, device=device)) for _ in parts)
        self.up = nn.ParameterList(nn.Parameter(torch.zeros(part.length, rank, device=device)) for part in parts)
        for matrix in self.down:
            nn.init.kaiming_uniform_(matrix, a=math.sqrt(5))
        if config.method == "dora":
            norms = weight_of(base).float().norm(dim=1)
            self.magnitude = nn.ParameterList(nn.Parameter(norms[part.rows].clone()) for part in parts)

    def forward(self, x: Tensor) -> Tensor:
        if not self.active:
            return self.base(x)
        if self.config.method == "ia3":
            return self._scale(x)
        if self.config.method == "dora":
            return self._decompose(x)
        dropped = F.dropout(x, self.config.dropout, self.training) if self.config.dropout else None
        if dropped is None:
            return _LowRank.apply(
                x,
                self.base,
                torch.cat(list(self.down)).to(x.dtype),
                [part.rows for part in self.parts],
                self.config.scale,
                *(matrix.to(x.dtype) for matrix in self.up),
            )
        return self._add(self.base(x), dropped)

    def _add(self, y: Tensor, x: Tensor, factors: Sequence[Tensor] | None = None) -> Tensor:
        """``y`` with every part's product added to its rows."""
        pieces, at = [], 0
        for index, part in enumerate(self.parts):
            low = F.linear(x, self.down[index].to(x.dtype))
            given = F.linear(low, self.up[index].to(x.dtype)) * self.config.scale
            if part.start > at:
                pieces.append(y[..., at : part.start])
            mine = y[..., part.rows]
            pieces.append(mine + given if factors is None else factors[index] * (mine + given))
            at = part.start + part.length
        if at < y.shape[-1]:
            pieces.append(y[..., at:])
        return torch.cat(pieces, -1) if len(pieces) > 1 else pieces[0]

    def _decompose(self, x: Tensor) -> Tensor:
        """DoRA, eq. 5: the direction is the sum's, the length of each row is trained apart. As the paper advises
        (section 4.3), no gradient flows through the norm."""
        bias = self.base.bias
        y = self.base(x) if bias is None else self.base(x) - bias
        factors = [(m / n).to(x.dtype) for m, n in zip(self.magnitude, self.row_norms(), strict=True)]
        y = self._add(y, F.dropout(x, self.config.dropout, self.training), factors)
        return y if bias is None else y + bias

    @torch.no_grad()
    def row_norms(self) -> list[Tensor]:
        """The length of each row of W + scale · B A, a part at a time, without making the sum:
        |w|² + 2 s b · (A w) + s² b · (A Aᵀ) b."""
        weight, scale, norms = weight_of(self.base).float(), self.config.scale, []
        for part, a, b in zip(self.parts, self.down, self.up, strict=True):
            mine, a32, b32 = weight[part.rows], a.float(), b.float()
            squares = mine.square().sum(1) + 2 * scale * (b32 * (mine @ a32.T)).sum(1)
            squares += scale**2 * ((b32 @ (a32 @ a32.T)) * b32).sum(1)
            norms.append(squares.clamp_min(1e-12).sqrt())
        return norms

    def _scale(self, x: Tensor) -> Tensor:
        if self.inputs:
            return self.base(x * self.scales[0].to(x.dtype))
        y = self.base(x)
        whole = torch.ones(y.shape[-1], dtype=y.dtype, device=y.device)
        pieces, at = [], 0
        for part, scales in zip(self.parts, self.scales, strict=True):
            pieces += [whole[at : part.start], scales.to(y.dtype)]
            at = part.start + part.length
        return y * torch.cat([*pieces, whole[at:]])

    @torch.no_grad()
    def merged(self) -> Tensor:
        """The weight that computes the same without an adapter, in float32: (out, in)."""
        weight = weight_of(self.base).float().clone()
        if self.config.method == "ia3":
            if self.inputs:
                return weight * self.scales[0].float()
            for part, scales in zip(self.parts, self.scales, strict=True):
                weight[part.rows] *= scales.float()[:, None]
            return weight
        norms = self.row_norms() if self.config.method == "dora" else []
        for index, part in enumerate(self.parts):
            weight[part.rows] += self.config.scale * self.up[index].float() @ self.down[index].float()
            if norms:
                weight[part.rows] *= (self.magnitude[index] / norms[index])[:, None]
        return weight

    @torch.no_grad()
    def merged_bias(self) -> Tensor | None:
        """IA³ at the output scales the bias too."""
        if self.base.bias is None or self.config.method != "ia3" or self.inputs:
            return self.base.bias
        bias = self.base.bias.float().clone()
        for part, scales in zip(self.parts, self.scales, strict=True):
            bias[part.rows] *= scales.float()
        return bias


class _LowRank(torch.autograd.Function):
    """x Wᵀ + b + s · (x Aᵀ) Bᵀ, each B over its own rows; no gradient of W is computed, and only x and x Aᵀ kept."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, base: nn.Module, a: Tensor, rows: list[slice], scale: float, *bs: Tensor
    ) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        low = flat @ a.T
        y = base(flat)
        for row, b, mine in zip(rows, bs, low.split(bs[0].shape[1], 1), strict=True):
            y[:, row].addmm_(mine, b.T, alpha=scale)
        ctx.save_for_backward(flat, a, low, *bs)
        ctx.base, ctx.rows, ctx.scale, ctx.shape = base, rows, scale, x.shape
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        flat, a, low, *bs = ctx.saved_tensors
        dy = gradients[0].reshape(len(flat), -1)
        dlow = torch.cat([dy[:, row] @ b for row, b in zip(ctx.rows, bs, strict=True)], 1).mul_(ctx.scale)
        dbs = [
            (dy[:, row].T @ mine).mul_(ctx.scale)
            for row, mine in zip(ctx.rows, low.split(bs[0].shape[1], 1), strict=True)
        ]
        dx = None
        if ctx.needs_input_grad[0]:
            dx = (dy @ weight_of(ctx.base, dy.dtype)).addmm_(dlow, a).view(ctx.shape)
        return dx, None, dlow.T @ flat, None, None, *dbs


def weight_of(base: nn.Module, dtype: torch.dtype = torch.float32) -> Tensor:
    """The (out, in) weight of a linear map, whatever it is kept in; ``dtype`` of one that must be made."""
    if isinstance(base, QuantisedLinear):
        return base.dense_weight(dtype)
    assert isinstance(base, nn.Linear)
    return base.weight


@dataclass
class Adapters:
    """The adapters that :func:`attach` put on a model, by the path of the map in it."""

    model: Model
    config: AdapterConfig
    by_path: dict[str, Adapted]
    whole: dict[str, nn.Parameter]
    stored: dict[str, str]
    """What the family's files call each module trained whole, without the prefix."""
    others: tuple[str, ...] = ()
    """The maps without an adapter, as the family's files call them."""

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by name in the model."""
        mine = {
            f"{path}.{n}": p for path, a in self.by_path.items() for n, p in a.named_parameters() if p.requires_grad
        }
        return mine | self.whole

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        """The model as it was, for a reference beside itself. Modules trained whole stay as they are now."""
        before = {path: adapted.active for path, adapted in self.by_path.items()}
        try:
            for adapted in self.by_path.values():
                adapted.active = False
            yield
        finally:
            for path, active in before.items():
                self.by_path[path].active = active

    def quantise(self, storage: Storage) -> None:
        """Keep the frozen maps under the adapters in fewer bits (QLoRA)."""
        for adapted in self.by_path.values():
            if isinstance(adapted.base, nn.Linear):
                adapted.base = QuantisedLinear(adapted.base, storage)

    def detach(self) -> Model:
        """Take the adapters off; the model is as it was (modules trained whole stay trained)."""
        for path, adapted in self.by_path.items():
            _put(self.model, path, adapted.base)
        return self.model

    @torch.no_grad()
    def merge(self) -> Model:
        """Put what was learned into the weights and take the adapters off. Each sum is made in float32 and rounded
        once. :func:`prove_merge` compares; a base kept in fewer bits becomes a plain one of the model's dtype."""
        for path, adapted in self.by_path.items():
            _put(self.model, path, _plain(adapted.merged(), adapted.merged_bias(), self.model.dtype))
        for path, module in list(self.model.named_modules()):
            if isinstance(module, QuantisedLinear):  # without an adapter
                _put(self.model, path, _plain(module.dense_weight(), module.bias, self.model.dtype))
        return self.model


def attach(model: Model, config: AdapterConfig, family: Family, *, seed: int = 0) -> Adapters:
    """Freeze ``model`` and put adapters over the linear maps of its blocks that ``config`` names.

    What an adapter adds at first is nothing: B is 0 (IA³: all scales 1). ``family``: whose names the parts have.
    Raises LavraError for a target that no map of the model has, naming those there are.
    """
    if config.method in VIRTUAL:
        from lavra.model.virtual import attach_virtual  # which knows this file

        return attach_virtual(model, config, seed=seed)
    model.requires_grad_(False)
    known: set[str] = set()
    found: dict[str, list[Part]] = {}
    stored: dict[str, str] = {}
    plain = empty_model(model.config)  # a model in few bits has no such parameters
    for name, _, parts in places(plain, family):
        if len(parts) == 1:
            stored[name] = parts[0].name
        path, _, leaf = name.rpartition(".")
        if leaf != "weight" or not may_be_quantised(path, _get(plain, path)):
            continue
        mine = [Part(p.name.removesuffix(family.leaves["weight"]), p.start, p.length, p.layout) for p in parts]
        known |= {part.name for part in mine}
        wanted = [part for part in mine if not config.targets or _matches(part.name, config.targets)]
        if wanted:
            found[path] = wanted
    names = sorted({_last(name) for name in known})
    for target in config.targets:
        if not any(_matches(part.name, (target,)) for parts in found.values() for part in parts):
            raise LavraError(f"adapter: no map of the model is called {target!r}; it has {', '.join(names)}")
    adapted: dict[str, Adapted] = {}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for path, chosen in found.items():
            linear = _get(model, path)
            assert isinstance(linear, (nn.Linear, QuantisedLinear))
            layer = Adapted(linear, chosen, config, inputs=_matches(chosen[0].name, config.inputs))
            adapted[path] = layer
            _put(model, path, layer)
    whole = _whole(model, config, stored)
    others = tuple(sorted(known - {part.name for parts in found.values() for part in parts}))
    return Adapters(model, config, adapted, whole, {name: stored[name] for name in whole}, others)


def _whole(model: Model, config: AdapterConfig, stored: dict[str, str]) -> dict[str, nn.Parameter]:
    """The parameters trained as they are."""
    chosen: dict[str, nn.Parameter] = {}
    for name, parameter in model.named_parameters():
        if name in stored and any(_is_called(name, stored[name], wanted) for wanted in config.whole):
            parameter.requires_grad_(True)
            chosen[name] = parameter
    if config.whole and not chosen:
        raise LavraError(f"adapter: no module of the model is called {', '.join(config.whole)}")
    return chosen


def _is_called(name: str, stored: str, wanted: str) -> bool:
    """Whether a person, or peft, means the module of parameter ``name`` when they say ``wanted``."""
    module = _last(name.rpartition(".")[0])
    return module == wanted or module.endswith("_" + wanted) or _last(stored.rpartition(".")[0]) == wanted


@torch.no_grad()
def prove_merge(adapters: Adapters, ids_BT: Tensor, *, tolerance: float | None = None) -> Model:
    """Merge, and compare the hidden states of ``ids_BT`` before and after.

    ``tolerance`` of the largest difference, relative to the largest state: by default 1e-4 in float32 and, for weights
    rounded once more to bf16, 5%. Raises LavraError where it is exceeded; the model then has its adapters still.
    """
    model = adapters.model
    allowed = tolerance if tolerance is not None else (1e-4 if model.dtype is torch.float32 else 0.05)
    was_training = model.training
    model.eval()
    before = model(ids_BT).float()
    adapters.merge()
    after = model(ids_BT).float()
    difference = float((after - before).abs().max() / before.abs().max().clamp_min(1e-12))
    if not difference <= allowed:
        for path, adapted in adapters.by_path.items():
            _put(model, path, adapted)
        raise LavraError(
            f"the merged model differs from the model with its adapter by {difference:.2g} (allowed {allowed:g}); "
            "nothing was merged; keep the adapter apart, or merge into float32 weights"
        )
    return model.train(was_training)


def _plain(weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> nn.Linear:
    """A map of ``weight`` (out, in) and ``bias``, rounded to ``dtype``, frozen."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
    return linear


def _matches(name: str, wanted: Sequence[str]) -> bool:
    return any(name == target or name.endswith("." + target) for target in wanted)


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _get(model: nn.Module, path: str) -> nn.Module:
    return model.get_submodule(path)


def _put(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
