"""A LoRA run of fifty steps loses what TRL's and peft's loses, step by step: same data in the same order, same first
adapter, same settings; TRL pads each example, Lavra packs them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lavra.model.adapted import named_as
from lavra.model.adapter_files import load_adapter
from lavra.model.weights import load_model
from lavra.objectives.language import LanguageModel
from lavra.objectives.packing import Example, make_row
from lavra.training.loader import MicroBatch
from lavra.training.loop import Trainer
from lavra.training.run import RunDirectory
from lavra.training.settings import TrainSettings

VOCABULARY, STEPS, BATCH, RATE = 97, 50, 4, 5e-3


def texts() -> list[tuple[np.ndarray, int]]:
    """Ids, and how many of the first are the question; what follows can be learned."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(STEPS * BATCH):
        length = int(random.integers(6, 40))
        ids = 3 + (5 * np.arange(length) + random.integers(90)) % 90
        found.append((ids, int(random.integers(1, length // 2))))
    return found


class InOrder:
    """Each step takes the next four examples, in two rows."""

    fingerprint = "in order"

    def __init__(self) -> None:
        self.at = 0
        self.examples = []
        for ids, question in texts():
            weights = np.ones(len(ids), np.float32)
            weights[:question] = 0
            self.examples.append(Example(ids, weights))

    def steps(self, epochs: int) -> int:
        return STEPS

    def next_step(self, rank: int = 0, ranks: int = 1) -> list[MicroBatch]:
        mine = self.examples[self.at : self.at + BATCH]
        self.at += BATCH
        return [MicroBatch([make_row(mine[:3], 128)]), MicroBatch([make_row(mine[3:], 128)])]

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.at = state["at"]


def trl_losses(model: Path, adapter: Path, folder: Path) -> list[float]:
    import datasets
    import tokenizers
    from peft import PeftModel
    from torch.utils.data import SequentialSampler
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    words = {str(number): number for number in range(VOCABULARY)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="0", eos_token="2")
    rows = [
        {"input_ids": ids.tolist(), "completion_mask": [0] * question + [1] * (len(ids) - question)}
        for ids, question in texts()
    ]

    class Ordered(SFTTrainer):
        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return SequentialSampler(self.train_dataset)

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    settings = SFTConfig(
        output_dir=str(folder), max_steps=STEPS, per_device_train_batch_size=BATCH, learning_rate=RATE, logging_steps=1,
        lr_scheduler_type="constant", warmup_steps=0, weight_decay=0.0, max_grad_norm=1.0, use_cpu=True, bf16=False,
        report_to=[], save_strategy="no", disable_tqdm=True, completion_only_loss=True, max_length=None, packing=False,
        gradient_checkpointing=False, adam_beta1=0.9, adam_beta2=0.999, seed=0,
    )  # fmt: skip
    trainer = Ordered(
        model=PeftModel.from_pretrained(base, adapter, is_trainable=True), args=settings,
        train_dataset=datasets.Dataset.from_list(rows), processing_class=tokenizer,
    )  # fmt: skip
    trainer.train()
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


@pytest.mark.slow
def test_fifty_steps_of_lora_follow_trl(tmp_path: Path):
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=128, pad_token_id=0, initializer_range=0.15,
        )
    )  # fmt: skip
    model.save_pretrained(tmp_path / "model")
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    given = LoraConfig(r=4, lora_alpha=8, target_modules=names, task_type="CAUSAL_LM")
    get_peft_model(model, given).save_pretrained(tmp_path / "adapter")
    theirs = trl_losses(tmp_path / "model", tmp_path / "adapter", tmp_path / "trl")

    ours = load_model(tmp_path / "model", dtype=torch.float32)
    load_adapter(ours, named_as(ours, tmp_path / "model")[1], tmp_path / "adapter")
    settings = TrainSettings(
        steps=STEPS, batch_tokens=256, micro_tokens=128, learning_rate=RATE, schedule="constant", warmup=0.0,
        weight_decay=0.0, betas=(0.9, 0.999), clip=1.0, dtype="fp32", save_every=1000, spike=0.0,
    )  # fmt: skip
    run = RunDirectory(tmp_path / "run")
    Trainer(ours, LanguageModel(), InOrder(), settings, run).train()
    losses = [line["loss"] for line in run.lines("metrics")]
    assert len(theirs) == len(losses) == STEPS
    assert losses[-1] < 0.8 * losses[0]
    assert max(abs(a - b) for a, b in zip(losses, theirs, strict=True)) < 1e-2
    assert math.isclose(losses[0], theirs[0], abs_tol=1e-4)
