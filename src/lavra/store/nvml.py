"""What the machine's NVIDIA GPUs have drawn, by their own counters: NVML, the driver's library, spoken to directly.

``nvmlDeviceGetTotalEnergyConsumption`` counts millijoules since the driver was loaded (Volta and later); a difference
of two readings is measured energy, of whatever ran on the GPU meanwhile. No package is needed: the library comes with
the driver, and where it is not there, there is no such GPU to measure.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

_NAMES = ("libnvidia-ml.so.1", "nvml.dll")
_SUCCESS = 0


def gpu_millijoules(library: Any = None) -> dict[str, int]:
    """Each GPU's counter, by its number; empty where there is none to read. ``library``: another than the driver's."""
    nvml = _driver() if library is None else library
    if nvml is None:
        return {}
    count = ctypes.c_uint()
    if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != _SUCCESS:
        return {}
    found: dict[str, int] = {}
    for number in range(count.value):
        device, drawn = ctypes.c_void_p(), ctypes.c_ulonglong()
        if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(number), ctypes.byref(device)) != _SUCCESS:
            continue
        if nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(drawn)) == _SUCCESS:
            found[str(number)] = int(drawn.value)
    return found


def drawn_between(before: dict[str, int], after: dict[str, int]) -> float | None:
    """Joules of all GPUs between two readings; None where they are not the same GPUs, or a driver that was loaded
    again counts from 0."""
    if not before or before.keys() != after.keys():
        return None
    each = [after[name] - before[name] for name in before]
    return round(sum(each) / 1000, 3) if min(each) >= 0 else None


@lru_cache(maxsize=1)
def _driver() -> Any:
    """The driver's library, ready; None where there is none, or it does not know the counter."""
    for name in _NAMES:
        try:
            nvml = ctypes.CDLL(name)
            nvml.nvmlDeviceGetTotalEnergyConsumption  # noqa: B018
            return nvml if nvml.nvmlInit_v2() == _SUCCESS else None
        except (OSError, AttributeError):
            continue
    return None
