"""Which kernel behind ``attend`` is the fastest for which mask: the measurements behind its table of choices.

    python benchmarks/attention_kernels.py [--quick]

Seconds of one core (process time, so that other work on the machine counts less), the best of a few; the kernels take
turns. "Texts" is Lavra's kernel for texts packed into rows, "runs" are one call a text, "tiles" are Lavra's for
patterns and long texts, "dense" is PyTorch's kernel with a mask.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from lavra.model import kernels, texts, tiles
from lavra.model.attention import Mask

HEADS, KV_HEADS, WIDTH = 9, 3, 64
Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]


def texts_of(batch: int, time_: int, mean: int) -> Tensor:
    """Segment numbers of packed texts of random lengths."""
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(batch, time_, generator=generator) < 1 / mean).long().cumsum(1)


def padded_left(batch: int, time_: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(time_ // 2, time_ + 1, (batch, 1), generator=generator)
    lengths[0] = time_
    return torch.arange(time_) >= time_ - lengths


LOADS: tuple[tuple[str, int, int, Mask], ...] = (
    ("4 x 512, texts of 128", 4, 512, Mask(causal=True, segments_BS=texts_of(4, 512, 128))),
    ("4 x 512, texts of 40", 4, 512, Mask(causal=True, segments_BS=texts_of(4, 512, 40))),
    ("4 x 512, causal", 4, 512, Mask(causal=True)),
    ("1 x 8192, texts of 800", 1, 8192, Mask(causal=True, segments_BS=texts_of(1, 8192, 800))),
    ("4 x 2048, padded on the left", 4, 2048, Mask(causal=True, valid_BS=padded_left(4, 2048))),
    ("1 x 4096, causal", 1, 4096, Mask(causal=True)),
)


def kernels_for(mask: Mask, batch: int, time_: int) -> dict[str, Kernel]:
    """By name, those that can serve the mask."""
    scale, bare = WIDTH**-0.5, Mask(causal=True)

    def tiled(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return tiles.tiled(q, k, v, mask.cut(q, k.shape[2]), scale)

    if mask.plain:
        return {"fused": lambda q, k, v: kernels.fused(q, k, v, True, scale), "tiles": tiled}
    lengths = mask.stretches(batch, time_)
    assert lengths is not None

    def run_fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return kernels.runs(q, k, v, lengths, lambda q, k, v: kernels.fused(q, k, v, True, scale))

    def run_tiles(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        def each(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return tiles.tiled(q, k, v, bare.cut(q, k.shape[2]), scale)

        return kernels.runs(q, k, v, lengths, each)

    def dense(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return kernels.dense(q, k, v, mask.additive(time_, time_, HEADS, q), scale)

    def by_texts(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return texts.attend_texts(q, k, v, lengths, True, scale, mask.text_masks(q, KV_HEADS))

    return {"dense": dense, "texts": by_texts, "runs, fused": run_fused, "runs, tiles": run_tiles, "tiles": tiled}


def best(calls: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """The smallest process time of each, in milliseconds; they take turns."""
    found = [float("inf")] * len(calls)
    for _ in range(rounds + 1):
        for index, call in enumerate(calls):
            start = time.process_time()
            call()
            found[index] = min(found[index], time.process_time() - start)
    return [1e3 * seconds for seconds in found]


def learn(kernel: Kernel, leaves: Sequence[Tensor], given: Tensor) -> None:
    """Forward and backward."""
    kernel(*leaves).backward(given)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the loads of 512 tokens only")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, one core, torch {torch.__version__}; ms of forward (forward and backward)\n")
    for dtype in (torch.bfloat16, torch.float32):
        for name, batch, time_, mask in LOADS[: 3 if options.quick else None]:
            served = kernels_for(mask, batch, time_)
            q, k, v = (
                torch.randn(batch, time_, heads, WIDTH, dtype=dtype).transpose(1, 2)
                for heads in (HEADS, KV_HEADS, KV_HEADS)
            )
            rounds = 4 if time_ < 3000 else 2
            forward = best([partial(f, q, k, v) for f in served.values()], rounds)
            leaves = [x.detach().requires_grad_() for x in (q, k, v)]
            both = best([partial(learn, f, leaves, torch.randn_like(q)) for f in served.values()], rounds)
            row = "  ".join(f"{n} {a:.0f} ({b:.0f})" for n, a, b in zip(served, forward, both, strict=True))
            print(f"{str(dtype)[6:]:9} {name:30} {row}", flush=True)


if __name__ == "__main__":
    main()
