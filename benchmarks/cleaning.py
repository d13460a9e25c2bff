"""A corpus cleaned for training: speed, memory, duplicates against theory, languages, and what a terabyte would take.

    python benchmarks/cleaning.py ../shared/data [--part whole|duplicates|languages|scale]

whole: all stages over the real corpus (52,298 documents), MB/s of wall time and the peak of memory, stage by stage.
duplicates: 10,000 planted copies, 1 to 20 % of their words changed, found as theory says.
languages: passages in Portuguese, English and Spanish, beside langdetect and lingua where they are installed.
scale: what 1 TB and 15 TB of text would take, from the figures of a core measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet


def corpus(data: Path, out: Path, limit: int | None = None) -> float:
    """The shared corpus as Lavra stores one; its megabytes of text."""
    from lavra.corpus.storage import FILE_NAME, schema

    table = parquet.read_table(data / "corpus" / "corpus.parquet").slice(0, limit)
    count = len(table)
    sizes = pa.compute.binary_length(table["text"])
    empty = {name: pa.array([[]] * count, schema().field(name).type) for name in ("spans", "metadata")}
    values = {
        "id": pa.array([str(value) for value in table["id"].to_pylist()]),
        "source": pa.array([f"debian/{path}#{i}" for i, path in enumerate(table["path"].to_pylist())]),
        "root": pa.array(["debian"] * count),
        "title": pa.array([""] * count),
        "text": table["text"].cast(pa.string()),
        "format": pa.array(["text"] * count),
        "language": pa.array(["und"] * count),
        "licence": table["licence"].cast(pa.string()),
        "owner": pa.nulls(count, pa.string()),
        "roles": pa.array([["public"]] * count),
        "spans": empty["spans"],
        "sha256": pa.array([""] * count),
        "hash": pa.array([""] * count),
        "bytes": sizes.cast(pa.int64()),
        "modified": pa.nulls(count, pa.string()),
        "metadata": empty["metadata"],
    }
    out.mkdir(parents=True)
    parquet.write_table(pa.table(values).cast(schema()), out / FILE_NAME, row_group_size=1_000)
    return float(pa.compute.sum(sizes).as_py()) / 1e6


def whole(data: Path) -> None:
    """Every stage over the real corpus, in a process of its own, so that the peak is the cleaning's."""
    import os
    import sys

    with tempfile.TemporaryDirectory() as place:
        child = os.fork()
        if child == 0:
            corpus(data, Path(place) / "source")
            os._exit(0)
        os.waitpid(child, 0)
        megabytes = sum(parquet.read_table(Path(place) / "source", columns=["bytes"])["bytes"].to_pylist()) / 1e6
        from lavra.corpus.cleaning.run import clean_corpus
        from lavra.corpus.cleaning.settings import Cleaning

        sets = {"gsm8k": str(next((data / "eval" / "math").rglob("*test*.jsonl"), ""))}
        settings = Cleaning(
            unlicensed="keep",
            rules=("gopher_quality", "gopher_repetition", "c4", "fineweb"),
            evaluation_sets={name: path for name, path in sets.items() if path},
        )
        times = []
        for number in range(2):  # the first compiles and loads
            began = time.perf_counter(), time.process_time()
            report = clean_corpus(
                Path(place) / "source", Path(place) / f"out{number}", settings, Path(place) / f"w{number}"
            )
            times.append((time.perf_counter() - began[0], time.process_time() - began[1]))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(report.markdown().split("## ")[0])
        print(
            f"{megabytes:.0f} MB: {megabytes / times[1][0]:.1f} MB/s ({megabytes / times[1][1]:.1f} a CPU second; the "
            f"first time {megabytes / times[0][0]:.1f}), peak {peak:.2f} GB"
        )
        sys.stdout.flush()


def duplicates(data: Path) -> None:
    """Planted copies of real documents by the share of words that was changed."""
    from lavra.corpus.duplicates.clusters import find_clusters
    from lavra.corpus.duplicates.minhash import band_keys, found_share
    from lavra.corpus.duplicates.shingles import jaccard, shingle_sets
    from lavra.corpus.quality.batch import buffers

    draw = np.random.default_rng(0)
    table = parquet.read_table(data / "corpus" / "corpus.parquet", columns=["text"])["text"].to_pylist()
    texts = [text[:8_000] for text in table if len(text.split()) >= 100]
    chosen = draw.choice(len(texts), 10_000, replace=False)
    words = sorted({word for row in chosen[:500] for word in texts[row].split()})
    originals, copies, shares = [], [], []
    for row in chosen.tolist():
        parts, share = texts[row].split(), draw.uniform(0.01, 0.20)
        originals.append(" ".join(parts))
        for at in draw.choice(len(parts), round(share * len(parts)), replace=False):
            parts[at] = words[draw.integers(len(words))]
        copies.append(" ".join(parts))
        shares.append(share)
    offsets, data_bytes = buffers(pa.array(originals + copies, pa.large_string()))
    began = time.process_time()
    keys = band_keys(offsets, data_bytes, n=5, bands=20, rows=6)
    signed = time.process_time() - began
    count = len(originals)
    flat, ends = shingle_sets(offsets, data_bytes, np.arange(2 * count), 5)
    alike = jaccard(flat, ends, np.arange(count), np.arange(count, 2 * count))
    met = (keys[:count] == keys[count:]).any(axis=1)
    print("words changed   pairs   similarity   met in a band   theory")
    for low, high in ((0.01, 0.03), (0.03, 0.06), (0.06, 0.10), (0.10, 0.15), (0.15, 0.20)):
        here = (np.array(shares) >= low) & (np.array(shares) < high)
        theory = np.mean([found_share(value, 20, 6) for value in alike[here]])
        said = f"{alike[here].mean():.3f}           {met[here].mean():.3f}    {theory:.3f}"
        print(f"  {low:3.0%} to {high:3.0%}   {here.sum():6,}      {said}")
    found = find_clusters(keys, offsets, data_bytes, n=5, threshold=0.8)
    pairs = {tuple(pair) for pair in found.pairs.tolist()}
    truly = {(row, row + count) for row in np.flatnonzero(alike >= 0.8).tolist()}
    print(
        f"similarity 0.8 and more: {len(pairs & truly):,} of {len(truly):,} planted pairs found (recall "
        f"{len(pairs & truly) / len(truly):.3f}); {len(pairs):,} pairs in all, each compared exactly; "
        f"{found.candidates:,} candidates; signatures {offsets[-1] / 1e6 / signed:.0f} MB/s of a core"
    )


def languages(data: Path) -> None:
    """Accuracy and speed on passages of the retrieval sets, whole and cut to 60 characters."""
    from lavra.corpus.language import detect_language

    items: list[tuple[str, str]] = []
    for name, language in (
        ("faquad-pt", "pt"),
        ("pira-pt", "pt"),
        ("pira-en", "en"),
        ("xquad-en", "en"),
        ("xquad-es", "es"),
    ):
        lines = (data / "retrieval" / name / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
        items += [(json.loads(line)["text"], language) for line in lines if json.loads(line)["text"].strip()]
    detectors: dict[str, Callable[[str], str]] = {"lavra (py3langid, restricted)": detect_language}
    try:
        import langdetect

        langdetect.DetectorFactory.seed = 0
        detectors["langdetect"] = langdetect.detect
    except ImportError:
        pass
    try:
        from lingua import Language, LanguageDetectorBuilder

        built = LanguageDetectorBuilder.from_languages(Language.PORTUGUESE, Language.SPANISH, Language.ENGLISH).build()

        def lingua(text: str) -> str:
            found = built.detect_language_of(text)
            return found.iso_code_639_1.name.lower() if found else "und"

        detectors["lingua (three languages)"] = lingua
    except ImportError:
        pass
    for cut in (None, 60):
        for name, detect in detectors.items():
            detect(items[0][0])
            began = time.process_time()
            right = sum(detect(text[:cut]) == language for text, language in items)
            spent = time.process_time() - began
            size = "passages" if cut is None else f"{cut} characters"
            share = right / len(items)
            print(f"{name:32} {size:14} {share:.4f} of {len(items):,}, {1e6 * spent / len(items):.0f} µs each")


def scale(data: Path) -> None:
    """Core hours, keys and money for a terabyte and fifteen, from this machine's core."""
    from lavra.corpus.cleaning.engine import treat_shard
    from lavra.corpus.cleaning.settings import Cleaning
    from lavra.corpus.storage import open_corpus

    with tempfile.TemporaryDirectory() as place:
        megabytes = corpus(data, Path(place) / "source", 8_000)
        with open_corpus(Path(place) / "source") as file:
            table = file.read()
        treat_shard(table.slice(0, 100), Cleaning(), None)
        began = time.process_time()
        treat_shard(table, Cleaning(), None)
        rate = megabytes / (time.process_time() - began)
        size = megabytes * 1e6 / len(table)
        shutil.rmtree(Path(place) / "source")
    print(f"one core: {rate:.2f} MB/s for all stages; a document has {size:,.0f} bytes; a key row 20 × 8 bytes")
    for terabytes in (1, 15):
        documents = terabytes * 1e12 / size
        hours = terabytes * 1e6 / rate / 3600
        on_many, keys = hours / 1_024, documents * 160 / 1e9
        print(
            f"{terabytes:3} TB: {documents / 1e6:,.0f} M documents, {hours:,.0f} core hours ({on_many:.1f} h on 1,024 "
            f"cores), {keys:,.0f} GB of keys to bring together; at 0.04 EUR a core hour {hours * 0.04:,.0f} EUR"
        )


def main() -> None:
    parts = {"whole": whole, "duplicates": duplicates, "languages": languages, "scale": scale}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--part", choices=parts, action="append")
    options = parser.parse_args()
    for part in options.part or parts:
        print(f"── {part}")
        parts[part](options.data)


if __name__ == "__main__":
    main()
