"""TRL's own loss functions on the same weights and the same token ids: padded, where Lavra packs.

A trainer of TRL's wants data sets, tokenizers and an accelerator before it computes anything; its loss is a method that
needs a handful of attributes. Those are given here, the method is TRL's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from lavra.model.base import Model
from lavra.model.weights import load_model
from lavra.objectives.answers import Text

VOCABULARY = 97


def both(directory: Path, seed: int = 0) -> tuple[Any, Model]:
    """A tiny Llama as transformers has it, and as Lavra reads it."""
    torch.manual_seed(seed)
    theirs = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=128, pad_token_id=0, initializer_range=0.15,
        )
    ).eval()  # fmt: skip
    theirs.save_pretrained(directory)
    return theirs, load_model(directory, dtype=torch.float32).requires_grad_()


def texts(count: int, seed: int = 0, *, least: int = 1, most: int = 12) -> list[Text]:
    """Of unequal lengths; neighbours share their prompt, as the sides of a pair do."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        if number % 2 == 0:
            prompt = random.integers(3, VOCABULARY, random.integers(1, 8))
        answer = random.integers(3, VOCABULARY, random.integers(least, most))
        found.append(Text(np.concatenate([prompt, answer]), len(prompt)))
    return found


def padded(given: Sequence[Text]) -> dict[str, Tensor]:
    """Right-padded, as TRL's collators make it."""
    longest = max(len(text.ids) for text in given)
    ids, mask, answers = (torch.zeros(len(given), longest, dtype=torch.long) for _ in range(3))
    for row, text in enumerate(given):
        size = len(text.ids)
        ids[row, :size] = torch.from_numpy(text.ids)
        mask[row, :size] = 1
        answers[row, text.answer : size] = 1
    return {"input_ids": ids, "attention_mask": mask, "completion_mask": answers}


def log_p(model: Any, given: Sequence[Text]) -> Tensor:
    """log p(answer | prompt), from transformers' full logits, a text at a time."""
    found = []
    for text in given:
        ids = torch.from_numpy(text.ids)[None]
        log = model(ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
        found.append(log[text.answer - 1 :].sum())
    return torch.stack(found)


def stub(**attributes: Any) -> Any:
    """What TRL's methods ask of ``self``; every metric is recorded and none matters."""

    def alone(tensor: Tensor) -> Tensor:
        return tensor

    accelerator = SimpleNamespace(
        device=torch.device("cpu"), gather=alone, gather_for_metrics=alone, reduce=lambda tensor, reduction: tensor,
        num_processes=1, sync_gradients=True, unwrap_model=lambda model: model,
    )  # fmt: skip
    common = {
        "accelerator": accelerator, "_metrics": {"train": defaultdict(list), "eval": defaultdict(list)},
        "aux_loss_enabled": False, "_total_train_tokens": 0, "_tp_size": 1,
    }  # fmt: skip
    return SimpleNamespace(**common, **attributes)


def scoring(model: Any) -> Any:
    """Adds TRL's fused head, which its losses read log-probabilities off."""
    from trl.trainer.utils import add_fused_lm_head

    add_fused_lm_head(model, outputs=("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1"))
    return model


def gradient_of_both(theirs: nn.Module, ours: Model) -> tuple[Tensor, Tensor]:
    """The embedding's gradient, which every part of a pass adds to."""
    given = theirs.get_input_embeddings().weight.grad  # type: ignore[operator]
    assert ours.embedding is not None
    mine = ours.embedding.weight.grad
    assert given is not None
    assert mine is not None
    return given, mine
