"""Proof on export: what was written is read again, by the reader that everyone uses, and compared with the model.

Three things are compared: the config; every tensor, bit for bit or within the bound of its number format; and what
both compute for the same inputs. The second model is never whole in memory: its blocks are read as the pass reaches
them and dropped behind it, and what came back bit for bit outside the blocks is the first model's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from lavra.errors import LavraError
from lavra.model.base import Model
from lavra.model.config import ModelConfig
from lavra.model.families.family import Family
from lavra.model.heads import logits
from lavra.model.placing import Place, empty_model
from lavra.model.weights import Source, open_model, plan, read_parameter

_TEXTS, _TOKENS = 2, 24
_PIECE = 1 << 18  # elements that are compared at once
_BLOCK = 32  # weights that share a scale in every format that is written


@dataclass(frozen=True)
class Precision:
    """How far a tensor may be from what was written. ``dtype``: it was rounded to that, and is compared exactly.
    Else no weight may be off by more than ``bound`` times the largest of its block of 32. ``answer``: how far, in
    proportion, hidden states and logits may be from the model's own."""

    dtype: torch.dtype | None
    bound: float
    answer: float

    @classmethod
    def of_dtype(cls, dtype: torch.dtype) -> Precision:
        # Rounding alone moved answers of small random models by a third of these.
        return cls(dtype, 0.0, {torch.float32: 1e-5, torch.float16: 0.02}.get(dtype, 0.1))


def prove(
    model: Model,
    path: Path,
    precision: Callable[[str], Precision],
    *,
    same: Callable[[ModelConfig, ModelConfig], str | None],
) -> None:
    """Raises LavraError, saying what differs, when ``path`` does not hold ``model``.

    ``precision``: of a tensor, by its name in the file. ``same``: the first difference between two configs.
    """
    try:
        family, config, source = open_model(path)
        if difference := same(model.config, config):
            _differ(f"the config has {difference}")
        _compute_both(model, family, config, source, path.name, precision)
    except LavraError as error:
        raise LavraError(f"what was written cannot be trusted, so nothing was kept: {error}") from error


def _differ(what: str) -> NoReturn:
    raise LavraError(f"{what} when it is read again")


def _compute_both(
    model: Model,
    family: Family,
    config: ModelConfig,
    source: Source,
    where: str,
    precision: Callable[[str], Precision],
) -> None:
    again = empty_model(config).eval()
    ours = dict(model.named_parameters())
    blocks = _blocks(again)
    in_blocks: dict[nn.Module, dict[str, Callable[[], Tensor]]] = {}
    allowed = 0.0
    for name, parameter, parts in plan(again, family, source, where):
        allowed = max(allowed, *(precision(place.name).answer for place in parts))
        read = partial(_read, ours[name].detach(), parameter, parts, source, config, precision)
        beginning = next((prefix for prefix in blocks if name.startswith(prefix)), None)
        if beginning is None:
            _put(again, name, read())
        else:
            in_blocks.setdefault(blocks[beginning], {})[name.removeprefix(beginning)] = read
    with torch.inference_mode(), _evaluating(model):
        wanted = _answers(model)
        with _filled_in_turn(in_blocks):
            got = _answers(again)
    for what, tensor in wanted.items():
        _close(what, tensor, got[what], allowed)


def _read(
    mine: Tensor,
    parameter: Tensor,
    parts: list[Place],
    source: Source,
    config: ModelConfig,
    precision: Callable[[str], Precision],
) -> Tensor:
    """The parameter as the file has it, compared; ``mine`` itself where it is the same, which saves its memory."""
    found = read_parameter(parameter, parts, source, config, dtype=mine.dtype, device=mine.device)
    _compare(mine, found, parts, precision)
    return mine if torch.equal(mine, found) else found


def _blocks(model: Model) -> dict[str, nn.Module]:
    """The blocks of all stacks by the beginning of their parameters' names."""
    return {
        f"{name}.{index}.": block
        for name, blocks in model.named_modules()
        if isinstance(blocks, nn.ModuleList) and name.rpartition(".")[2] == "blocks"
        for index, block in enumerate(blocks)
    }


def _compare(mine: Tensor, found: Tensor, parts: list[Place], precision: Callable[[str], Precision]) -> None:
    """Raises LavraError naming the file's tensor that came back as another."""
    for place in parts:
        allowed, slack = precision(place.name), 2.0**-23 if place.layout == "plus_one" else 0.0
        for wanted, got in zip(_pieces(place.view(mine)), _pieces(place.view(found)), strict=True):
            if not _same(wanted, got, allowed, slack):
                _differ(f"the tensor {place.name} holds other numbers")


def _same(wanted: Tensor, got: Tensor, allowed: Precision, slack: float) -> bool:
    """``slack``: of what is stored plus one, which was rounded once more."""
    if allowed.dtype is not None:
        rounded = wanted if allowed.dtype == wanted.dtype else wanted.to(allowed.dtype).to(wanted.dtype)
        return torch.equal(got, rounded) or (slack > 0 and torch.allclose(got, rounded, rtol=0, atol=slack))
    rows = wanted.float().reshape(-1, _BLOCK)
    largest = rows.abs().amax(1, keepdim=True)
    return bool(((got.float().reshape(-1, _BLOCK) - rows).abs() <= allowed.bound * largest + 1e-7).all())


def _pieces(tensor: Tensor) -> tuple[Tensor, ...]:
    """Some rows at a time, so that comparing takes no second tensor's memory."""
    if tensor.dim() < 2:
        return (tensor,)
    return tensor.split(max(1, len(tensor) * _PIECE // tensor.numel()))


def _answers(model: Model) -> dict[str, Tensor]:
    """What the model computes for fixed inputs: hidden states, and logits at the end of each text."""
    config, generator = model.config, torch.Generator().manual_seed(0)
    found: dict[str, Tensor] = {}
    tower = model if config.image is not None else getattr(model, "vision", None)
    image = tower.config.image if tower is not None else None
    if image is not None:
        assert tower is not None
        pixels = torch.rand(1, image.channels, image.size, image.size, generator=generator)
        found["image states"] = tower(pixels_BIHW=pixels.to(model.device, model.dtype))
    if model.embedding is None:
        return found
    time = min(_TOKENS, config.context_length)
    ids = torch.randint(0, config.vocabulary_size, (_TEXTS, time), generator=generator).to(model.device)
    given: dict[str, Any] = {}
    if config.encoder is not None:
        given["source"] = model.encode(ids)  # type: ignore[operator]
    found["hidden states"] = model(ids, **given)
    if config.head in ("language", "masked"):
        found["logits"] = logits(model, found["hidden states"][:, -1])
    return found


def _close(what: str, wanted: Tensor, got: Tensor, allowed: float) -> None:
    """The root of the mean square of the difference, in proportion to the values' own."""
    size = wanted.float().square().mean().sqrt().item()
    error = (wanted.float() - got.float()).square().mean().sqrt().item()
    if not error <= allowed * size + 1e-12 or not math.isfinite(size):
        _differ(f"the {what} differ by {error / size if size else math.inf:.2g} of their size (allowed: {allowed:.2g})")


@contextmanager
def _evaluating(model: Model) -> Iterator[None]:
    """Without dropout meanwhile."""
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)


@contextmanager
def _filled_in_turn(readers: dict[nn.Module, dict[str, Callable[[], Tensor]]]) -> Iterator[None]:
    """Parameters of these modules are there while their forward pass runs, and not before or after."""
    hooks = []
    for block, parameters in readers.items():
        shapes = {name: block.get_parameter(name) for name in parameters}

        def fill(block: nn.Module, _: Any, parameters: dict[str, Callable[[], Tensor]] = parameters) -> None:
            for name, read in parameters.items():
                _put(block, name, read())

        def drop(block: nn.Module, _: Any, __: Any, shapes: dict[str, nn.Parameter] = shapes) -> None:
            for name, empty in shapes.items():
                _put(block, name, empty)

        hooks += [block.register_forward_pre_hook(fill), block.register_forward_hook(drop)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _put(module: nn.Module, name: str, value: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(path), leaf, nn.Parameter(value, requires_grad=False))
