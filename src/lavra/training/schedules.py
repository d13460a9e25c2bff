"""The learning rate of each step, as a share of the highest.

All begin with a linear warm-up. *cosine*: half a cosine down to the floor (Loshchilov and Hutter 2016, eq. 5, without
restarts). *wsd*: warm-up, stable, decay: constant, then down to the floor by one minus a square root in the last steps
(Hu et al. 2024, MiniCPM, section 4; Hägele et al. 2024, section 3, for the square root). *linear*: straight down to
the floor. *constant*: as it is.
"""

from __future__ import annotations

import math

from lavra.training.settings import TrainSettings


def rate_share(settings: TrainSettings, step: int, steps: int) -> float:
    """Of step ``step`` (from 0) of ``steps``. The first step of a warm-up of w is 1/w, the last one 1."""
    warmup = warmup_steps(settings, steps)
    if step < warmup:
        return (step + 1) / warmup
    if settings.schedule == "constant":
        return 1.0
    if settings.schedule == "wsd":
        falling = min(round(settings.decay * steps), steps - warmup)
        done = (step - (steps - falling) + 1) / falling if falling and step >= steps - falling else 0.0
        return settings.floor + (1 - settings.floor) * (1 - math.sqrt(done))
    done = (step - warmup) / max(1, steps - warmup)
    shape = (1 + math.cos(math.pi * done)) / 2 if settings.schedule == "cosine" else 1 - done
    return settings.floor + (1 - settings.floor) * shape


def warmup_steps(settings: TrainSettings, steps: int) -> int:
    """How many steps the rate rises."""
    return min(steps, round(settings.warmup if settings.warmup >= 1 else settings.warmup * steps))
