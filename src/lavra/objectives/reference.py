"""What the model thought before training, computed once and kept beside the run.

An objective that compares with a reference would otherwise run a second model at each step. The numbers are few (one a
text), so they are stored, with the hash of what they were computed from: changed data or another model computes anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from lavra.model.base import Model
from lavra.objectives.answers import SomeItem, Text, answer_log_probabilities, in_a_row
from lavra.store.files import write_atomically


def with_references(
    model: Model,
    items: Sequence[SomeItem],
    *,
    stored: Path | None = None,
    base: str = "",
    micro_tokens: int = 2048,
    without: AbstractContextManager[None] | None = None,
) -> list[SomeItem]:
    """``items`` with log p of each of their answers under ``model`` as it is now.

    ``without``: entered meanwhile, to switch an adapter off. ``stored``: a safetensors file that is read if it is of
    these texts and of ``base`` (the model's hash), else written.
    """
    texts = [text for item in items for text in item.texts]
    key = _key(texts, base)
    values = _read(stored, key, len(texts)) if stored is not None else None
    if values is None:
        values = answer_scores(model, texts, micro_tokens=micro_tokens, without=without)
        if stored is not None:
            write_atomically(stored, save({"log_p": torch.tensor(values)}, metadata={"of": key}))
    found: list[SomeItem] = []
    at = 0
    for item in items:
        count = len(item.texts)
        found.append(item.referred(tuple(values[at : at + count])))
        at += count
    return found


@torch.no_grad()
def answer_scores(
    model: Model,
    texts: Sequence[Text],
    *,
    micro_tokens: int = 2048,
    without: AbstractContextManager[None] | None = None,
) -> list[float]:
    """log p(answer | prompt) of each text, without dropout."""
    found = [0.0] * len(texts)
    order = sorted(range(len(texts)), key=lambda number: texts[number].places)
    training = model.training
    model.eval()
    try:
        with without if without is not None else nullcontext():
            while order:
                group: list[int] = []
                tokens = 0
                while order and (not group or tokens + texts[order[-1]].places <= micro_tokens):
                    group.append(order.pop())
                    tokens += texts[group[-1]].places
                batch = in_a_row([texts[number] for number in group]).to(model.device)
                log_p, _ = answer_log_probabilities(model, batch, len(group))
                for number, value in zip(group, log_p.tolist(), strict=True):
                    found[number] = value
    finally:
        model.train(training)
    return found


def _key(texts: Sequence[Text], base: str) -> str:
    """SHA-256 of the texts and the model's hash."""
    state = hashlib.sha256(base.encode())
    for text in texts:
        state.update(f"|{len(text.ids)},{text.answer}|".encode())
        state.update(text.ids.astype("<i8").tobytes())
    return state.hexdigest()


def _read(path: Path, key: str, count: int) -> list[float] | None:
    """None where there is no such file, or it is of something else."""
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("of") != key:
                return None
            values = file.get_tensor("log_p")
    except (OSError, SafetensorError):
        return None
    return values.tolist() if values.shape == (count,) else None
