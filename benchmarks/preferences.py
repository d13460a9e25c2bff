"""DPO with LoRA on real preferences: the share of held-out pairs whose chosen answer the model finds better, before and
after.

    python benchmarks/preferences.py PREFERENCES.jsonl.gz [--rows 240] [--steps 12] [--model smollm2-135m]

Three measures of the same held-out pairs: by the sum of log-probabilities alone, by their mean a token, and by DPO's
reward, the log-ratio to the model before training (which prefers nothing before training, 50% by definition).
"""

from __future__ import annotations

import argparse
import gzip
import math
import tempfile
import time
from pathlib import Path

import torch

from lavra.model.adapted import named_as
from lavra.model.adapter_files import load_adapter
from lavra.model.precision import compute_dtype
from lavra.model.weights import load_model
from lavra.objectives.reference import answer_scores
from lavra.workspace.aligning.run import align, plan_align
from lavra.workspace.aligning.settings import AlignSettings
from lavra.workspace.workspace import Workspace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rows", type=int, default=240)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--context", type=int, default=320)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--beta", type=float, default=0.1)
    parser.add_argument("--batch", type=int, default=4096)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory) / "pairs.jsonl"
        data.write_bytes(
            gzip.decompress(options.data.read_bytes()) if options.data.suffix == ".gz" else options.data.read_bytes()
        )
        settings = AlignSettings(
            method="dpo", beta=options.beta, limit=options.rows, steps=options.steps, context=options.context,
            learning_rate=options.rate, batch_tokens=options.batch, validation=0.4,
        )  # fmt: skip
        began = time.perf_counter()
        job = plan_align(Workspace.init(Path(directory) / "workspace"), data, settings, model=options.model)
        done = align(job)
        minutes = (time.perf_counter() - began) / 60
        held, base = job.data.held, job.base.generator.model
        model = load_model(base.path, dtype=compute_dtype())
        texts = [text for pair in held for text in pair.texts]
        lengths = torch.tensor([len(text.ids) - text.answer for text in texts]).view(-1, 2)
        before = torch.tensor(answer_scores(model, texts)).view(-1, 2)
        family = named_as(model, base.path)[1]
        load_adapter(model, family, done.artifact.path / "adapter", base_sha256=base.sha256)
        after = torch.tensor(answer_scores(model, texts)).view(-1, 2)
    rows = f"{len(job.data.learned)} pairs learned from, {len(held)} held out, {len(job.data.problems)} left out"
    print(f"{rows}; {done.metrics['steps']} steps, {done.metrics['stopped']}")
    print(f"{minutes:.1f} minutes, beta {options.beta:g}, rate {options.rate:g}")
    for name, scores in (
        ("log p", (before, after)),
        ("log p a token", (before / lengths, after / lengths)),
        ("log-ratio", (before - before, after - before)),
    ):
        share = [float((s[:, 0] > s[:, 1]).float().mean() + (s[:, 0] == s[:, 1]).float().mean() / 2) for s in scores]
        error = math.sqrt(share[1] * (1 - share[1]) / len(held))
        print(f"held-out accuracy by {name}: {share[0]:.1%} before, {share[1]:.1%} after (standard error {error:.1%})")
    for name, value in done.metrics.items():
        if name.endswith(("_before", "_after")):
            print(f"{name:28}{value:.4f}")


if __name__ == "__main__":
    main()
