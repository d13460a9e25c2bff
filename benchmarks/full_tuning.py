"""Full fine-tuning of a 135M Llama in bf16 on texts of unequal lengths: Hugging Face's Trainer and Lavra.

    python benchmarks/full_tuning.py [--steps 4] [--batch 2048] [--length 1024]

Trainer runs twice: padding each batch of texts of like length, its default with ``group_by_length`` (``padded``), and
with texts joined without padding (``DataCollatorWithFlattening``: ``packed``). All train on the same texts with the
same answer-only labels, batches of about as many tokens, AdamW, clipping and a cosine schedule; Lavra also writes its
metrics. Each lives in a process of its own, so that peak memory is its own; Lavra and one of the two take turns of one
step, so that a busy machine slows them alike. What counts is real tokens a second: of each turn the quotient, of all
turns the median. It takes about three minutes on two cores. The share of the peak is the model's operations (products
and causal attention within a text, padding not counted; Chowdhery et al. 2022, appendix B), over the time of a whole
step, over what one large bf16 product reaches here in the same run.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

# Threads that wait without sleeping are ten times slower where anything else runs; on a quiet machine it is the same.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch

from training_step import SHAPE, make_model, matrix_peak, peak_bytes

PEERS = ("Trainer, padded", "Trainer, packed")
Text = tuple[np.ndarray, int]
"""Ids, and how many of the first are a question, which is not learned."""


def make_texts(count: int, longest: int) -> list[Text]:
    """Lengths as instruction sets have them: log-normal, a median of 200 tokens, cut at ``longest``."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(count):
        length = int(np.clip(random.lognormal(math.log(200), 0.8), 16, longest))
        found.append((random.integers(0, SHAPE["vocab_size"], length), length // 4))
    return found


def operations(lengths: list[int]) -> float:
    """Of forward and backward over texts of these lengths: 6 a weight of a matrix and token, and attention's products
    with half of the scores."""
    width, hidden, layers = SHAPE["hidden_size"], SHAPE["intermediate_size"], SHAPE["num_hidden_layers"]
    key_values = width // SHAPE["num_attention_heads"] * SHAPE["num_key_value_heads"]
    layer = 2 * width * width + 2 * width * key_values + 3 * width * hidden
    weights = layers * layer + SHAPE["vocab_size"] * width
    return float(sum(6 * weights * n + 6 * layers * width * n * n for n in lengths))


def lavra(directory: Path, options: argparse.Namespace, pipe: Connection) -> None:
    from lavra.model.weights import load_model
    from lavra.objectives.language import LanguageModel
    from lavra.objectives.packing import Example, PackedRows
    from lavra.training.callbacks import Callback, Step
    from lavra.training.loader import ShuffledLoader
    from lavra.training.loop import Trainer
    from lavra.training.run import RunDirectory
    from lavra.training.settings import TrainSettings

    base = peak_bytes()
    model = load_model(directory, dtype=torch.bfloat16).requires_grad_()
    examples = []
    for ids, question in make_texts(options.texts, options.length):
        weights = np.ones(len(ids), np.float32)
        weights[:question] = 0
        examples.append(Example(ids, weights))
    rows = PackedRows(examples, options.length)
    settings = TrainSettings(
        steps=10_000, batch_tokens=options.batch, micro_tokens=options.micro, learning_rate=1e-5, save_every=100_000
    )
    loader = ShuffledLoader(rows, rows.sizes, batch_tokens=options.batch, micro_tokens=options.micro)

    class Turns(Callback):
        began = 0.0

        def begin(self, plan: Any, step: int) -> None:
            pipe.recv()
            self.began = time.perf_counter()

        def step(self, step: Step) -> None:
            taken = time.perf_counter() - self.began
            done = step.share * matrix_of(trainer) * step.seconds
            pipe.send((taken, step.tokens, done, step.loss))
            if pipe.recv() != "step":
                pipe.send(peak_bytes() - base)
                os._exit(0)
            self.began = time.perf_counter()

    def matrix_of(trainer: Trainer) -> float:
        return trainer.plan.peak

    trainer = Trainer(
        model, LanguageModel(), loader, settings, RunDirectory(directory / "run"), callbacks=[Turns()],
        context=rows.mean_context, longest=options.length,
    )  # fmt: skip
    trainer.train()


def hugging_face(directory: Path, options: argparse.Namespace, pipe: Connection, packed: bool) -> None:
    from transformers import (
        AutoModelForCausalLM,
        DataCollatorWithFlattening,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    base = peak_bytes()
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    model.config.use_cache = False
    data = []
    for ids, question in make_texts(options.texts, options.length):
        data.append({"input_ids": ids.tolist(), "labels": [-100] * question + ids[question:].tolist()})
    mean = statistics.fmean(len(example["input_ids"]) for example in data)
    # Padded to the longest of a batch, whose logits Trainer makes at once: half as many texts, or 16 GB do not do.
    per_pass = max(1, round(options.micro / mean / (1 if packed else 2)))

    def pad(examples: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(example["input_ids"]) for example in examples)
        filling = {"input_ids": 0, "labels": -100}
        found = {
            name: torch.tensor([example[name] + [fill] * (longest - len(example[name])) for example in examples])
            for name, fill in filling.items()
        }
        real = torch.tensor([[1] * len(e["input_ids"]) + [0] * (longest - len(e["input_ids"])) for e in examples])
        return found | {"attention_mask": real}

    passes = max(1, round(options.batch / mean / per_pass))
    flatten = DataCollatorWithFlattening(return_tensors="pt")
    lengths: list[int] = []

    def collate(examples: list[dict[str, list[int]]]) -> Any:
        lengths.extend(len(example["input_ids"]) for example in examples)
        return flatten(examples) if packed else pad(examples)

    class Turns(TrainerCallback):
        began = 0.0

        def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            pipe.recv()
            self.began = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            taken = time.perf_counter() - self.began
            loss = state.log_history[-1].get("loss", math.nan) if state.log_history else math.nan
            pipe.send((taken, sum(lengths), operations(lengths), loss))
            lengths.clear()
            if pipe.recv() != "step":
                pipe.send(peak_bytes() - base)
                os._exit(0)
            self.began = time.perf_counter()

    arguments = TrainingArguments(
        output_dir=str(directory / ("packed" if packed else "padded")), max_steps=10_000, bf16=True, use_cpu=True,
        per_device_train_batch_size=per_pass, gradient_accumulation_steps=passes,
        learning_rate=1e-5, lr_scheduler_type="cosine", logging_strategy="steps", logging_steps=1, report_to=[],
        save_strategy="no", disable_tqdm=True, dataloader_num_workers=0, remove_unused_columns=False,
        **({} if packed else grouping(TrainingArguments)),
    )  # fmt: skip
    Trainer(model=model, args=arguments, train_dataset=data, data_collator=collate, callbacks=[Turns()]).train()


def grouping(kind: Any) -> dict[str, Any]:
    """Batches of like lengths, as this version spells it."""
    if "train_sampling_strategy" in kind.__dataclass_fields__:
        return {"train_sampling_strategy": "group_by_length"}
    return {"group_by_length": True}


def work(name: str, directory: Path, options: argparse.Namespace, pipe: Connection) -> None:
    if name == "Lavra":
        lavra(directory, options, pipe)
    else:
        hugging_face(directory, options, pipe, packed=name == PEERS[1])


def turns(options: argparse.Namespace, names: list[str]) -> tuple[dict[str, list[Any]], dict[str, int], float]:
    """Of each a list of steps (seconds, tokens, operations, loss), its peak memory; and the fastest product."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder))
        pipes: dict[str, Connection] = {}
        found: dict[str, list[Any]] = {name: [] for name in names}
        for name in names:
            pipes[name], theirs = context.Pipe()
            context.Process(target=work, args=(name, Path(folder), options, theirs), daemon=True).start()
            theirs.close()  # so that the end of a process is the end of its pipe
        peaks = []
        for _ in range(options.steps + 1):  # the first warms up
            for name, pipe in pipes.items():
                pipe.send("step")
                found[name].append(pipe.recv())
            peaks.append(matrix_peak())
        memory = {}
        for name, pipe in pipes.items():
            pipe.send("stop")
            memory[name] = pipe.recv()
    return found, memory, max(peaks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4, help="of each, after one that warms up")
    parser.add_argument("--batch", type=int, default=2048, help="tokens of a step")
    parser.add_argument("--micro", type=int, default=2048, help="tokens at once")
    parser.add_argument("--length", type=int, default=1024, help="of a row, and the longest text")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--only", choices=["Lavra"], help="without the peer, to work on it")
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    print(
        f"135M Llama, bf16, texts of 16 to {options.length} tokens, about {options.batch} a step, {options.micro} at "
        f"once, {options.steps} steps"
    )
    # In pairs: all at once take more memory than small machines have.
    for names in [["Lavra"]] if options.only else [["Lavra", peer] for peer in PEERS]:
        report(*turns(options, names))


def report(found: dict[str, list[Any]], memory: dict[str, int], peak: float) -> None:
    print(f"\none product: {peak / 1e9:.0f} GFLOP/s")
    print(f"{'':18}{'s a step':>10}{'tokens':>9}{'tokens/s':>10}{'of peak':>9}{'peak memory':>14}{'loss':>9}")
    rates: dict[str, list[float]] = {}
    for name, steps in found.items():
        rates[name] = [tokens / seconds for seconds, tokens, _, _ in steps[1:]]
        share = statistics.median(done / seconds / peak for seconds, _, done, _ in steps[1:])
        seconds, tokens = (statistics.median(step[place] for step in steps[1:]) for place in (0, 1))
        print(
            f"{name:18}{seconds:>10.2f}{tokens:>9.0f}{statistics.median(rates[name]):>10.0f}{share:>9.0%}"
            f"{memory[name] / 2**20:>11.0f} MB{steps[-1][3]:>9.3f}",
            flush=True,
        )
    ours, *theirs = rates
    for peer in theirs:
        turns_won = sorted(mine / other for mine, other in zip(rates[ours], rates[peer], strict=True))
        print(
            f"Lavra: {statistics.median(turns_won):.2f} x the tokens a second of {peer} ({turns_won[0]:.2f} to "
            f"{turns_won[-1]:.2f}, target 1.5), {memory[ours] / memory[peer]:.2f} x its memory",
            flush=True,
        )


if __name__ == "__main__":
    main()
