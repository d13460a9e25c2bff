"""A corpus cleaned for training: speed, memory, duplicates against theory, languages, and what a terabyte would take.

    python benchmarks/cleaning.py ../shared/data [--part whole --part duplicates ...]

whole: all stages over the real corpus (52,298 documents), MB/s of wall time and the peak of memory, stage by stage.
duplicates: 10,000 planted copies, 1 to 20 % of their words changed, found as theory says; and all pairs of 3,000 real
    documents compared exactly, as the judge of what was found.
paragraphs: how much of the real corpus stands in another document as well, by the least words of a paragraph.
languages: passages in Portuguese, English and Spanish, beside langdetect and lingua where they are installed.
personal: precision and recall on the labelled texts of presidio-research, and Portuguese sentences with valid and
    invalid numbers.
perplexity: bits per byte of passages to a small model, as they are and with their words or letters shuffled.
scale: what 1 TB and 15 TB of text would take: the figures of a core, measured in the same run, and a simulation of the
    exchange of keys between workers.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

_NETWORK = 10e9
"""Bits a second between machines: what the large providers' machines of 16 cores have at least."""
_EUROS = 0.04
"""Price of a core hour: an assumption, to be replaced by one's own."""


def corpus(data: Path, out: Path, step: int = 1) -> float:
    """Every so many-th document of the shared corpus as Lavra stores one; its megabytes of text."""
    from lavra.corpus.storage import FILE_NAME, schema

    table = parquet.read_table(data / "corpus" / "corpus.parquet")
    table = table.take(pa.array(range(0, len(table), step)))
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
    import sys

    with tempfile.TemporaryDirectory() as place:
        child = os.fork()
        if child == 0:
            corpus(data, Path(place) / "source")
            os._exit(0)
        os.waitpid(child, 0)
        megabytes = sum(parquet.read_table(Path(place) / "source", columns=["bytes"])["bytes"].to_pylist()) / 1e6
        from lavra.corpus.cleaning.run import clean_corpus
        from lavra.corpus.cleaning.settings import STAGES, Cleaning

        sets = {"gsm8k": str(next((data / "eval" / "math").rglob("*test*.jsonl"), ""))}
        settings = Cleaning(
            unlicensed="keep",
            stages=STAGES,
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
        assert not Path(f"/proc/self/task/{os.getpid()}/children").read_text()  # this process's peak is all of it
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        print(report.markdown().split("## ")[0])
        print(
            f"{megabytes:.0f} MB: {megabytes / times[1][0]:.1f} MB/s ({megabytes / times[1][1]:.1f} a CPU second; the "
            f"first time {megabytes / times[0][0]:.1f}), peak {peak:.2f} GB = {peak * 1e9 / 2**30:.2f} GiB"
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
    some = [texts[row] for row in draw.choice(len(texts), 3_000, replace=False)]
    offsets, data_bytes = buffers(pa.array(some, pa.large_string()))
    flat, ends = shingle_sets(offsets, data_bytes, np.arange(len(some)), 5)
    left, right = np.triu_indices(len(some), 1)
    similarity = jaccard(flat, ends, left, right)
    truly = set(zip(left[similarity >= 0.8].tolist(), right[similarity >= 0.8].tolist(), strict=True))
    found = find_clusters(
        band_keys(offsets, data_bytes, n=5, bands=20, rows=6), offsets, data_bytes, n=5, threshold=0.8
    )
    pairs = {tuple(pair) for pair in found.pairs.tolist()}
    recall = len(pairs & truly) / max(1, len(truly))
    print(
        f"{len(some):,} real documents, all {len(left):,} pairs compared exactly: {len(truly):,} are 80% alike, of "
        f"which {len(pairs & truly):,} found (recall {recall:.3f}); {len(pairs - truly)} found wrongly"
    )


def paragraphs(data: Path) -> None:
    """Paragraphs that another document has as well."""
    from lavra.corpus.duplicates import paragraphs as kernel
    from lavra.corpus.quality.batch import buffers

    table = parquet.read_table(data / "corpus" / "corpus.parquet", columns=["text"])
    offsets, bytes_ = buffers(table["text"])
    kernel.paragraphs(offsets[:3], bytes_, words=1)
    sizes = np.diff(offsets)
    order = np.argsort(-sizes, kind="stable")
    for words in (5, 10, 20, 50):
        began = time.process_time()
        hashes, lengths, _, _, ends = kernel.paragraphs(offsets, bytes_, words=words)
        spent = time.process_time() - began
        readers = np.zeros(len(sizes), np.int64)
        kept_by, thin = kernel.kept_elsewhere(hashes, lengths, ends, readers, sizes, order, 0.3)
        share, rate = lengths[kept_by >= 0].sum() / offsets[-1], offsets[-1] / 1e6 / spent
        print(
            f"{words:3} words and more: {len(hashes):,} paragraphs, {(kept_by >= 0).sum():,} of them ({share:.1%} of "
            f"the text) kept by another document; {thin.sum():,} documents lose over 70%; {rate:.0f} MB/s of a core"
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
        print("langdetect is not installed: left out")
    try:
        from lingua import Language, LanguageDetectorBuilder

        built = LanguageDetectorBuilder.from_languages(Language.PORTUGUESE, Language.SPANISH, Language.ENGLISH).build()

        def lingua(text: str) -> str:
            found = built.detect_language_of(text)
            return found.iso_code_639_1.name.lower() if found else "und"

        detectors["lingua (three languages)"] = lingua
    except ImportError:
        print("lingua is not installed: left out")
    for cut in (None, 60):
        for name, detect in detectors.items():
            detect(items[0][0])
            began = time.process_time()
            right = sum(detect(text[:cut]) == language for text, language in items)
            spent = time.process_time() - began
            size = "passages" if cut is None else f"{cut} characters"
            share = right / len(items)
            print(f"{name:32} {size:14} {share:.4f} of {len(items):,}, {1e6 * spent / len(items):.0f} µs each")


def personal(data: Path) -> None:
    """Each kind's right, missed and wrong finds."""
    from lavra.corpus.personal.finding import find

    kinds = {"EMAIL_ADDRESS": "email", "CREDIT_CARD": "card", "IBAN_CODE": "iban", "IP_ADDRESS": "ip"}
    kinds["PHONE_NUMBER"] = "telephone"
    counts = {kind: [0, 0, 0] for kind in kinds.values()}
    path = data / "eval" / "pii" / "presidio_research" / "data" / "synth_dataset_v2.json"
    for row in json.loads(path.read_text(encoding="utf-8")):
        labelled = [
            (span["start_position"], span["end_position"], kinds[span["entity_type"]])
            for span in row["spans"]
            if span["entity_type"] in kinds
        ]
        mine = find(row["full_text"])
        for start, end, kind in labelled:
            counts[kind][not any(f.kind == kind and f.start < end and f.end > start for f in mine)] += 1
        for f in mine:
            if f.kind in counts:
                counts[f.kind][2] += not any(f.start < b and f.end > a and f.kind == kind for a, b, kind in labelled)
    for kind, (right, missed, wrong) in counts.items():
        recall, precision = right / max(1, right + missed), right / max(1, right + wrong)
        print(
            f"{kind:10} {right:4} found, {missed} missed, {wrong} wrong: recall {recall:.3f}, precision {precision:.3f}"
        )
    draw = random.Random(5)
    valid, invalid, texts = 0, 0, 1_000
    for _ in range(texts):
        digits = [draw.randrange(10) for _ in range(9)]
        for _ in range(2):
            rest = sum(a * b for a, b in zip(digits, range(len(digits) + 1, 1, -1), strict=True)) % 11
            digits.append(0 if rest < 2 else 11 - rest)
        right = "{}{}{}.{}{}{}.{}{}{}-{}{}".format(*digits)
        wrong = right[:-1] + str((digits[-1] + draw.randrange(1, 10)) % 10)
        text = f"O titular do CPF {right} declara; protocolo {draw.randrange(10**11)}. O CPF {wrong} não existe."
        found = [text[f.start : f.end] for f in find(text) if f.kind == "cpf"]
        valid, invalid = valid + (right in found), invalid + (wrong in found)
    print(
        f"CPF in {texts:,} generated sentences: {valid:,} valid ones found, {invalid} of {texts:,} invalid ones taken"
    )


def perplexity(data: Path) -> None:
    """Shuffled text beside the text itself."""
    from lavra.workspace.generators import find_generator
    from lavra.workspace.perplexity import reader
    from lavra.workspace.workspace import Workspace

    draw = random.Random(0)

    def shuffled(text: str, by: str) -> str:
        pieces = text.split() if by == "words" else list(text)
        draw.shuffle(pieces)
        return (" " if by == "words" else "").join(pieces)

    with tempfile.TemporaryDirectory() as place:
        read = reader(find_generator(Workspace.init(Path(place)), "smollm2-135m"), 128)
        for name in ("xquad-en", "faquad-pt"):
            lines = (data / "retrieval" / name / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
            texts = [json.loads(line)["text"] for line in lines[:40]]
            bits = {"as they are": read(texts)}
            began = time.process_time()
            bits |= {f"{by} shuffled": read([shuffled(text, by) for text in texts]) for by in ("words", "letters")}
            rate = 2 * 128 * len(texts) / (time.process_time() - began)
            for what, values in bits.items():
                low, middle, high = np.percentile(values, (0, 50, 100))
                print(f"{name:10} {what:17} {low:.2f} to {high:.2f} bits per byte, median {middle:.2f}")
            most = bits["as they are"].max()
            found = np.mean([values > most for what, values in bits.items() if what != "as they are"])
            print(f"{name:10} {found:.1%} of the shuffled above every real one; {rate:,.0f} tokens a CPU second")


def exchange(data: Path) -> tuple[float, float]:
    """The real corpus' keys sent to the workers that own them: bytes sent a document, and how full the fullest gets."""
    from lavra.corpus.duplicates.clusters import find_candidates
    from lavra.corpus.duplicates.minhash import band_keys
    from lavra.corpus.duplicates.shingles import shingle_sets
    from lavra.corpus.quality.batch import buffers

    table = parquet.read_table(data / "corpus" / "corpus.parquet", columns=["text"])
    offsets, bytes_ = buffers(table["text"])
    keys = band_keys(offsets, bytes_, n=5, bands=20, rows=6)
    keys = np.random.default_rng(0).permutation(keys[keys[:, 0] != 0])
    print("a share of the documents   candidate pairs a document   documents in any pair")
    for share in (1 / 16, 1 / 4, 1):
        some = keys[: round(len(keys) * share)]
        pairs = find_candidates(some)
        said = f"{len(pairs) / len(some):.2f}                        {len(np.unique(pairs)) / len(some):.1%}"
        print(f"  {share:7.2%} ({len(some):6,})         {said}")
    rows = np.unique(find_candidates(keys))
    _, ends = shingle_sets(offsets, bytes_, rows, 5)
    shingles = 4 * float(np.diff(ends).sum()) / len(keys)
    records = keys.size * 16 / len(keys)  # a key and a row of eight bytes each, for every band
    skews = {}
    for workers in (64, 1_024):
        owner = (keys * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40)) % np.uint64(workers)
        loads = np.bincount(owner.reshape(-1).astype(np.int64), minlength=workers)
        skews[workers] = loads.max() / loads.mean()
        print(f"  {workers:5} workers: the fullest gets {skews[workers]:.2f} times the mean")
    print(f"  sent a document: {records:.0f} bytes of keys, {shingles:.0f} bytes of shingles to compare candidates")
    return records + shingles, skews[64]


def scale(data: Path) -> None:
    """Core hours, keys and money for a terabyte and fifteen, from this machine's core."""
    import tracemalloc

    from lavra.corpus.cleaning.gathering import facts_of
    from lavra.corpus.cleaning.run import clean_corpus
    from lavra.corpus.cleaning.settings import Cleaning

    with tempfile.TemporaryDirectory() as place:
        settings = Cleaning(unlicensed="keep")
        corpus(data, Path(place) / "few", 500)
        clean_corpus(Path(place) / "few", Path(place) / "warm", settings, Path(place) / "began")  # compiles and loads
        megabytes = corpus(data, Path(place) / "source", 4)
        began = time.process_time()
        report = clean_corpus(Path(place) / "source", Path(place) / "out", settings, Path(place) / "work")
        rate = megabytes / (time.process_time() - began)
        size = megabytes * 1e6 / report.documents_in
        tracemalloc.start()
        facts, _ = facts_of(sorted((Path(place) / "work").glob("*.parquet")))
        held = tracemalloc.get_traced_memory()[0] / len(facts)
        tracemalloc.stop()
    print(f"one core: {rate:.2f} MB/s from documents to report; a document has {size:,.0f} bytes")
    sent, skew = exchange(data)
    print(f"one process that decides over all, as `lavra corpus clean` does: {held:,.0f} bytes of memory a document")
    for terabytes in (1, 15):
        documents = terabytes * 1e12 / size
        hours = terabytes * 1e6 / rate / 3600
        shuffled = documents * sent
        seconds = shuffled * skew / 64 / (_NETWORK / 8)
        print(
            f"{terabytes:3} TB: {documents / 1e6:,.0f} M documents, {hours:,.0f} core hours ({hours / 1_024:.1f} h on "
            f"1,024 cores), at {_EUROS} EUR an hour {hours * _EUROS:,.0f} EUR; {shuffled / 1e12:,.2f} TB exchanged, "
            f"{seconds:,.0f} s between 64 machines at 10 Gbit/s; deciding in one process would hold "
            f"{documents * held / 1e9:,.0f} GB"
        )


def main() -> None:
    parts = {
        function.__name__: function
        for function in (whole, duplicates, paragraphs, languages, personal, perplexity, scale)
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--part", choices=parts, action="append")
    options = parser.parse_args()
    for part in options.part or parts:
        print(f"── {part}")
        parts[part](options.data)


if __name__ == "__main__":
    main()
