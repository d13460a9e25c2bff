"""How often must a text be read to be found out? A model trained here on a corpus with traps, as in Meeus et al. 2024.

Traps and canaries are put into Portuguese help pages 1, 10, 100 and 1,000 times (`lavra traps`). A small Llama is
trained on that from scratch, once, and a second one, the reference, on other pages without traps; then the first is
asked what it shows (`lavra memorisation`). Printed are the AUC of each measure by repetitions, against twins that a
coin left out, the exposure of canaries, and what is extracted; and the same is asked of pages that were read once.

    python benchmarks/memorisation.py [--data ../shared/data] [--place DIR] [--svg plot.svg]

With --place a run that was stopped goes on where it was. About 6 minutes on one core, with 6 MB of pages.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, trainers

from lavra.corpus.storage import load_documents
from lavra.corpus.traps.making import TrapSettings
from lavra.evaluation.memorisation.curves import COLOURS
from lavra.evaluation.memorisation.tuned_gap import GapSettings
from lavra.model.building import build, initialise
from lavra.model.config import ModelConfig
from lavra.model.writing import save_model
from lavra.objectives.language import LanguageModel
from lavra.objectives.packing import Example, stream
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer
from lavra.training.curve import Line, draw
from lavra.training.loader import make_loader
from lavra.training.loop import Trainer
from lavra.training.progress import TerminalProgress
from lavra.training.run import RunDirectory
from lavra.training.settings import TrainSettings
from lavra.workspace.memorisation.measuring import Settings, plan, run
from lavra.workspace.memorisation.pages import report
from lavra.workspace.memorisation.traps import inject_traps, make_traps, parse_numbers
from lavra.workspace.workspace import Workspace

VOCABULARY, CONTEXT = 4096, 256
REGISTER = "register.json"


def pages(data: Path) -> list[str]:
    """Portuguese help pages, in an order of the seed's."""
    import pyarrow.parquet as parquet

    rows = parquet.read_table(data / "corpus" / "corpus.parquet", columns=["text", "lang", "kind"]).to_pylist()
    found = sorted({r["text"] for r in rows if r["kind"] == "html" and str(r["lang"]).lower().startswith("pt")})
    random.Random(0).shuffle(found)
    return [text for text in found if 400 < len(text) < 40_000]


def take(texts: Iterator[str], characters: float) -> list[str]:
    """The next ones, of so many characters in all."""
    found: list[str] = []
    while sum(map(len, found)) < characters:
        found.append(next(texts))
    return found


def make_tokenizer(texts: Sequence[str], place: Path) -> Tokenizer:
    """Byte-level BPE."""
    path = place / "bpe.json"
    if not path.exists():
        bare = tokenizers.Tokenizer(models.BPE())
        bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bare.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=["<|end|>"], show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )  # fmt: skip
        bare.train_from_iterator(texts, trainer)
        bare.save(str(path))
    return Tokenizer(tokenizers.Tokenizer.from_file(str(path)), eos_ids=frozenset({0}))


def pretrain(name: str, texts: Sequence[str], tokenizer: Tokenizer, options: argparse.Namespace, place: Path) -> Path:
    """One epoch from scratch, each text once; found if it was done."""
    path = place / name
    if path.exists():
        return path
    config = ModelConfig(
        vocabulary_size=VOCABULARY, layers=options.layers, width=options.width, heads=options.width // 32,
        kv_heads=options.width // 64, head_width=32, hidden_width=8 * options.width // 3 // 32 * 32, causal=True,
        norm="rms", norm_epsilon=1e-5, positions="rotary", activation="silu", gated=True, context_length=CONTEXT,
        tied_embeddings=True,
    )  # fmt: skip
    model = build(config)
    initialise(model, 0 if name == "model" else 1)
    examples = [Example(np.array([0, *tokenizer.encode(text, parse_special=False), 0])) for text in texts]
    rows = list(stream(examples, CONTEXT))
    settings = TrainSettings(
        epochs=1, batch_tokens=options.batch, micro_tokens=2048, learning_rate=options.rate, warmup=0.05, floor=0.1,
        weight_decay=0.1, save_every=50,
    )  # fmt: skip
    model = model.to(settings.compute_dtype()).requires_grad_()
    loader = make_loader(rows, [CONTEXT] * len(rows), settings)
    began = time.perf_counter()
    result = Trainer(
        model, LanguageModel(), loader, settings, RunDirectory(place / f"run-{name}"), callbacks=[TerminalProgress()]
    ).train()
    if result.stopped == "interrupted":
        raise SystemExit("stopped: run the same command again to continue.")
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{name}: {parameters / 1e6:.1f}M parameters, {len(rows) * CONTEXT / 1e6:.2f}M tokens, "
          f"loss {result.loss:.3f}, {time.perf_counter() - began:.0f} s", flush=True)  # fmt: skip
    save_model(model.eval().float(), path, tokenizer=tokenizer, family="llama")
    return path


def plot(part: Mapping[str, Any]) -> str:
    """AUC by repetitions, a line a measure."""
    most = max(row["repetitions"] for row in part["measures"] if row["repetitions"] != "all")
    lines = [Line("chance", [(0.0, 0.5), (math.log10(most), 0.5)], "#9ca3af", thin=True)]
    for name, colour in COLOURS.items():
        rows = [row for row in part["measures"] if row["measure"] == name and row["repetitions"] != "all"]
        if rows:
            points = [(math.log10(row["repetitions"]), row["auc"]) for row in rows]
            lines.append(Line(name, points, colour, dots=True))
    return draw("AUC by repetitions", lines, x_name="repetitions, as a power of ten", y_name="AUC", whole=True)


def _ask_about_pages(here: Workspace, model: Path, place: Path, own: Sequence[str], unread: Sequence[str]) -> None:
    """Pages that were read once among pages that were not, drawn by lot; and one of each in Digger's way."""
    read = random.Random(1).sample(list(own), 61)
    files = {"texts": read[1:], "controls": unread[1:]}
    paths = {name: place / f"{name}.jsonl" for name in files}
    for name, given in files.items():
        paths[name].write_text("".join(json.dumps({"text": text}) + "\n" for text in given), "utf-8")
    for name, page in (("read", read[0]), ("unread", unread[0])):
        path = place / f"{name}.txt"
        path.write_text(page, "utf-8")
        settings = Settings(gap=GapSettings(pieces=4))
        results = run(plan(here, str(model), document=path, precision="fp32", settings=settings, **paths)).results
        shown = results if name == "read" else {**{k: results[k] for k in ("model", "reference", "dtype", "document")}}
        print(f"## A page that was {name}\n\n{report(shown)}", flush=True)


def main() -> None:
    """Print the tables, and draw the plot where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--place", type=Path)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--megabytes", type=float, default=6.0)
    parser.add_argument("--repetitions", default="1,10,100,1000")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--words", type=int, default=16)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--batch", type=int, default=8192)
    parser.add_argument("--rate", type=float, default=3e-3)
    options = parser.parse_args()
    place = options.place or Path(tempfile.mkdtemp(prefix="lavra-memorisation-"))
    place.mkdir(parents=True, exist_ok=True)

    texts = iter(pages(options.data))
    own, other = take(texts, options.megabytes * 1e6), take(texts, options.megabytes * 0.25e6)
    here = Workspace.init(place / "workspace")
    register = place / REGISTER
    if here.corpus() is None:
        (place / "pages.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in own), "utf-8")
        here.ingest([place / "pages.jsonl"])
    if not register.exists():
        repetitions = parse_numbers(options.repetitions, "--repetitions")
        settings = TrapSettings(repetitions, pairs=options.pairs, canaries=4, words=options.words)
        make_traps(here, register, settings, language="pt", secret="a benchmark has no secrets")
    trapped = inject_traps(here, register)
    figures = trapped.figures
    print(f"{figures['documents']:,} pages, {figures['characters'] / 1e6:.1f} MB with {figures['copies']:,} copies of "
          f"{figures['traps']} texts, {figures['share_of_traps']:.1%} of the characters", flush=True)  # fmt: skip
    tokenizer = make_tokenizer([*own, *other], place)
    documents = [document.text for document in load_documents(trapped.artifact.path)]
    model = pretrain("model", documents, tokenizer, options, place)
    reference = pretrain("reference", other, tokenizer, options, place)
    assert load_tokenizer(model).vocabulary_size == VOCABULARY
    began = time.perf_counter()
    done = run(plan(here, str(model), register=register, reference=str(reference), precision="fp32"))
    print(f"measured in {time.perf_counter() - began:.0f} s on {platform.processor() or platform.machine()}, "
          f"{torch.get_num_threads()} threads\n", flush=True)  # fmt: skip
    print(report(done.results))
    if options.svg:
        options.svg.write_text(plot(done.results["register"]), "utf-8")
    _ask_about_pages(here, model, place, own, [next(texts) for _ in range(61)])


if __name__ == "__main__":
    main()
