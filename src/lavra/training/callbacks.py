"""Who wants to know how a run goes: the terminal, the report, trackers. None of them can stop it or change it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lavra.training.plan import Plan


@dataclass(frozen=True)
class Step:
    """What a step was. ``loss``: the mean over its targets; ``norm``: of its gradient, before clipping; ``tokens``:
    real ones; ``share``: of the measured matrix peak, from the model's own operations (Chowdhery et al. 2022, appendix
    B); ``memory``: bytes held; ``skipped``: why its update was not made."""

    step: int
    steps: int
    loss: float
    rate: float
    norm: float
    targets: float
    tokens: int
    seconds: float
    share: float
    memory: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    skipped: str | None = None

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Result:
    """How a run ended. ``stopped``: "finished", "interrupted", "patience" (no better evaluation came) or "diverged";
    ``best``: the step whose weights are now in the model if not the last one's; ``metrics``: of that step's
    evaluation; ``message``: one sentence for the user."""

    stopped: str
    step: int
    steps: int
    loss: float
    tokens: int
    seconds: float
    best: int | None
    metrics: Mapping[str, float]
    checkpoint: Path | None
    message: str


class Callback:
    """Override what is of interest. Called on the first rank only, in the loop's own thread: be quick."""

    def begin(self, plan: Plan, step: int) -> None:
        """Before the first step; ``step`` are done already where a run continues."""

    def step(self, step: Step) -> None: ...

    def evaluated(self, step: int, metrics: Mapping[str, float], best: bool) -> None: ...

    def event(self, step: int, text: str) -> None:
        """Something out of the ordinary."""

    def end(self, result: Result) -> None:
        """The run is over; also called when it was interrupted."""

    def close(self) -> None:
        """Always called, also after an error."""
