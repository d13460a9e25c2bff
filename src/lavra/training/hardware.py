"""What this machine does in a second, has in memory and draws in power: measured where it can be, else said to be
assumed."""

from __future__ import annotations

import os
import subprocess
import time
from functools import cache
from pathlib import Path

import torch

_WATTS_A_CORE, _WATTS_A_GB = 12.0, 0.3725
"""Of a CPU's core and of memory: Lannelongue et al. 2021 (Green Algorithms), table 1 and methods."""
_WATTS_A_GPU = 400.0


@cache
def matrix_peak(dtype: torch.dtype, device: str = "cpu") -> float:
    """Floating-point operations a second that one large product reaches here; the best of some, once a process."""
    on_gpu = torch.device(device).type == "cuda"
    size, rounds = (8192, 20) if on_gpu else (2048, 6)
    a = torch.ones(size, size, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(rounds):
        if on_gpu:
            torch.cuda.synchronize()
        start = time.perf_counter()
        a @ a
        if on_gpu:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return float(2 * size**3 / best)


def memory_used(device: torch.device) -> int:
    """Bytes that this process holds: on a GPU the most it allocated, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def memory_available(device: torch.device) -> int | None:
    """Bytes that this process may still take; None where that cannot be known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except (OSError, ValueError, IndexError):
        pass
    try:  # a container's own limit
        limit, used = (Path("/sys/fs/cgroup", name).read_text().strip() for name in ("memory.max", "memory.current"))
        if limit != "max":
            found.append(int(limit) - int(used))
    except (OSError, ValueError):
        pass
    return min(found) if found else None


def watts(device: torch.device) -> tuple[float, str]:
    """What the machine draws under load, and how that is known."""
    if device.type == "cuda":
        try:
            command = ["nvidia-smi", "--query-gpu=power.limit", "--format=csv,noheader,nounits"]
            lines = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.split()
            return float(lines[device.index or 0]), "the GPU's power limit"
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            return _WATTS_A_GPU, "assumed for a GPU"
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9 if hasattr(os, "sysconf") else 16.0
    cores = torch.get_num_threads()
    return cores * _WATTS_A_CORE + memory * _WATTS_A_GB, "12 W a core and 0.37 W a GB, after Green Algorithms"
