"""What ``align`` can be asked for, checked where it comes in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from lavra.errors import LavraError
from lavra.objectives.grpo import GRPO
from lavra.objectives.kto import KTO
from lavra.objectives.preferences import DPO, ORPO, SimPO
from lavra.objectives.reward import BradleyTerry
from lavra.training.settings import TrainSettings
from lavra.workspace.tuning.settings import TuneSettings

Method = Literal["dpo", "ipo", "orpo", "kto", "simpo", "reward", "grpo"]
METHODS: tuple[Method, ...] = get_args(Method)
BETAS: dict[str, float] = {"dpo": 0.1, "ipo": 0.1, "orpo": 0.1, "kto": 0.1, "simpo": 2.0, "grpo": 0.0}


@dataclass(frozen=True, kw_only=True)
class AlignSettings:
    """``beta``: see the method's objective. ``limit``: rows that are used, drawn by the seed; None: all.
    ``validation``: the share held out. ``group``, ``answer_tokens``: GRPO's answers to a prompt, and their length."""

    method: Method = "dpo"
    beta: float | None = None
    gamma: float = 1.0
    label_smoothing: float = 0.0
    rank: int = 16
    alpha: float | None = None
    targets: tuple[str, ...] = ()
    learning_rate: float = 5e-5
    epochs: int | None = None
    steps: int | None = None
    batch_tokens: int = 8192
    micro_tokens: int | None = None
    context: int = 1024
    limit: int | None = None
    validation: float = 0.1
    seed: int = 0
    group: int = 8
    answer_tokens: int = 64

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise LavraError(f"method is {self.method!r}: it is one of {', '.join(METHODS)}.")
        if not 0 <= self.validation < 1:
            raise LavraError(f"validation is {self.validation}: it is a share, from 0 to below 1.")
        if self.limit is not None and self.limit < 2:
            raise LavraError(f"limit is {self.limit}: give at least 2 rows.")

    @property
    def recipe(self) -> dict[str, Any]:
        """As plain JSON, all that determines the result; what only speed depends on is left out."""
        values = asdict(self) | {"targets": list(self.targets)}
        del values["micro_tokens"]
        if self.method != "grpo":
            del values["group"], values["answer_tokens"]
        return values

    @property
    def training(self) -> TrainSettings:
        return TrainSettings(
            steps=self.steps,
            epochs=1 if self.steps is None and self.epochs is None else self.epochs,
            batch_tokens=self.batch_tokens,
            micro_tokens=self.micro_tokens,
            learning_rate=self.learning_rate,
            warmup=0.1,
            weight_decay=0.0,
            seed=self.seed,
        )

    @property
    def adapter(self) -> TuneSettings:
        """The adapter, as ``tune`` makes it."""
        return TuneSettings(method="lora", rank=self.rank, alpha=self.alpha, targets=self.targets, seed=self.seed)

    def objective(self) -> Any:
        """The method's."""
        beta = BETAS.get(self.method, 0.0) if self.beta is None else self.beta
        made: dict[Method, Callable[[], Any]] = {
            "dpo": lambda: DPO(beta, label_smoothing=self.label_smoothing),
            "ipo": lambda: DPO(beta, "ipo"),
            "orpo": lambda: ORPO(beta),
            "kto": lambda: KTO(beta),
            "simpo": lambda: SimPO(beta, self.gamma, self.label_smoothing),
            "reward": lambda: BradleyTerry(margins=True),
            "grpo": lambda: GRPO(beta),
        }
        return made[self.method]()
