"""The evaluations of a run: which was the best, and whether it is worth going on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass
class History:
    """``lines``: ``step`` and figures of each evaluation, in order. ``patience``: how many without a better one end a
    run; 0: any number."""

    watch: str
    higher_is_better: bool = False
    patience: int = 0
    lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def steps(self) -> set[int]:
        return {line["step"] for line in self.lines}

    @property
    def best(self) -> dict[str, Any] | None:
        """With the best watched figure; the first of equals."""
        sign = -1.0 if self.higher_is_better else 1.0
        found = [line for line in self.lines if math.isfinite(line.get(self.watch, math.nan))]
        return min(found, key=lambda line: sign * line[self.watch], default=None)

    @property
    def out_of_patience(self) -> bool:
        best = self.best if self.patience else None
        if best is None:
            return False
        return sum(line["step"] > best["step"] for line in self.lines) >= self.patience
