"""Whether a step may be taken: not if its loss or gradient is not a number, nor if it jumps out of all proportion.

A spike is judged by the median and the median absolute deviation of the latest losses (robust: earlier spikes do not
widen what is normal). What to do about it is PaLM's remedy: go back to a checkpoint and leave out the data that came
since (Chowdhery et al. 2022, section 5.1), here also with half the rate, for a user's rate is rarely as well chosen.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any

WINDOW = 64
"""Losses that are remembered."""
_ENOUGH = 8  # losses before anything is judged
_TO_DEVIATION = 1.4826  # of a normal distribution: deviation / median absolute deviation
_LEAST = 0.06  # a loss varies by this share of its median, or of 1 if that is more, however calm it was
IN_A_ROW = 3
"""Refused steps after which going on is no use."""


class Guard:
    """Remembers the latest losses. ``spike``: robust deviations above the median that are too many; 0: any."""

    def __init__(self, spike: float) -> None:
        self.spike = spike
        self.losses: list[float] = []
        self.calmest = math.inf
        self.refused = 0
        """In a row."""

    def judge(self, loss: float, norm: float) -> str | None:
        """Why the step may not be taken, or None. A refused loss is not remembered."""
        reason = self._judge(loss, norm)
        if reason is None:
            self.refused = 0
            self.losses = [*self.losses[1 - WINDOW :], loss]
            if len(self.losses) >= _ENOUGH:
                self.calmest = min(self.calmest, statistics.median(self.losses[-_ENOUGH:]))
        else:
            self.refused += 1
        return reason

    def _judge(self, loss: float, norm: float) -> str | None:
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(norm):
            return f"the gradient's norm is {norm}"
        if self.spike and len(self.losses) >= _ENOUGH:
            limit = self._limit()
            if loss > limit:
                return f"the loss jumped to {loss:.4g}, from {statistics.median(self.losses):.4g} lately"
        elif self.spike and len(self.losses) >= 1 and loss > 4 * abs(self.losses[0]) + 1:
            return f"the loss jumped to {loss:.4g}, from {self.losses[0]:.4g} at first"
        return None

    def _limit(self) -> float:
        middle = statistics.median(self.losses)
        deviation = _TO_DEVIATION * statistics.median(abs(loss - middle) for loss in self.losses)
        limit = middle + self.spike * max(deviation, _LEAST * max(abs(middle), 1.0))
        # A slow climb moves the median along: what was calm once is the other measure.
        return min(limit, self._ceiling())

    def _ceiling(self) -> float:
        return math.inf if math.isinf(self.calmest) else self.calmest + max(abs(self.calmest), 1.0)

    def state_dict(self) -> dict[str, Any]:
        calmest = None if math.isinf(self.calmest) else self.calmest
        return {"losses": self.losses, "calmest": calmest, "refused": self.refused}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.losses = list(state["losses"])
        self.calmest = math.inf if state["calmest"] is None else state["calmest"]
        self.refused = state["refused"]
