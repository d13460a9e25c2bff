"""What a run will take, said before it starts: parameters, tokens, operations, memory, hours, energy.

Operations are the model's own (``model/counts.py``): forward, the gradient of states, and that of weights as far as
weights are trained. Time rests on the peak of a matrix product measured here, now, and on a share of it that is
assumed until the first steps are measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, cast

import torch
from torch import nn

from lavra.errors import LavraError
from lavra.model.activations import count_activations
from lavra.model.base import Model
from lavra.model.config import ModelConfig
from lavra.model.counts import count_operations
from lavra.model.describe import human, human_count
from lavra.model.heads import unembedding_weight
from lavra.model.kernels import texts_pay
from lavra.model.quantised import QuantisedLinear
from lavra.model.texts import kept_bytes
from lavra.model.vocabulary_chunks import chunk_bytes
from lavra.objectives.objective import PADDING, Batch
from lavra.training.hardware import matrix_peak, memory_available, watts
from lavra.training.settings import TrainSettings

ASSUMED_SHARE = 0.4
"""Of the measured peak: on the safe side of what benchmarks/full_tuning.py reaches."""
_CONTEXT = 1024  # at which attention's share is counted; it is linear in it


class Work:
    """Floating-point operations of a training step, from the batch."""

    def __init__(self, model: nn.Module) -> None:
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad and p.dim() >= 2)
        matrices = sum(p.numel() for p in model.parameters() if p.dim() >= 2)
        config = getattr(model, "config", None)
        if isinstance(config, ModelConfig):
            operations = count_operations(config, _CONTEXT)
            weights, attention = float(operations.weights), operations.attention / _CONTEXT
            self._attention = 3 * attention * (0.5 if config.causal else 1.0)
        else:
            weights, self._attention = 2.0 * matrices, 0.0
        # Forward, states' gradient, weights' gradient
        self._weights = weights * (2 + min(1.0, trained / max(1, matrices)))

    def of(self, tokens: int, squares: float) -> float:
        """Of texts with so many tokens in all, and so much in the sum of their squared lengths."""
        return self._weights * tokens + self._attention * squares

    def of_batch(self, batch: Batch) -> float:
        segments = batch.segments_BT
        if segments is None:
            rows, length = batch.ids_BT.shape[0], batch.ids_BT[0].numel()
            return self.of(rows * length, float(rows) * length**2)
        held = segments.cpu().long()
        numbers = held + torch.arange(len(held))[:, None] * (int(held.max()) + 1)
        lengths = numbers[held != PADDING].bincount().double()
        return self.of(int(lengths.sum()), float(lengths.square().sum()))


@dataclass(frozen=True)
class Plan:
    """``tokens`` are places of rows. ``memory``: bytes by what holds them; ``hours`` and ``kilowatt_hours``: for the
    steps that are left, as expected before any was made."""

    parameters: int
    trained: int
    steps: int
    tokens: int
    operations: float
    memory: dict[str, int]
    available: int | None
    peak: float
    dtype: str
    device: str
    ranks: int
    hours: float
    watts: float
    watts_source: str
    settings: TrainSettings

    @property
    def kilowatt_hours(self) -> float:
        return self.hours * self.watts * self.ranks / 1000

    @property
    def needed(self) -> int:
        return sum(self.memory.values())

    def rows(self) -> list[tuple[str, str]]:
        """For a table: what, and how much."""
        s = self.settings
        memory = ", ".join(f"{human(size)} {name}" for name, size in self.memory.items() if size)
        micro = "" if s.micro_tokens is None else f", {s.micro_tokens:,} at once"
        return [
            ("trained", f"{human_count(self.trained)} of {human_count(self.parameters)} parameters, in {self.dtype}"),
            ("steps", f"{self.steps:,} of {s.batch_tokens:,} tokens{micro}"),
            ("tokens", human_count(self.tokens)),
            ("rate", f"{s.learning_rate:g}, {s.schedule}, warm-up {s.warmup:g}"),
            ("operations", f"{self.operations:.3g} floating-point"),
            ("memory", f"{human(self.needed)} ({memory})" + self._room()),
            ("machine", f"{self.device}, {self.peak / 1e12:.3g} TFLOP/s in a matrix product" + self._many()),
            ("time", f"about {duration(self.hours * 3600)}, at {ASSUMED_SHARE:.0%} of that"),
            ("energy", f"about {self.kilowatt_hours:.3g} kWh ({self.watts * self.ranks:.0f} W, {self.watts_source})"),
        ]

    def _room(self) -> str:
        return "" if self.available is None else f"; {human(self.available)} free"

    def _many(self) -> str:
        return "" if self.ranks == 1 else f", {self.ranks} processes"

    def __str__(self) -> str:
        return "\n".join(f"{name:<11}{value}" for name, value in self.rows())

    def require_room(self) -> None:
        """Raises LavraError when the memory that is free is clearly not enough, and says what would be."""
        if self.available is None or self.needed <= self.available:
            return
        fixed = self.needed - self.memory["activations"]
        what = f"training needs about {human(self.needed)} and {human(self.available)} are free"
        micro = self.settings.micro_tokens or 0
        if fixed < self.available and self.memory["activations"]:
            fits = int(micro * (self.available - fixed) / self.memory["activations"]) // 64 * 64
            also = "" if self.settings.checkpointing else ", or switch checkpointing on"
            if fits >= 64:
                raise LavraError(f"{what}; set micro_tokens to {fits} instead of {micro}{also}")
            if also:
                raise LavraError(f"{what}; switch checkpointing on")
        raise LavraError(f"{what}; tune an adapter (LoRA) instead of all weights, or pick a smaller model")


def make_plan(
    model: nn.Module,
    settings: TrainSettings,
    *,
    steps: int,
    tokens: int,
    context: float,
    longest: int,
    ranks: int = 1,
    beside: int = 0,
) -> Plan:
    """Of ``steps`` over ``tokens`` places. ``context``: the mean length of the text that a token stands in;
    ``longest``: of a row; ``settings.micro_tokens`` must be set; ``beside``: :func:`held_beside` the model."""
    parameters = list(model.parameters())
    device = parameters[0].device
    dtype = next((p.dtype for p in parameters if p.dtype in (torch.bfloat16, torch.float16)), torch.float32)
    operations = Work(model).of(tokens, tokens * context)
    peak = matrix_peak(dtype, str(device))
    power, source = watts(device)
    return Plan(
        parameters=sum(p.numel() for p in parameters),
        trained=sum(p.numel() for p in parameters if p.requires_grad),
        steps=steps,
        tokens=tokens,
        operations=operations,
        memory=_memory(model, settings, longest, context, dtype, ranks) | {"of other models or copies": beside},
        available=_available(device, parameters),
        peak=peak,
        dtype=str(dtype).removeprefix("torch."),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU cores",
        ranks=ranks,
        hours=operations / ranks / (peak * ASSUMED_SHARE) / 3600,
        watts=power,
        watts_source=source,
        settings=settings,
    )


def _available(device: torch.device, parameters: list[Any]) -> int | None:
    """Free, and what the weights hold already."""
    free = memory_available(device)
    return None if free is None else free + sum(p.numel() * p.element_size() for p in parameters)


def _memory(
    model: nn.Module, settings: TrainSettings, longest: int, context: float, dtype: torch.dtype, ranks: int
) -> dict[str, int]:
    weights = masters = trained = 0
    for parameter in model.parameters():
        weights += parameter.numel() * parameter.element_size()
        if parameter.requires_grad:
            trained += parameter.numel()
            masters += 0 if parameter.dtype == torch.float32 else 4 * parameter.numel()
    for module in model.modules():
        if isinstance(module, QuantisedLinear):
            weights += sum(buffer.nbytes for buffer in module.buffers())
    split = ranks if settings.distributed == "fsdp" else 1
    found = {
        "weights": (weights + masters) // split,
        "gradients": 4 * trained // split,
        "moments": 8 * trained // split,
    }
    config, activations, loss = getattr(model, "config", None), 0, 0
    if isinstance(config, ModelConfig) and config.image is None:
        micro = settings.micro_tokens or longest
        length = max(1, min(longest, micro, config.context_length))
        kept = count_activations(config, max(1, micro // length), length, dtype)
        activations = kept.checkpointed if settings.checkpointing else kept.all
        if not settings.checkpointing:
            activations += _attention_weights(config, micro, context, next(iter(model.parameters())).device, dtype)
        if config.head in ("language", "masked"):
            logits = micro * config.vocabulary_size * dtype.itemsize
            loss = min(chunk_bytes(unembedding_weight(cast(Model, model))), logits)
            if trained > config.vocabulary_size * config.width:
                loss += 4 * config.vocabulary_size * config.width
    return found | {"activations": activations, "loss": loss}


def _attention_weights(
    config: ModelConfig, tokens: int, context: float, device: torch.device, dtype: torch.dtype
) -> int:
    """Bytes of the weights that attention over packed texts keeps."""
    if not texts_pay(device, dtype):
        return 0
    return config.layers * kept_bytes(tokens, context, config.heads, dtype)


def held_beside(objective: Any, model: nn.Module) -> int:
    """Bytes of what an objective holds besides the model: a teacher, the base, weights to stay near (dataclasses)."""
    held = 0
    for field in fields(objective) if is_dataclass(objective) else ():
        value = getattr(objective, field.name)
        if isinstance(value, nn.Module):
            held += 0 if value is model else sum(p.numel() * p.element_size() for p in value.parameters())
        elif isinstance(value, Mapping):
            held += sum(entry.nbytes for entry in value.values() if isinstance(entry, torch.Tensor))
        elif is_dataclass(value):
            held += held_beside(value, model)
    return held


def duration(seconds: float) -> str:
    """``2 h 05 min``, ``3 min 20 s`` or ``12 s``."""
    if seconds >= 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02} min"
    if seconds >= 60:
        return f"{int(seconds // 60)} min {int(seconds % 60):02} s"
    return f"{seconds:.0f} s"
