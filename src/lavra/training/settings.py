"""The settings of a training run, checked where they come in."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from lavra.errors import LavraError

if TYPE_CHECKING:
    import torch

Schedule = Literal["cosine", "wsd", "linear", "constant"]
Precision = Literal["auto", "bf16", "fp32"]
Distributed = Literal["none", "ddp", "fsdp"]
MEETING = "LAVRA_MEETING"
"""The variable with the address where processes of one machine find each other; without it, torchrun's."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Defaults are those of full fine-tuning. Raises LavraError, naming field and reason."""

    # How long
    steps: int | None = None
    """Steps of the optimiser; exactly one of this and ``epochs``."""
    epochs: int | None = None
    # How much at a time
    batch_tokens: int = 16_384
    """Places of a step, over all micro-batches and ranks; what a step learns from."""
    micro_tokens: int | None = None
    """Places computed at once; only memory and speed depend on it. None: 2,048 on a CPU, 16,384 on a GPU."""
    # The rate
    learning_rate: float = 2e-5
    schedule: Schedule = "cosine"
    warmup: float = 0.03
    """Steps if 1 or more, otherwise a share of all."""
    decay: float = 0.2
    """Of "wsd": the share of all steps in which the rate falls."""
    floor: float = 0.0
    """The last rate, as a share of the highest."""
    # AdamW
    weight_decay: float = 0.01
    """Of matrices only."""
    betas: tuple[float, float] = (0.9, 0.95)
    epsilon: float = 1e-8
    clip: float = 1.0
    """The largest norm of a step's gradient; 0: any."""
    # How it is computed
    seed: int = 0
    dtype: Precision = "auto"
    checkpointing: bool = False
    """Blocks keep only their input and are computed again in the backward pass: less memory, a third more time."""
    compile: bool = False
    """Blocks by torch.compile, on a GPU. On a CPU it is not done: compiling takes longer than it saves."""
    distributed: Distributed = "none"
    # What is kept
    save_every: int = 0
    """Steps between checkpoints; 0: a tenth of the run."""
    keep: int = 2
    """Checkpoints kept, besides the best one."""
    evaluate_every: int = 0
    """Steps between evaluations; 0: at the end only."""
    watch: str = "loss"
    """The metric of evaluations that says which checkpoint is the best."""
    higher_is_better: bool = False
    patience: int = 0
    """Evaluations without a better one before the run stops; 0: any number."""
    # Instability
    spike: float = 8.0
    """A loss so many robust deviations above the latest ones is a spike; 0: none is."""
    rewinds: int = 3
    """How often the run goes back to a checkpoint with half the rate before it gives up."""

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_kind(field.name, getattr(self, field.name), str(field.type))
        if (self.steps is None) == (self.epochs is None):
            raise LavraError("training settings: give either steps or epochs, not both and not neither")
        for name, allowed in (("schedule", Schedule), ("dtype", Precision), ("distributed", Distributed)):
            if getattr(self, name) not in get_args(allowed):
                _refuse(self, name, f"it is one of {', '.join(get_args(allowed))}")
        for name in ("steps", "epochs", "batch_tokens", "micro_tokens", "keep"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                _refuse(self, name, "it must be at least 1")
        for name in ("learning_rate", "epsilon"):
            if not getattr(self, name) > 0:
                _refuse(self, name, "it must be positive")
        counts = ("save_every", "evaluate_every", "patience", "rewinds", "seed")
        for name in ("warmup", "weight_decay", "clip", "spike", "floor", "decay", *counts):
            if getattr(self, name) < 0:
                _refuse(self, name, "it must not be negative")
        for name in ("floor", "decay"):
            if getattr(self, name) > 1:
                _refuse(self, name, "it is a share, at most 1")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            _refuse(self, "betas", "they are two numbers from 0 to below 1")

    @property
    def recipe(self) -> dict[str, Any]:
        """As plain JSON: what determines the result, besides model and data, and nothing else."""
        values = asdict(self)
        for name in ("save_every", "keep", "distributed", "compile"):
            del values[name]
        return values | {"betas": list(self.betas)}

    def resolved(self, device: str | torch.device = "cpu") -> TrainSettings:
        """With a number for ``micro_tokens``: enough to keep the chip busy, no more."""
        if self.micro_tokens is not None:
            return self
        enough = 2048 if str(device).startswith("cpu") else 16_384
        return replace(self, micro_tokens=min(self.batch_tokens, enough))

    def compute_dtype(self, device: str | torch.device = "cpu") -> torch.dtype:
        """What weights are loaded in for this run: by probe, unless the settings say."""
        import torch

        from lavra.model.precision import compute_dtype

        if self.dtype == "auto":
            return compute_dtype(str(device))
        return torch.bfloat16 if self.dtype == "bf16" else torch.float32


def _check_kind(name: str, value: Any, kind: str) -> None:
    """That a number is one: settings come from files and command lines."""
    if value is None:
        good = "None" in kind
    elif kind.startswith("int"):
        good = isinstance(value, int) and not isinstance(value, bool)
    elif kind.startswith("float"):
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    elif kind == "bool":
        good = isinstance(value, bool)
    else:
        good = True
    if not good:
        raise LavraError(f"training settings: {name} is {value!r}; it must be of the kind {kind}")


def _refuse(settings: TrainSettings, name: str, reason: str) -> None:
    raise LavraError(f"training settings: {name} is {getattr(settings, name)!r}; {reason}")
