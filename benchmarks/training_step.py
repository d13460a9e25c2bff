"""Forward and backward of a 135M Llama in bf16, 4 texts of 512 tokens: transformers and Lavra, on the same weights.

    python benchmarks/training_step.py [--rounds 5] [--batch 4] [--tokens 512]

Each lives in a process of its own, so that peak memory is its own, and the two take turns within one run, so that a
busy machine slows them alike; medians count. The share of the peak is the model's floating-point operations (matrix
products and causal attention; Chowdhery et al. 2022, appendix B), over the time, over what one large bf16 product
reaches here in the same run. Both must give the same loss and the same norm of gradients, or nothing is printed.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

# SmolLM2-135M's shape; weights are random, for speed does not depend on them.
SHAPE = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}

Step = Callable[[], torch.Tensor]


def transformers_step(directory: Path, ids: torch.Tensor) -> tuple[torch.nn.Module, Step]:
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(directory, dtype=torch.bfloat16).train()
    return model, lambda: model(input_ids=ids, labels=ids, use_cache=False).loss


def lavra_step(directory: Path, ids: torch.Tensor) -> tuple[torch.nn.Module, Step]:
    from lavra.model.heads import cross_entropy
    from lavra.model.weights import load_model

    model = load_model(directory, dtype=torch.bfloat16).train().requires_grad_()

    def step() -> torch.Tensor:
        total, count = cross_entropy(model, model(ids)[:, :-1], ids[:, 1:])
        return total / count

    return model, step


def work(name: str, directory: Path, shape: tuple[int, int], pipe: Connection) -> None:
    """A process of one of the two: a step each time it is asked, then its peak memory."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, SHAPE["vocab_size"], shape, generator=generator)
    base = peak_bytes()
    model, step = {"transformers": transformers_step, "lavra": lavra_step}[name](directory, ids)
    while pipe.recv() == "step":
        model.zero_grad(set_to_none=True)
        start = time.perf_counter()
        loss = step()
        loss.backward()
        seconds = time.perf_counter() - start
        squares = sum(float(p.grad.float().square().sum()) for p in model.parameters() if p.grad is not None)
        pipe.send((seconds, float(loss.detach()), math.sqrt(squares)))
    pipe.send(peak_bytes() - base)


def peak_bytes() -> int:
    """The process's own peak; ``ru_maxrss`` begins with that of the process which started it (Linux keeps it)."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def matrix_peak() -> float:
    """Floating-point operations a second of a bf16 product of 2,048 cubed; the best of ten."""
    a = torch.ones(2048, 2048, dtype=torch.bfloat16)
    best = math.inf
    for _ in range(10):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best


def step_operations(batch: int, tokens: int) -> float:
    """Of forward and backward: 6 a weight and token in matrices, and attention's products with half of the scores."""
    width, hidden, layers = SHAPE["hidden_size"], SHAPE["intermediate_size"], SHAPE["num_hidden_layers"]
    key_values = width // SHAPE["num_attention_heads"] * SHAPE["num_key_value_heads"]
    layer = 2 * width * width + 2 * width * key_values + 3 * width * hidden
    weights = layers * layer + SHAPE["vocab_size"] * width
    return batch * tokens * (6 * weights + 6 * layers * width * tokens)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=512)
    options = parser.parse_args()
    shape = options.batch, options.tokens
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder))
        found: dict[str, list[Any]] = {"transformers": [], "lavra": []}
        pipes, processes = {}, []
        for name in found:
            pipes[name], theirs = context.Pipe()
            process = context.Process(target=work, args=(name, Path(folder), shape, theirs), daemon=True)
            process.start()
            processes.append(process)
        peaks = []
        for _ in range(options.rounds + 1):  # the first warms up
            for name, pipe in pipes.items():
                pipe.send("step")
                found[name].append(pipe.recv())
            peaks.append(matrix_peak())
        memory = {}
        for name, pipe in pipes.items():
            pipe.send("stop")
            memory[name] = pipe.recv()
        for process in processes:
            process.join()
    losses = {name: rounds[0][1] for name, rounds in found.items()}
    norms = {name: rounds[0][2] for name, rounds in found.items()}
    if (
        abs(losses["lavra"] / losses["transformers"] - 1) > 0.005
        or abs(norms["lavra"] / norms["transformers"] - 1) > 0.02
    ):
        raise SystemExit(f"the two disagree: losses {losses}, gradient norms {norms}")
    report(found, memory, max(peaks), shape)


def make_model(directory: Path) -> None:
    """A random model of the shape, as transformers writes it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SHAPE)).bfloat16().save_pretrained(directory)


def report(found: dict[str, list[Any]], memory: dict[str, int], peak: float, shape: tuple[int, int]) -> None:
    batch, tokens = shape
    operations = step_operations(batch, tokens)
    seconds = {name: statistics.median(step[0] for step in rounds[1:]) for name, rounds in found.items()}
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    rounds = len(found["lavra"]) - 1
    print(f"135M Llama, bf16, {batch} x {tokens} tokens, {rounds} rounds; one product: {peak / 1e9:.0f} GFLOP/s")
    print(f"loss {found['lavra'][0][1]:.4f} and {found['transformers'][0][1]:.4f}\n")
    print(f"{'':14}{'s a step':>10}{'tokens/s':>10}{'of peak':>9}{'peak memory':>14}")
    for name in found:
        rate, share = batch * tokens / seconds[name], operations / seconds[name] / peak
        print(f"{name:14}{seconds[name]:>10.2f}{rate:>10.0f}{share:>9.0%}{memory[name] / 2**20:>11.0f} MB")
    faster, leaner = seconds["transformers"] / seconds["lavra"], memory["lavra"] / memory["transformers"]
    print(f"\nLavra: {faster:.2f} x the tokens a second (target 1.3), {leaner:.2f} x the memory (target 0.7)")


if __name__ == "__main__":
    main()
