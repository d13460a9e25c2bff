"""Which number format to compute in: bf16 where the chip multiplies it, else float32. Probed, never assumed.

bf16 keeps float32's range, so nothing needs scaling; what it costs is three digits. On a chip without bf16 units it
is emulated and slower than float32; on one with them float32 leaves most of the chip idle.
"""

from __future__ import annotations

import platform
import time
from functools import cache
from pathlib import Path

import torch

_NEEDED_SPEEDUP = 1.2  # below this the lost digits buy nothing


@cache
def compute_dtype(device: str = "cpu") -> torch.dtype:
    """bf16 or float32 for inference on ``device``; the answer is found once a process.

    CUDA: bf16 from compute capability 8.0 (Ampere). CPU: bf16 with AMX or AVX512-BF16; on an x86 without AVX-512
    float32; on anything else (Arm) a measurement of a few milliseconds decides.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        capable = torch.cuda.is_available() and torch.cuda.get_device_capability(device) >= (8, 0)
    elif kind == "cpu":
        capable = _cpu_has_bf16()
    else:
        capable = False
    return torch.bfloat16 if capable else torch.float32


def _cpu_has_bf16() -> bool:
    if platform.machine().lower() in ("x86_64", "amd64"):
        flags = _cpu_flags()
        if flags is not None:
            return bool(flags & {"amx_bf16", "avx512_bf16"}) and _torch_uses("AVX512")
        return _torch_uses("AVX512") and _bf16_is_faster()  # not Linux: nothing to read the flags from
    return _bf16_is_faster()


def bf16_in_vectors() -> bool:
    """Whether this CPU multiplies bf16 in vectors (AVX512-BF16) and has no unit for whole tiles (AMX)."""
    flags = _cpu_flags() or set()
    return "avx512_bf16" in flags and "amx_bf16" not in flags


def _torch_uses(level: str) -> bool:
    """Whether PyTorch's own kernels run at ``level`` (``ATEN_CPU_CAPABILITY`` and hypervisors can hold it back)."""
    return torch.backends.cpu.get_cpu_capability().startswith(level)


def _cpu_flags() -> set[str] | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next((set(line.split()) for line in lines if line.startswith("flags")), None)


def _bf16_is_faster() -> bool:
    """The best of five products of a size a small model has, in both formats."""

    def seconds(dtype: torch.dtype) -> float:
        a, b = torch.ones(256, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            torch.nn.functional.linear(a, b)
            best = min(best, time.perf_counter() - start)
        return best

    return seconds(torch.float32) > _NEEDED_SPEEDUP * seconds(torch.bfloat16)
