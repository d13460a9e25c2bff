"""Seconds for standard tasks: lm-eval's own class for transformers, and Lavra's, on the same weights and items.

    python benchmarks/evaluating.py [--limit 60] [--rounds 3] [--dtype bfloat16] [--batch 8]

The tasks stand for three kinds of work: short questions with choices (ARC), choices after five shared examples (MMLU),
and written answers after five shared examples (GSM8K). The systems take turns within one run, so that a busy machine
slows them alike; the medians of the rounds count, of seconds and of CPU seconds. Log-likelihoods are compared item by
item, written answers word by word. Tokenizing is part of the time.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lavra.evaluation.harness.extra import require_harness
from lavra.evaluation.harness.running import Settings, select
from lavra.inference.export import export
from lavra.model.packing import pack
from lavra.model.weights import load_model
from lavra.tokens.tokenizer import load_tokenizer

SHARED = Path(os.environ.get("LAVRA_SHARED", Path(__file__).parents[2] / "shared" / "data"))
TASKS = {"arc_easy": 1.0, "mmlu_anatomy": 1.0, "gsm8k": 0.15}
"""And the share of the limit that each takes: a written answer costs as much as many choices."""


def requests_of(names: dict[str, float], limit: int) -> dict[str, list[Any]]:
    """What each task asks, as the harness makes it."""
    found = {}
    for name, share in names.items():
        selection = select([name], SHARED / "eval")
        built = selection.tasks[0].built
        built.set_fewshot_seed(Settings().seed)
        if built.get_config("num_fewshot") is None:
            built.set_config(key="num_fewshot", value=0)
        built.build_all_requests(limit=max(2, int(limit * share)), rank=0, world_size=1)
        found[name] = built.instances
    return found


def difference(kind: str, one: list[Any], other: list[Any]) -> str:
    if kind == "generate_until":
        same = sum(a == b for a, b in zip(one, other, strict=True))
        return f"{same} of {len(one)} answers the same"
    worst = max(abs(a[0] - b[0]) for a, b in zip(one, other, strict=True))
    return f"log p at most {worst:.2g} apart"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=60, help="items of a task")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--batch", type=int, default=8, help="of lm-eval's class; Lavra's sizes its own")
    given = parser.parse_args()
    require_harness()
    from lm_eval.models.huggingface import HFLM

    from lavra.evaluation.harness.model import HarnessModel

    dtype = getattr(torch, given.dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = export("smollm2-135m", Path(folder) / "model", type="f32").path
        ours = HarnessModel(pack(load_model(path, dtype=dtype).eval()), load_tokenizer(path))
        theirs = HFLM(str(path), device="cpu", dtype=given.dtype, batch_size=given.batch)
        print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, {given.dtype}\n")
        print("| task | requests | lm-eval, s (CPU s) | lavra, s (CPU s) | ratio (CPU) | |\n|---|---|---|---|---|---|")
        for name, asked in requests_of(TASKS, given.limit).items():
            kind = asked[0].request_type
            systems: dict[str, Callable[[Any], Any]] = {
                "lm-eval": lambda asked, kind=kind: getattr(theirs, kind)(asked, disable_tqdm=True),
                "lavra": lambda asked, kind=kind: getattr(ours, kind)(asked),
            }
            wall: dict[str, list[float]] = {system: [] for system in systems}
            cpu: dict[str, list[float]] = {system: [] for system in systems}
            said: dict[str, Any] = {}
            for _ in range(given.rounds):
                for system, ask in systems.items():
                    start, spent = time.perf_counter(), time.process_time()
                    said[system] = ask(asked)
                    wall[system].append(time.perf_counter() - start)
                    cpu[system].append(time.process_time() - spent)
            print(line(name, len(asked), wall, cpu, difference(kind, said["lm-eval"], said["lavra"])), flush=True)


def line(name: str, count: int, wall: dict[str, list[float]], cpu: dict[str, list[float]], said: str) -> str:
    """Of the table: medians, and how many times longer lm-eval took."""
    medians = [{system: statistics.median(values) for system, values in each.items()} for each in (wall, cpu)]
    times = [f"{medians[0][system]:.1f} ({medians[1][system]:.1f})" for system in ("lm-eval", "lavra")]
    ratios = [each["lm-eval"] / each["lavra"] for each in medians]
    return f"| {name} | {count} | {times[0]} | {times[1]} | {ratios[0]:.1f} × ({ratios[1]:.1f} ×) | {said} |"


if __name__ == "__main__":
    main()
