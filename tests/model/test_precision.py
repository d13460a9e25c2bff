"""The number format is probed: by flags where the chip tells, by a stopwatch where it does not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from lavra.model import precision


@pytest.fixture(autouse=True)
def probed_anew() -> None:
    precision.compute_dtype.cache_clear()


def test_a_chip_that_says_it_multiplies_bf16_is_believed() -> None:
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    if not {"avx512_bf16", "amx_bf16"} & set(flags.split()):
        pytest.skip("this chip has no bf16 units")
    assert precision.compute_dtype("cpu") is torch.bfloat16


def test_a_chip_without_bf16_units_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(precision, "_cpu_flags", lambda: {"avx2", "avx512f"})
    assert precision.compute_dtype("cpu") is torch.float32


def test_another_chip_is_measured_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision.platform, "machine", lambda: "aarch64")
    start = time.perf_counter()
    first = precision.compute_dtype("cpu")
    assert time.perf_counter() - start < 2  # milliseconds on an idle machine
    assert precision.compute_dtype("cpu") is first
