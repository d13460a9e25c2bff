"""How a run goes, in the terminal: loss, tokens a second, share of the chip's peak, memory, time left."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from lavra.model.describe import human
from lavra.training.callbacks import Callback, Result, Step
from lavra.training.plan import Plan, duration

_RECENT = 20  # steps that rates are taken over
_SMOOTH = 0.9  # of the loss that is shown
_LINE_EVERY = 30.0  # seconds, where there is no terminal to redraw


class TerminalProgress(Callback):
    """The plan, then one line that is redrawn; elsewhere than in a terminal a line every half minute."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._live: Live | None = None
        self._recent: deque[Step] = deque(maxlen=_RECENT)
        self._loss = math.nan
        self._said = time.monotonic()

    def show(self, plan: Plan) -> None:
        """What is about to be done."""
        table = Table.grid(padding=(0, 2))
        for name, value in plan.rows():
            table.add_row(f"[dim]{name}[/dim]", escape(value))
        self.console.print(table)

    def begin(self, plan: Plan, step: int) -> None:
        self.show(plan)
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=4, transient=True)
            self._live.start()

    def step(self, step: Step) -> None:
        self._recent.append(step)
        if step.skipped is None:
            before = self._loss
            self._loss = step.loss if math.isnan(before) else _SMOOTH * before + (1 - _SMOOTH) * step.loss
        if self._live is not None:
            table = Table.grid(padding=(0, 1))
            table.add_row(ProgressBar(step.steps, step.step, width=24), self.line(step))
            self._live.update(table)
        elif time.monotonic() - self._said > _LINE_EVERY or step.step == step.steps:
            self._said = time.monotonic()
            self.console.print(self.line(step), highlight=False)

    def line(self, step: Step) -> str:
        """What is said after ``step``."""
        seconds = sum(one.seconds for one in self._recent)
        tokens = sum(one.tokens for one in self._recent)
        share = sum(one.share * one.seconds for one in self._recent) / seconds if seconds else 0.0
        left = (step.steps - step.step) * seconds / len(self._recent)
        return (
            f"step {step.step:,}/{step.steps:,}  loss {self._loss:.4f}  {tokens / max(seconds, 1e-9):,.0f} tokens/s  "
            f"{share:.0%} of peak  {human(step.memory)}  {duration(left)} left"
        )

    def evaluated(self, step: int, metrics: Mapping[str, float], best: bool) -> None:
        found = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self._print(f"step {step:,}: held out: {found}{' (the best so far)' if best else ''}")

    def event(self, step: int, text: str) -> None:
        self._print(f"[yellow]step {step:,}: {escape(text)}[/yellow]")

    def end(self, result: Result) -> None:
        self.close()
        self._print(escape(result.message))

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _print(self, text: str) -> None:
        console = self._live.console if self._live is not None else self.console
        console.print(text, highlight=False)
