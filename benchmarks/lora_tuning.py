"""LoRA on a real instruction set, in bf16, on a 135M Llama: TRL with peft, padded and packed, and Lavra; and QLoRA.

    python benchmarks/lora_tuning.py DATA.json [--steps 4] [--batch 4096] [--length 1024]

All train the same examples (texts through SmolLM2's tokenizer, answers learned) with rank 16 on every map of the
blocks. TRL packs with its best-fit strategy, or pads examples of like length; both with their labels on answers only.
TRL pads or packs to whole examples, so its steps hold about as many tokens as ours. Each lives in a process of its own
(peak memory), and Lavra and a peer take turns of one step, so that a busy machine slows them alike; real tokens a
second count, medians over turns. Weights are random: speed and memory do not depend on them. Full fine-tuning is
Lavra's own, for the memory that QLoRA is compared with. Memory is that of the whole process, as its user sees it; what
Python and the libraries take of it before there is a model stands beside.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training_step import make_model, matrix_peak, peak_bytes

MAPS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
OURS = {"LoRA": "lora", "QLoRA": "qlora", "full": "full"}
THEIRS = {"TRL, padded": False, "TRL, packed": True}


def encoded(options: argparse.Namespace) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ids and weights of the data's examples, as ``lavra tune`` learns them."""
    from lavra.model.hub import resolve
    from lavra.tokens.tokenizer import load_tokenizer
    from lavra.workspace.tuning.data import load_examples

    tokenizer = load_tokenizer(resolve("smollm2-135m").path)
    found = load_examples([options.data], tokenizer, learn="answers", context=options.length - 1)
    return [(e.labelled.ids, e.labelled.weights) for e in found.examples[: options.texts]]


def lavra(name: str, directory: Path, options: argparse.Namespace, pipe: Connection) -> None:
    from lavra.model.adapted import named_as
    from lavra.model.adapters import AdapterConfig, attach
    from lavra.model.weights import load_model
    from lavra.objectives.language import LanguageModel
    from lavra.objectives.packing import Example, PackedRows
    from lavra.training.callbacks import Callback, Step
    from lavra.training.loader import ShuffledLoader
    from lavra.training.loop import Trainer
    from lavra.training.run import RunDirectory
    from lavra.training.settings import TrainSettings

    data = dict(np.load(directory / "data.npz", allow_pickle=False))
    base = peak_bytes()
    model = load_model(directory, dtype=torch.bfloat16, storage="nf4" if name == "QLoRA" else None)
    if name == "full":
        model.requires_grad_()
    else:
        attach(model, AdapterConfig(rank=16, alpha=32.0), named_as(model, directory)[1])
    cuts = data["cuts"]
    examples = [Example(data["ids"][start:end], data["weights"][start:end]) for start, end in pairwise(cuts)]
    rows = PackedRows(examples, options.length)
    settings = TrainSettings(
        steps=10_000, batch_tokens=options.batch, micro_tokens=options.micro, learning_rate=2e-4, save_every=100_000,
        weight_decay=0.0, checkpointing=name == "QLoRA",
    )  # fmt: skip

    class Turns(Callback):
        began = 0.0

        def begin(self, plan: Any, step: int) -> None:
            pipe.recv()
            self.began = time.perf_counter()

        def step(self, step: Step) -> None:
            pipe.send((time.perf_counter() - self.began, step.tokens, step.loss))
            if pipe.recv() != "step":
                pipe.send((peak_bytes(), base))
                os._exit(0)
            self.began = time.perf_counter()

    loader = ShuffledLoader(rows, rows.sizes, batch_tokens=options.batch, micro_tokens=options.micro)
    Trainer(
        model, LanguageModel(), loader, settings, RunDirectory(directory / name), callbacks=[Turns()],
        context=rows.mean_context, longest=options.length,
    ).train()  # fmt: skip


def trl(name: str, directory: Path, options: argparse.Namespace, pipe: Connection) -> None:
    import datasets
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from full_tuning import grouping
    from lavra.model.hub import resolve
    from lavra.tokens.tokenizer import load_tokenizer

    packed = THEIRS[name]
    data = dict(np.load(directory / "data.npz", allow_pickle=False))
    cuts = data["cuts"]
    rows = [
        {
            "input_ids": data["ids"][start:end].tolist(),
            "completion_mask": (data["weights"][start:end] > 0).astype(int).tolist(),
        }
        for start, end in pairwise(cuts)
    ]
    mean = statistics.fmean(len(row["input_ids"]) for row in rows)
    backend = load_tokenizer(resolve("smollm2-135m").path).backend
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|im_end|>")
    base = peak_bytes()
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16)
    model.config.use_cache = False
    each = max(1, options.micro // options.length) if packed else max(1, round(options.micro / mean))
    seen: list[int] = []

    class Turns(TrainerCallback):
        began = 0.0

        def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            pipe.recv()
            self.began = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            taken = time.perf_counter() - self.began
            pipe.send((taken, sum(seen), float("nan")))
            seen.clear()
            if pipe.recv() != "step":
                pipe.send((peak_bytes(), base))
                os._exit(0)
            self.began = time.perf_counter()

    settings = SFTConfig(
        output_dir=str(directory / name), max_steps=10_000, per_device_train_batch_size=each,
        gradient_accumulation_steps=max(1, options.batch // options.micro), learning_rate=2e-4, bf16=True, use_cpu=True,
        lr_scheduler_type="cosine", logging_steps=1_000_000, report_to=[], save_strategy="no", disable_tqdm=True,
        completion_only_loss=True, max_length=options.length, packing=packed, gradient_checkpointing=False,
        dataset_num_proc=None, **({} if packed else grouping(SFTConfig)),
    )  # fmt: skip
    trainer = SFTTrainer(
        model=model, args=settings, train_dataset=datasets.Dataset.from_list(rows), processing_class=tokenizer,
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules=MAPS, task_type="CAUSAL_LM"), callbacks=[Turns()],
    )  # fmt: skip
    collate = trainer.data_collator

    def counting(examples: list[dict[str, Any]]) -> Any:
        seen.append(sum(len(example["input_ids"]) for example in examples))
        return collate(examples)

    trainer.data_collator = counting
    trainer.train()


def work(name: str, directory: Path, options: argparse.Namespace, pipe: Connection) -> None:
    (lavra if name in OURS else trl)(name, directory, options, pipe)


def turns(options: argparse.Namespace, names: list[str]) -> tuple[dict[str, list[Any]], dict[str, Any], float]:
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        make_model(directory)
        examples = encoded(options)
        np.savez(
            directory / "data.npz",
            ids=np.concatenate([ids for ids, _ in examples]),
            weights=np.concatenate([weights for _, weights in examples]),
            cuts=np.cumsum([0, *(len(ids) for ids, _ in examples)]),
        )
        pipes: dict[str, Connection] = {}
        found: dict[str, list[Any]] = {name: [] for name in names}
        for name in names:
            pipes[name], theirs = context.Pipe()
            context.Process(target=work, args=(name, directory, options, theirs), daemon=True).start()
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
    parser.add_argument("data", type=Path, help="a file of instructions")
    parser.add_argument("--steps", type=int, default=4, help="of each, after one that warms up")
    parser.add_argument("--batch", type=int, default=4096, help="tokens of a step")
    parser.add_argument("--micro", type=int, default=2048, help="tokens at once")
    parser.add_argument("--length", type=int, default=1024, help="of a row, and the longest example")
    parser.add_argument("--texts", type=int, default=1000)
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    # In pairs: all at once take more memory than small machines have.
    for names in [["LoRA", peer] for peer in THEIRS] + [["QLoRA", "full"]]:
        report(names, options)


def report(names: list[str], options: argparse.Namespace) -> None:
    found, memory, peak = turns(options, names)
    print(
        f"\n135M Llama, bf16, rank 16, {options.data.name}, about {options.batch} tokens a step, {options.micro} at "
        f"once, {options.steps} steps; one product: {peak / 1e9:.0f} GFLOP/s"
    )
    print(f"{'':14}{'s a step':>10}{'tokens':>9}{'tokens/s':>10}{'peak memory':>14}{'before a model':>17}")
    rates = {}
    for name, steps in found.items():
        rates[name] = statistics.median(tokens / seconds for seconds, tokens, _ in steps[1:])
        seconds, tokens = (statistics.median(step[place] for step in steps[1:]) for place in (0, 1))
        whole, base = (size / 2**20 for size in memory[name])
        print(f"{name:14}{seconds:>10.2f}{tokens:>9.0f}{rates[name]:>10.0f}{whole:>11.0f} MB{base:>14.0f} MB")
    first, second = names
    leaner = memory[first][0] / memory[second][0]
    if first == "LoRA":
        print(f"LoRA: {rates[first] / rates[second]:.2f} x the tokens a second of {second} (target 2), "
              f"{leaner:.2f} x its memory (target 0.6)", flush=True)  # fmt: skip
    else:
        print(f"QLoRA: {leaner:.2f} x the memory of full fine-tuning (target 0.35)", flush=True)


if __name__ == "__main__":
    main()
