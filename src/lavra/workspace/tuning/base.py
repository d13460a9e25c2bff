"""The model that a run begins from, made ready for its method: what is trained, what is frozen, what is kept in few
bits."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lavra.errors import LavraError
from lavra.model.adapted import named_as
from lavra.model.adapters import AdapterConfig, Adapters, attach
from lavra.model.base import Model
from lavra.model.config import ModelConfig
from lavra.model.families.family import Family
from lavra.model.known import KIND_WORDS
from lavra.model.longer import lengthen
from lavra.model.weights import load_model, open_model
from lavra.store import Artifact
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer
from lavra.training.settings import TrainSettings
from lavra.workspace.generators import Generator
from lavra.workspace.tuning.settings import VIRTUAL, TuneSettings

DEFAULT_CONTEXT = 2048
LONGLORA_WHOLE = ("embedding", "norm")
"""Trained beside LongLoRA's adapter: "crucial for context extension" (Chen et al. 2024, section 3.3)."""


@dataclass(frozen=True)
class Base:
    """A model that can be tuned, not loaded yet. ``config`` is already stretched where ``context`` asks for it."""

    generator: Generator
    artifact: Artifact
    tokenizer: Tokenizer
    config: ModelConfig
    context: int
    stretched: int
    """What the context was stretched to; 0 where it was not."""

    @property
    def name(self) -> str:
        return self.generator.model.name


@dataclass
class Prepared:
    """``adapters``: none where all weights are trained."""

    model: Model
    adapters: Adapters | None
    kind: str
    family: Family


def find_base(generator: Generator, artifact: Artifact, settings: TuneSettings) -> Base:
    """The base with its tokenizer. Raises LavraError for a model that cannot write, or a context it cannot take."""
    model = generator.model
    if model.kind != "decoder":
        raise LavraError(f"the model {model.name} is {KIND_WORDS[model.kind]}; tune a decoder.")
    if generator.adapters:
        raise LavraError(
            f"{generator.name} is an adapter over {model.name}: tune that model on both data sets, or make a model of "
            "the two with --merge and tune it."
        )
    _, config, _ = open_model(model.path)
    ahead = settings.virtual_tokens if settings.method in VIRTUAL else 0
    longest = config.context_length - ahead
    context = settings.context or min(longest, DEFAULT_CONTEXT)
    stretched = 0
    if context > longest:
        if settings.method != "longlora":
            raise LavraError(
                f"{model.name} takes {longest:,} tokens, not {context:,}: give a shorter --context, or stretch it with "
                "--method longlora."
            )
        config, stretched = lengthen(config, context), context
    return Base(generator, artifact, load_tokenizer(model.path), config, context, stretched)


def load_base(base: Base, settings: TuneSettings, training: TrainSettings) -> Prepared:
    """Weights loaded; what is to be trained asks for gradients."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = training.compute_dtype(device)
    storage = settings.storage if settings.method == "qlora" else None
    model = load_model(
        base.generator.model.path, dtype=dtype, device=device, context=base.stretched or None, storage=storage
    )
    kind, family = named_as(model, base.generator.model.path)
    if settings.method == "full":
        return Prepared(model.requires_grad_(), None, kind, family)
    adapters = attach(model, adapter_config(settings), family, seed=settings.seed)
    return Prepared(model, adapters, kind, family)


def load_again(base: Base, like: Model) -> Model:
    """The base by itself, frozen, as ``like`` was before it was tuned."""
    path, context = base.generator.model.path, base.stretched or None
    return load_model(path, dtype=like.dtype, device=like.device, context=context).eval().requires_grad_(False)


def adapter_config(settings: TuneSettings) -> AdapterConfig:
    """As ``model/adapters.py`` takes it."""
    method = settings.method
    return AdapterConfig(
        method=method if method in ("dora", "ia3", "prompt", "prefix") else "lora",
        tokens=settings.virtual_tokens,
        rank=settings.rank,
        alpha=2.0 * settings.rank if settings.alpha is None else settings.alpha,
        dropout=settings.dropout,
        rank_stabilised=method == "rslora",
        targets=_targets(settings),
        whole=LONGLORA_WHOLE if method == "longlora" else (),
    )


def _targets(settings: TuneSettings) -> tuple[str, ...]:
    if settings.method == "ia3" and not settings.targets:
        # Liu et al. 2022, section 3.3: keys, values, and the MLP's last map
        return ("k_proj", "v_proj", "down_proj")
    return settings.targets
