"""What a layer costs against the length of the text: dense, window, block-sparse, compressive and recurrent.

    python benchmarks/attention.py [--longest 16384] [--dtype float32] [--plot docs/images/attention-cost.svg]

One layer of SmolLM2-135M's size (576 wide, 9 heads over 3 key/value heads), batch 1, with its projections but an MLP
of next to nothing, so that what is timed is how tokens are mixed. Seconds are those of one processor core (not of the
clock on the wall, so that a busy machine changes little), the best of some runs; memory is how far the process grew
beyond what it held before, at its peak. Each system runs in a process of its own. The exponent is the
slope of log seconds over log length from 2,048 tokens on: 1 is linear, 2 quadratic.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lavra.model.building import build, initialise
from lavra.model.config import Memory, ModelConfig, Sparse

SEGMENT = 512
DENSE = ModelConfig(
    vocabulary_size=2,
    context_length=1 << 15,
    layers=1,
    width=576,
    heads=9,
    kv_heads=3,
    head_width=64,
    hidden_width=16,
    causal=True,
    norm="rms",
    norm_epsilon=1e-5,
    positions="rotary",
    activation="silu",
    gated=True,
)
RECURRENT = replace(DENSE, positions="none", hidden_width=576, gated=False, activation="relu")


def sparse(kind: Any, length: int) -> ModelConfig:
    """Child et al. 2019 choose a stride near √T; here of blocks of 64 tokens."""
    stride = max(1, round(math.sqrt(length / 64)))
    return replace(DENSE, sparse=Sparse(kind, stride if kind == "strided" else 1, stride, 64))


SYSTEMS: dict[str, Callable[[int], ModelConfig]] = {
    "dense": lambda length: DENSE,
    "window of 512": lambda length: replace(DENSE, window=SEGMENT),
    "strided blocks": lambda length: sparse("strided", length),
    "fixed blocks": lambda length: sparse("fixed", length),
    "compressive memory": lambda length: replace(DENSE, memory=Memory(SEGMENT, SEGMENT, 4)),
    "LSTM": lambda length: replace(RECURRENT, architecture="lstm"),
    "GRU": lambda length: replace(RECURRENT, architecture="gru"),
}


def run(model: torch.nn.Module, config: ModelConfig, x_BTC: torch.Tensor, learn: bool) -> None:
    """The whole text once. With a compressive memory, segment by segment, and with its own loss when it learns."""
    memory = None
    parts = (x_BTC,)
    if config.memory is not None:
        memory, parts = model.make_cache(x_BTC.shape[1]), x_BTC.split(SEGMENT, 1)
    with torch.set_grad_enabled(learn):
        for part in parts:
            states = model(inputs_BTC=part, cache=memory)
            if learn:
                loss = states.float().square().mean()
                extra = memory.loss() if memory is not None else None
                (loss if extra is None else loss + extra).backward()


def resident(kind: str) -> int:
    """Bytes: ``VmRSS`` now, or ``VmHWM`` at the peak since it was last cleared."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(kind)).split()[1]) * 1024


def measure(name: str, lengths: Sequence[int], dtype: torch.dtype) -> None:
    """Prints a line of JSON for each length."""
    torch.set_num_threads(1)
    release = getattr(ctypes.CDLL(None), "malloc_trim", lambda size: 0)
    for length in lengths:
        config = SYSTEMS[name](length)
        model = build(config)
        initialise(model, 0)
        model.to(dtype)
        x = torch.randn(1, length, config.width, dtype=dtype)
        found: dict[str, Any] = {"system": name, "length": length}
        for learn, kind in ((False, "forward"), (True, "training")):
            run(model, config, x[:, :SEGMENT], learn)  # what is made once is not counted
            model.zero_grad()
            gc.collect()
            release(0)
            Path("/proc/self/clear_refs").write_text("5")
            before, best, total = resident("VmRSS"), math.inf, 0.0
            while total < 0.5 or best == math.inf:
                start = time.process_time()
                run(model, config, x, learn)
                taken = time.process_time() - start
                best, total = min(best, taken), total + taken
            found[kind], found[f"{kind} bytes"] = best, resident("VmHWM") - before
        print(json.dumps(found), flush=True)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the least-squares line through logarithms."""
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    middle_x, middle_y = sum(xs) / len(xs), sum(ys) / len(ys)
    across = sum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys, strict=True))
    return across / sum((x - middle_x) ** 2 for x in xs)


def table(rows: dict[str, list[dict[str, Any]]], lengths: Sequence[int]) -> str:
    """In Markdown, milliseconds and MB."""
    lines = ["| | " + " | ".join(f"{length:,}" for length in lengths) + " | exponent |"]
    lines.append("|---|" + "---:|" * (len(lengths) + 1))
    for kind, unit, factor in (
        ("forward", "ms", 1e3),
        ("training", "ms", 1e3),
        ("forward bytes", "MB", 1e-6),
        ("training bytes", "MB", 1e-6),
    ):
        what = kind.replace(" bytes", ", peak memory").replace("training", "forward and backward")
        lines.append(f"| **{what}, {unit}** |" + " |" * (len(lengths) + 1))
        for name, found in rows.items():
            numbers = " | ".join(f"{row[kind] * factor:,.0f}" for row in found)
            far = [(row["length"], max(row[kind], 1e-9)) for row in found if row["length"] >= 2048]
            lines.append(f"| {name} | {numbers} | {slope(far):.2f} |" if len(far) > 1 else f"| {name} | {numbers} | |")
    return "\n".join(lines)


COLOURS = ("#d1495b", "#1f78b4", "#2a9d5c", "#b8860b", "#8e5bd0", "#7a7a7a", "#d97706")


def plot(rows: dict[str, list[dict[str, Any]]], lengths: Sequence[int]) -> str:
    """Seconds of forward and backward over length, both on logarithmic scales, as an SVG for light and dark pages."""
    width, height, left, right, top, bottom = 790, 440, 64, 220, 44, 48
    values = [row["training"] for found in rows.values() for row in found]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))

    def across(length: float) -> float:
        return left + (width - left - right) * math.log(length / lengths[0]) / math.log(lengths[-1] / lengths[0])

    def up(seconds: float) -> float:
        return top + (height - top - bottom) * (high - math.log10(seconds)) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="12">',
        "<title>Seconds of forward and backward of one layer against the length of the text</title>",
        "<style>text{fill:#24292f}.grid{stroke:#8c959f;stroke-opacity:.35}"
        "@media (prefers-color-scheme:dark){text{fill:#e6edf3}}</style>",
        f'<text x="{left}" y="22" font-size="14">Forward and backward of one layer, seconds over tokens</text>',
    ]
    for power in range(low, high + 1):
        y = up(10.0**power)
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    for length in lengths:
        x = across(length)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{height - bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - bottom + 20}" text-anchor="middle">{length:,}</text>')
    # Labels stand at the ends of their lines, moved apart where they would overlap.
    ends = sorted((up(found[-1]["training"]), name) for name, found in rows.items())
    label_y, last = {}, -math.inf
    for y, name in ends:
        last = label_y[name] = max(y, last + 16)
    for (name, found), colour in zip(rows.items(), COLOURS, strict=False):
        line = " ".join(f"{across(row['length']):.1f},{up(row['training']):.1f}" for row in found)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2.2"/>')
        for point in line.split():
            x, y = point.split(",")
            parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>')
        far = [(row["length"], row["training"]) for row in found if row["length"] >= 2048]
        power = f" T^{slope(far):.1f}" if len(far) > 1 else ""
        x, y = across(lengths[-1]) + 12, label_y[name]
        parts.append(f'<rect x="{x:.1f}" y="{y - 4:.1f}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{x + 15:.1f}" y="{y + 5:.1f}">{name}{power}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def processor() -> str:
    """The processor's name and the number of its cores."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, {os.cpu_count()} cores, torch {torch.__version__}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--longest", type=int, default=16_384)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--plot", type=Path, help="where to write the figure")
    parser.add_argument("--system", choices=tuple(SYSTEMS), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    lengths = [1 << power for power in range(9, 31) if 1 << power <= options.longest]
    if options.system:
        measure(options.system, lengths, getattr(torch, options.dtype))
        return
    print(f"{processor()}, {options.dtype}\n", flush=True)
    rows: dict[str, list[dict[str, Any]]] = {}
    for name in SYSTEMS:
        command = [sys.executable, __file__, "--system", name, "--longest", str(options.longest)]
        done = subprocess.run([*command, "--dtype", options.dtype], stdout=subprocess.PIPE, text=True, check=True)
        rows[name] = [json.loads(line) for line in done.stdout.splitlines()]
    print(table(rows, lengths))
    if options.plot:
        options.plot.write_text(plot(rows, lengths), encoding="utf-8")


if __name__ == "__main__":
    main()
