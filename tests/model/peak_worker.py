"""Run by ``test_peak_memory.py`` in a process of its own: prints how far memory rose above what it was, as a share of
the model's weights, while a model was read or written."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

import torch

from lavra.inference import export  # noqa: F401 - all that is needed is imported before anything is measured
from lavra.model.base import Model
from lavra.model.gguf_writing import save_gguf
from lavra.model.weights import load_model
from lavra.model.writing import save_model
from lavra.tokens.tokenizer import load_tokenizer


def status(field: str) -> int:
    """Bytes, of a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


def size(model: Model) -> int:
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def main(task: str, tiny: Path, source: Path, out: Path) -> None:
    dtype = torch.bfloat16 if task.endswith("bf16") else torch.float32
    storage: Any = "nf4" if task.endswith("nf4") else None
    run(
        task, load_model(tiny, dtype=dtype, storage=storage), out / "warm", tiny
    )  # lazily made threads, caches and kernels
    model = None if task.startswith("read") else load_model(source, dtype=dtype)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins here
    before = status("VmRSS")
    if model is None:
        model = load_model(source, dtype=dtype, storage=storage)
        before_model = 0
    else:
        run(task, model, out / "real", source)
        before_model = size(model)
    rise = status("VmHWM") - before
    print((rise + before_model) / size(model))


def run(task: str, model: Model, out: Path, source: Path) -> None:
    tokenizer = load_tokenizer(source) if task.startswith("write") else None
    if task.startswith("write hf"):
        save_model(model, out, family="llama", tokenizer=tokenizer)
    elif task.startswith("write gguf"):
        assert tokenizer is not None
        save_gguf(model, tokenizer, out.with_suffix(".gguf"), quantisation=task.split()[2], architecture="llama")


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
