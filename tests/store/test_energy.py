"""Energy is what counters say between two readings; a GPU's are the driver's."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from lavra.evaluation.costs import Energy, energy
from lavra.store.energy import Cost, Meter, both
from lavra.store.nvml import drawn_between, gpu_millijoules


class Driver:
    """NVML with GPUs of which each has drawn so many millijoules; None: one that cannot say."""

    def __init__(self, *drawn: int | None) -> None:
        self.drawn = drawn

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = len(self.drawn)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, number: ctypes.c_uint, device: Any) -> int:
        device._obj.value = number.value + 1
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, device: ctypes.c_void_p, drawn: Any) -> int:
        value = self.drawn[(device.value or 0) - 1]
        drawn._obj.value = value or 0
        return 0 if value is not None else 3


def test_gpus_draw_what_their_counters_differ_by() -> None:
    before, after = gpu_millijoules(Driver(1_000, 50_000)), gpu_millijoules(Driver(4_500, 50_250))
    assert before == {"0": 1_000, "1": 50_000}
    assert drawn_between(before, after) == 3.75


def test_what_is_not_the_same_gpus_is_not_measured() -> None:
    assert gpu_millijoules(Driver(7, None)) == {"0": 7}
    assert drawn_between({"0": 7}, {"0": 8, "1": 9}) is None
    assert drawn_between({"0": 7}, {"0": 3}) is None  # the driver was loaded again
    assert drawn_between({}, {}) is None


def test_energy_is_the_processors_and_the_gpus() -> None:
    assert energy(Cost(1, 1, 30.0, 70.0)) == Energy(100.0, "measured")
    assert energy(Cost(1, 2, None, 70.0), watts=10) == Energy(90.0, "estimated")
    assert both(None, 2.0) == 2.0
    assert both(1.0, 2.0) == 3.0
    assert both(None, None) is None


def test_a_machine_with_a_gpu_measures_it() -> None:
    if not gpu_millijoules():
        pytest.skip("no NVIDIA GPU that counts what it draws is here")
    drawn = Meter().read().gpu_joules
    assert drawn is not None
    assert drawn >= 0
