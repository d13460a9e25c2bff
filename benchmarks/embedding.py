"""Documents a second: sentence-transformers in float32 and bf16, and Lavra, on the same 128-token texts.

    python benchmarks/embedding.py [--texts 256] [--rounds 5]

Texts are real ones (``corpus.parquet`` of the shared data), cut to 128 tokens of the model. The systems take turns
within one run, so that a busy machine slows them alike; the medians of the rounds count. Every text is also compared
by the cosine of its two vectors.
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

import numpy as np
import torch

from lavra.inference.embedder import Embedder
from lavra.model.hub import resolve

SHARED = Path(os.environ.get("LAVRA_SHARED", Path(__file__).parents[2] / "shared" / "data"))
TOKENS = 128


def real_texts(count: int, encode: Callable[[str], list[int]], decode: Callable[[list[int]], str]) -> list[str]:
    """English texts of the corpus, each cut so that it has 128 tokens, special ones included."""
    import pyarrow.parquet as parquet

    table = parquet.read_table(SHARED / "corpus" / "corpus.parquet", columns=["text", "lang"])
    texts: list[str] = []
    for text, language in zip(table["text"].to_pylist(), table["lang"].to_pylist(), strict=True):
        if language in (None, "en", "en-US") and len(text) > 1500:
            ids = encode(text[200:2500])
            if len(ids) < TOKENS:
                continue
            cut = decode(ids[: TOKENS - 2])
            if len(encode(cut)) + 2 == TOKENS:
                texts.append(cut)
        if len(texts) == count:
            return texts
    raise SystemExit(f"the corpus has only {len(texts)} such texts")


def take_turns(systems: dict[str, Callable[[], object]], documents: int, rounds: int) -> dict[str, list[float]]:
    """Documents a second of each system in each round, after a round to warm up."""
    rates: dict[str, list[float]] = {name: [] for name in systems}
    for turn in range(rounds + 1):
        for name, work in systems.items():
            start = time.perf_counter()
            work()
            if turn:
                rates[name].append(documents / (time.perf_counter() - start))
    return rates


def cosines(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """Smallest and mean cosine of the rows."""
    dots = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    return float(dots.min()), float(dots.mean())


def processor() -> str:
    """The processor's name, and what it multiplies in bf16 with."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    flags = next((line for line in lines if line.startswith("flags")), "")
    bf16 = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags]
    return f"{name}, {os.cpu_count()} cores, {' '.join(bf16) or 'no bf16 units'}, torch {torch.__version__}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    from sentence_transformers import SentenceTransformer

    path = resolve("minilm-l6", pull=True).path
    reference = SentenceTransformer(str(path), device="cpu")
    half = SentenceTransformer(str(path), device="cpu", model_kwargs={"dtype": torch.bfloat16})
    ours, exact = Embedder.load("minilm-l6"), Embedder.load("minilm-l6", dtype=torch.float32)
    backend = ours._tokenizer.backend
    texts = real_texts(
        options.texts, lambda text: backend.encode(text, add_special_tokens=False).ids, lambda ids: backend.decode(ids)
    )

    def peer(model: SentenceTransformer) -> np.ndarray:
        return np.asarray(model.encode(texts, batch_size=32, show_progress_bar=False, convert_to_numpy=True))

    rates = take_turns(
        {
            "sentence-transformers float32": lambda: peer(reference),
            "sentence-transformers bf16": lambda: peer(half),
            "Lavra": lambda: ours.documents(texts),
        },
        len(texts),
        options.rounds,
    )
    print(f"{processor()}\nall-MiniLM-L6-v2, {len(texts)} texts of {TOKENS} tokens, {options.rounds} rounds in turns\n")
    print(f"{'system':32}{'docs/s (median)':>16}{'min to max':>18}{'against float32':>18}")
    baseline = rates["sentence-transformers float32"]
    for name, values in rates.items():
        ratio = statistics.median(value / base for value, base in zip(values, baseline, strict=True))
        spread = f"{min(values):.1f} to {max(values):.1f}"
        print(f"{name:32}{statistics.median(values):16.1f}{spread:>18}{ratio:17.2f}×")
    theirs = peer(reference)
    print("\ncosine with sentence-transformers float32 (smallest, mean)")
    print("  Lavra, {}: {:.5f}, {:.5f}".format(ours._model.dtype, *cosines(ours.documents(texts), theirs)))
    print("  Lavra, torch.float32: {:.7f}, {:.7f}".format(*cosines(exact.documents(texts), theirs)))
    for name in ("e5-small-enpt",):
        embedder = Embedder.load(resolve(name, pull=True))
        rate = take_turns({name: lambda embedder=embedder: embedder.documents(texts)}, len(texts), 2)[name]
        tokens = sum(min(count, embedder.window) for count in embedder.count_tokens(texts)) / len(texts)
        print(f"\nLavra {name}: {statistics.median(rate):.1f} docs/s of {tokens:.0f} of its tokens")


if __name__ == "__main__":
    main()
