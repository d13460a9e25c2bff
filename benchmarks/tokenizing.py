"""From documents to token files: how fast, in how much memory, and how fast a passage is found in them.

    python benchmarks/tokenizing.py [--megabytes 60] [--rounds 3]

Documents are real ones (``corpus.parquet`` of the shared data, in several languages), written as a corpus. Each system
reads that corpus and ends with the ids of all of it on the disk, in a process of its own; they take turns:

- ``tokenizers alone``: ids made and thrown away, the texts in memory: the limit;
- ``Lavra``: what ``lavra tokenize`` does;
- ``transformers``: the same tokenizer as transformers loads it, a batch of 1,000 texts at a time, ids to a file;
- ``datatrove``: its ``DocumentTokenizer`` over its Parquet reader, if it is installed.

Then passages of 60 tokens, drawn by lot, are looked for in the files.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SHARED = Path(os.environ.get("LAVRA_SHARED", Path(__file__).parents[2] / "shared" / "data"))


def write_corpus(place: Path, megabytes: int) -> int:
    """``documents.parquet`` of about so many MB; its UTF-8 bytes."""
    import pyarrow.parquet as parquet

    from lavra.corpus.document import Document
    from lavra.corpus.storage import FILE_NAME, CorpusWriter

    size = 0
    with CorpusWriter(place / FILE_NAME) as writer:
        for copy in range(100):
            for row in parquet.read_table(SHARED / "corpus" / "corpus.parquet").to_pylist():
                writer.add(Document(source=f"{copy}/{row['id']}", text=row["text"], language=row["lang"] or "und"), "r")
                size += len(row["text"].encode())
                if size > megabytes * 1e6:
                    return size
    return size


def lavra(corpus: Path, out: Path, tokenizer: Path) -> None:
    from lavra.tokens.tokenizer import load_tokenizer
    from lavra.workspace.tokenizing import _write

    _write(corpus, out, load_tokenizer(tokenizer), lambda *_: None)


def alone(corpus: Path, out: Path, tokenizer: Path) -> float:
    import pyarrow.parquet as parquet
    import tokenizers

    backend = tokenizers.Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    texts = parquet.read_table(corpus / "documents.parquet", columns=["text"])["text"].to_pylist()
    started = time.perf_counter()
    for at in range(0, len(texts), 1000):
        backend.encode_batch_fast(texts[at : at + 1000])
    return time.perf_counter() - started


def transformers(corpus: Path, out: Path, tokenizer: Path) -> None:
    import pyarrow.parquet as parquet
    from transformers import AutoTokenizer

    peer = AutoTokenizer.from_pretrained(tokenizer)
    with (out / "ids.bin").open("wb") as file:
        for batch in parquet.ParquetFile(corpus / "documents.parquet").iter_batches(1000, columns=["text"]):
            for ids in peer(batch["text"].to_pylist())["input_ids"]:
                np.array([*ids, peer.eos_token_id], dtype=np.uint16).tofile(file)


def datatrove(corpus: Path, out: Path, tokenizer: Path) -> None:
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.tokens import DocumentTokenizer

    pipeline = [
        ParquetReader(str(corpus), glob_pattern="documents.parquet"),
        DocumentTokenizer(
            str(out), tokenizer_name_or_path=str(tokenizer / "tokenizer.json"), eos_token=None, shuffle_documents=False
        ),
    ]
    LocalPipelineExecutor(pipeline, tasks=1, logging_dir=str(out / "logs")).run()


SYSTEMS: dict[str, Callable[[Path, Path, Path], float | None]] = {
    "tokenizers alone": alone, "Lavra": lavra, "transformers": transformers, "datatrove": datatrove
}  # fmt: skip


def child(name: str, corpus: Path, tokenizer: Path) -> None:
    """One system once; prints its seconds and the process' peak memory."""
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        seconds = SYSTEMS[name](corpus, Path(out), tokenizer) or time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak": peak}))


def find(corpus: Path, tokenizer: Path) -> None:
    """Passages of the files, looked for."""
    from lavra.evaluation.memorisation.token_sources import find_in_tokens
    from lavra.tokens.packed import TokenFiles
    from lavra.tokens.tokenizer import load_tokenizer

    own = load_tokenizer(tokenizer)
    with tempfile.TemporaryDirectory() as out:
        lavra(corpus, Path(out), tokenizer)
        files = TokenFiles(Path(out))
        draw = np.random.default_rng(0)
        long = np.flatnonzero(files.tokens > 200)
        for count in (1, 10, 100):
            places = [(int(n), int(draw.integers(0, files.tokens[n] - 60))) for n in draw.choice(long, count)]
            passages = [own.decode(files.ids(number)[at : at + 60].tolist()) for number, at in places]
            started = time.perf_counter()
            found = find_in_tokens(files, own, passages)
            seconds = time.perf_counter() - started
            right = sum(
                any(one.owner.number == number for one in of) or (len(of) == 5 and of[-1].share == 1)
                for (number, _), of in zip(places, found, strict=True)
            )
            rate = files.size / seconds / 1e6
            print(
                f"{count:4} passages: {seconds:6.2f} s, {rate:7.1f} million tokens a second, {right} of {count} found"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], Path(options.child[1]), Path(options.child[2]))
        return
    from lavra.model.hub import resolve
    from lavra.tokens.tokenizer import load_tokenizer

    with tempfile.TemporaryDirectory() as place:
        corpus, tokenizer = Path(place) / "corpus", Path(place) / "tokenizer"
        corpus.mkdir()
        tokenizer.mkdir()
        load_tokenizer(Path(resolve("smollm2-135m", pull=True).path)).save(tokenizer)
        size = write_corpus(corpus, options.megabytes)
        present = [name for name in SYSTEMS if name != "datatrove" or importlib.util.find_spec("datatrove")]
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in present}
        for _ in range(options.rounds):
            for name in present:
                command = [sys.executable, __file__, "--child", name, str(corpus), str(tokenizer)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                results[name].append(json.loads(done.stdout.splitlines()[-1]))
        print(f"{size / 1e6:.0f} MB of real documents, SmolLM2's tokenizer, {os.cpu_count()} cores, medians\n")
        print(f"{'':20}{'seconds':>10}{'MB/s':>10}{'peak MiB':>12}")
        for name, rows in results.items():
            seconds, peak = (statistics.median(row[key] for row in rows) for key in ("seconds", "peak"))
            print(f"{name:20}{seconds:10.1f}{size / 1e6 / seconds:10.1f}{peak:12.0f}")
        print()
        find(corpus, tokenizer)


if __name__ == "__main__":
    main()
