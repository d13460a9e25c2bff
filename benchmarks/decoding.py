"""Greedy decoding of SmolLM2 at batch 1: transformers' ``generate`` in bf16, and Lavra, on the same weights.

    python benchmarks/decoding.py [--rounds 5]

Two loads: a short prompt with a long answer (64 → 128 tokens) and a long prompt with a short one (512 → 64). The two
take turns within one run, so that a busy machine slows them alike; medians count. The time to the first token is that
of the prompt; the rate is of the tokens after it. The limit printed beside is memory: each token reads every weight
in bf16 once, at the bandwidth that a plain matrix-vector product reaches here in the same run.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from lavra.inference.engine import Engine
from lavra.inference.sampling import Sampling
from lavra.model.hub import resolve

LOADS = ((64, 128), (512, 64))
TEXT = (
    "The lighthouse keeper wrote the weather into a book every morning: wind, cloud, the height of the waves. On the "
    "ninth of March the barometer fell faster than he had ever seen it fall, and he lit the lamp at noon. "
)


class Clock:
    """Collects the moment of every token: the peer's streamer interface."""

    def __init__(self) -> None:
        self.moments: list[float] = []
        self.prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        if self.prompt_seen:
            self.moments.append(time.perf_counter())
        self.prompt_seen = True  # the first call hands over the prompt

    def end(self) -> None:
        pass


def measure(stamps: Callable[[], tuple[float, list[float]]]) -> tuple[float, float]:
    """Seconds to the first token, and tokens a second after it."""
    start, moments = stamps()
    return moments[0] - start, (len(moments) - 1) / (moments[-1] - moments[0])


def lavra(engine: Engine, prompt: Sequence[int], tokens: int) -> tuple[float, list[float]]:
    """A fresh request: what the last one left in the cache is dropped first."""
    engine._cached_ids = []
    start, moments = time.perf_counter(), []
    for _ in engine.stream(prompt, Sampling(max_tokens=tokens)):
        moments.append(time.perf_counter())
    return start, moments


def peer(model: torch.nn.Module, prompt: Sequence[int], tokens: int) -> tuple[float, list[float]]:
    clock = Clock()
    start = time.perf_counter()
    with torch.inference_mode():
        model.generate(  # type: ignore[operator]
            torch.tensor([prompt]), max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, streamer=clock
        )
    return start, clock.moments


def bandwidth(weights: torch.Tensor) -> float:
    """Bytes a second at which ``weights`` (V, C) stream through a matrix-vector product; the best of several."""
    copies = [weights.clone() for _ in range(4)]  # together larger than any cache
    vector = torch.ones(weights.shape[1], dtype=weights.dtype)
    best = 0.0
    for _ in range(6):
        start = time.perf_counter()
        for copy in copies:
            torch.nn.functional.linear(vector, copy)
        best = max(best, sum(copy.nbytes for copy in copies) / (time.perf_counter() - start))
    return best


def processor() -> str:
    """The processor's name, and what it multiplies in bf16 with."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    flags = next((line for line in lines if line.startswith("flags")), "")
    bf16 = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags]
    return f"{name}, {os.cpu_count()} cores, {' '.join(bf16) or 'no bf16 units'}, torch {torch.__version__}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    from transformers import AutoModelForCausalLM

    path = resolve("smollm2-135m", pull=True).path
    engine = Engine.load("smollm2-135m")
    engine.tokenizer.eos_ids = frozenset()  # neither stops early
    judge = AutoModelForCausalLM.from_pretrained(str(path.parent), gguf_file=path.name, dtype=torch.bfloat16).eval()
    judge.generation_config.eos_token_id = None
    judge.generation_config.pad_token_id = 0
    ids = engine.tokenizer.encode(TEXT * 20)
    size = sum(weight.nbytes for weight in judge.parameters())
    limit = bandwidth(engine._model.embedding.weight) / size
    print(
        f"{processor()}\nSmolLM2-135M-Instruct, Lavra in {engine._model.dtype}, transformers in bf16; greedy, batch 1"
    )
    print(f"the bf16 weights are {size / 1e6:.0f} MB: at most {limit:.0f} tokens/s for who reads them from memory")
    print("(Lavra reads those of the blocks as the 4 bits that they are in the file)\n")
    print(f"{'load':12}{'system':16}{'first token':>14}{'tokens/s':>12}{'of the limit':>14}{'ratio':>8}")
    for prompt_tokens, tokens in LOADS:
        prompt = ids[:prompt_tokens]
        results: dict[str, list[tuple[float, float]]] = {"transformers": [], "Lavra": []}
        for turn in range(options.rounds + 1):
            for name, stamps in (
                ("transformers", lambda prompt=prompt, tokens=tokens: peer(judge, prompt, tokens)),
                ("Lavra", lambda prompt=prompt, tokens=tokens: lavra(engine, prompt, tokens)),
            ):
                found = measure(stamps)
                if turn:  # the first round warms up
                    results[name].append(found)
        pairs = zip(results["Lavra"], results["transformers"], strict=True)
        ratio = statistics.median(ours[1] / theirs[1] for ours, theirs in pairs)
        for name, values in results.items():
            first = statistics.median(value[0] for value in values)
            rate = statistics.median(value[1] for value in values)
            shown = f"{ratio:.2f}×" if name == "Lavra" else ""
            load = f"{prompt_tokens} → {tokens}"
            print(f"{load:12}{name:16}{first * 1000:11.0f} ms{rate:12.1f}{rate / limit:13.0%}{shown:>9}")


if __name__ == "__main__":
    main()
