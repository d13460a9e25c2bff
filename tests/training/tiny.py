"""A tiny decoder and examples of unequal lengths for the tests of this room; a run of it is also a program."""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lavra.model.base import Model
from lavra.model.building import build, initialise
from lavra.model.config import ModelConfig
from lavra.objectives.language import LanguageModel
from lavra.objectives.objective import Objective
from lavra.objectives.packing import Example, PackedRows
from lavra.objectives.retention import ewc, fisher, l2_sp
from lavra.training.callbacks import Callback, Step
from lavra.training.loader import ShuffledLoader, make_loader
from lavra.training.loop import Trainer
from lavra.training.run import RunDirectory
from lavra.training.settings import TrainSettings

VOCABULARY = 61
LENGTH = 48


def tiny_model(seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any) -> Model:
    shape: dict[str, Any] = {
        "vocabulary_size": VOCABULARY, "context_length": 128, "layers": 3, "width": 32, "heads": 4, "kv_heads": 2,
        "head_width": 8, "hidden_width": 48, "causal": True, "norm": "rms", "norm_epsilon": 1e-5, "norm_bias": False,
        "positions": "rotary", "activation": "silu", "gated": True,
    }  # fmt: skip
    config = ModelConfig(**{**shape, **changes})
    model = build(config)
    initialise(model, seed)
    return model.to(dtype).requires_grad_()


def examples(count: int = 200, seed: int = 0) -> list[Example]:
    """Of unequal lengths, with a structure that can be learned: each token follows from the one before, mostly; the
    beginning of each is not learned."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        length = int(np.clip(random.lognormal(2.6, 0.6), 3, LENGTH))
        ids = (7 * np.arange(length) + random.integers(VOCABULARY)) % VOCABULARY
        noisy = random.random(length) < 0.1
        ids = np.where(noisy, random.integers(VOCABULARY, size=length), ids)
        weights = np.ones(length, np.float32)
        weights[: length // 4] = 0
        found.append(Example(ids, weights, source=number))
    return found


def loader(settings: TrainSettings, count: int = 200, seed: int = 0) -> ShuffledLoader:
    rows = PackedRows(examples(count, seed), LENGTH)
    return make_loader(rows, rows.sizes, settings)


def settings(**changes: Any) -> TrainSettings:
    return TrainSettings(
        **{
            "steps": 24, "batch_tokens": 8 * LENGTH, "micro_tokens": 2 * LENGTH, "learning_rate": 3e-3, "save_every": 5,
            "warmup": 3, **changes,
        }
    )  # fmt: skip


def trainer(
    path: Path, *, model: Model | None = None, objective: Any = None, callbacks: Any = (), evaluate: Any = None,
    hold: bool = False,
    **changes: Any,
) -> Trainer:  # fmt: skip
    """``hold``: by EWC and L2-SP."""
    chosen = settings(**changes)
    model = model if model is not None else tiny_model()
    return Trainer(
        model,
        objective or (held(model) if hold else LanguageModel()),
        loader(chosen),
        chosen,
        RunDirectory(path),
        callbacks=callbacks,
        evaluate=evaluate,
    )


def held(model: Model) -> Objective:
    """The next token, by a model that is held to what it is, the more the more it matters for a few texts."""
    importance = fisher(model, LanguageModel(), PackedRows(examples(6, seed=5), LENGTH)[:])
    return l2_sp(ewc(LanguageModel(), model, 0.5, importance), model, 0.02)


class Steps(Callback):
    """Remembers what it was told; may act on a step."""

    def __init__(self, act: Any = None) -> None:
        self.seen: list[Step] = []
        self.events: list[str] = []
        self.act = act

    def step(self, step: Step) -> None:
        self.seen.append(step)
        if self.act is not None:
            self.act(step.step)

    def event(self, step: int, text: str) -> None:
        self.events.append(text)


def main() -> None:
    """Train in a directory; end by a signal at a step, if asked to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path)
    parser.add_argument("--kill-at", type=int, default=-1)
    parser.add_argument("--by", default="SIGKILL")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--distributed", default="none")
    parser.add_argument("--hold", action="store_true")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--stop-at", type=int, default=-1)
    options = parser.parse_args()
    torch.set_num_threads(1)

    def act(step: int) -> None:
        if step == options.kill_at:
            os.kill(os.getpid(), getattr(signal, options.by))

    model = tiny_model(dtype=getattr(torch, options.dtype), dropout=options.dropout)
    run = trainer(
        options.path, model=model, callbacks=[Steps(act)], distributed=options.distributed, steps=options.steps,
        hold=options.hold,
    )  # fmt: skip
    result = run.train()
    if run.ranks.first:
        print(result.stopped, result.message)
    run.ranks.close()


if __name__ == "__main__":
    main()
