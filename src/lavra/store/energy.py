"""What making something cost: time, processor time, and energy where the machine measures it.

The processor's energy comes from the RAPL counters that Linux shows under ``/sys/class/powercap`` (readable by root,
usually), the GPUs' from NVML (``nvml.py``); both are *measured*. Elsewhere it is absent rather than guessed here.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from lavra.store.nvml import drawn_between, gpu_millijoules

_POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Cost:
    """Seconds by the wall, seconds of processor (children included), joules of the processor and of the GPUs, or
    ``None`` where not measured."""

    seconds: float
    cpu_seconds: float
    energy_joules: float | None = None
    gpu_joules: float | None = None


def _counters() -> dict[Path, int]:
    """Each RAPL package's counter in microjoules; empty where there is none to read."""
    values: dict[Path, int] = {}
    for package in _POWERCAP.glob("*-rapl:[0-9]"):
        try:
            values[package] = int((package / "energy_uj").read_text())
        except (OSError, ValueError):
            continue
    return values


class Meter:
    """Reads the clocks when made and again at ``read``."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._cpu = sum(os.times()[:4])
        self._energy = _counters()
        self._gpus = gpu_millijoules()

    def read(self) -> Cost:
        """The cost since the meter was made. A counter that wrapped is corrected by its range."""
        joules: float | None = None
        now = _counters()
        if self._energy and now.keys() == self._energy.keys():
            microjoules = 0
            for package, value in now.items():
                spent = value - self._energy[package]
                if spent < 0:
                    try:
                        spent += int((package / "max_energy_range_uj").read_text())
                    except (OSError, ValueError):
                        spent = 0
                microjoules += spent
            joules = round(microjoules / 1e6, 3)
        return Cost(
            round(time.perf_counter() - self._started, 3),
            round(sum(os.times()[:4]) - self._cpu, 3),
            joules,
            drawn_between(self._gpus, gpu_millijoules()) if self._gpus else None,
        )


def both(one: float | None, other: float | None) -> float | None:
    """Joules of two pieces of work; what was measured of one alone stands for it: a machine without a GPU draws none
    by one."""
    return other if one is None else one if other is None else one + other
