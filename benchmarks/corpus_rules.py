"""Quality rules and near-duplicate signatures beside datatrove's, on the same documents, in the same process.

    pip install "datatrove[processing]" spacy        # the peer
    python benchmarks/corpus_rules.py ../shared/data/corpus/corpus.parquet [--documents 1200]

Decisions: the share of English documents on which each rule set keeps or drops as datatrove's does, with the rules of
every disagreement. Speed: CPU seconds of one core as MB/s, and the ratio. All filters see a document before the next
one comes, as in datatrove's pipelines, so that its words are split once.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from lavra.corpus.duplicates.minhash import band_keys
from lavra.corpus.quality.batch import buffers, measure_texts
from lavra.corpus.quality.rules import C4, FineWeb, GopherQuality, GopherRepetition, broken


def documents(path: Path, count: int, language: str, seed: int) -> list[str]:
    """Texts in a language, drawn by a seed."""
    table = parquet.read_table(path, columns=["text", "lang"]).to_pylist()
    texts = [row["text"] for row in table if (row["lang"] or "en") == language and row["text"].strip()]
    order = np.random.default_rng(seed).permutation(len(texts))
    return [texts[i] for i in order[:count]]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    result = work()
    return result, time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--documents", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shown", type=int, default=3, help="disagreements to print of each kind")
    options = parser.parse_args()
    from datatrove.data import Document
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from datatrove.utils.hashing import HashConfig
    from datatrove.utils.text import split_into_parts

    texts = documents(options.corpus, options.documents, "en", options.seed)
    size = sum(len(text.encode()) for text in texts) / 1e6
    print(f"{len(texts):,} English documents, {size:.2f} MB")
    array = pa.array(texts, pa.large_string())
    measure_texts(array[:8], "en")  # compiled and loaded before the clock runs
    figures, mine = timed(lambda: measure_texts(array, "en").figures)
    peers = {
        "gopher_quality": (GopherQuality(), GopherQualityFilter()),
        "gopher_repetition": (GopherRepetition(), GopherRepetitionFilter()),
        "c4": (C4(), C4QualityFilter()),
        "fineweb": (FineWeb(), FineWebQualityFilter()),
    }
    GopherQualityFilter().filter(Document(text=texts[0], id="0"))
    split_into_parts.cache_clear()
    said, theirs = timed(
        lambda: [[peer.filter(Document(text=text, id="0")) for _, peer in peers.values()] for text in texts]
    )
    for number, (name, (rules, _)) in enumerate(peers.items()):
        found = broken(rules, figures)
        dropped = np.logical_or.reduce(list(found.values()))
        answers = [answer[number] for answer in said]
        other = np.array([answer is not True for answer in answers])
        agree = float((dropped == other).mean())
        print(f"{name:18} agree on {agree:.2%}; dropped {dropped.sum()} here, {other.sum()} there")
        kinds: Counter[str] = Counter()
        for row in np.flatnonzero(dropped != other):
            why = "+".join(rule for rule, hit in found.items() if hit[row]) or f"kept; there {answers[row][1]}"
            kinds[why] += 1
            if kinds[why] <= options.shown:
                print(f"    {why}: {texts[row][:70]!r} ({len(texts[row])} characters)")
        for why, times in kinds.most_common():
            print(f"  {times:4} {why}")
    print(f"rules: {size / mine:.1f} MB/s here, {size / theirs:.2f} there, {theirs / mine:.0f} ×")

    offsets, data = buffers(array)
    band_keys(*buffers(array[:8]), n=5, bands=14, rows=8)
    _, mine = timed(lambda: band_keys(offsets, data, n=5, bands=14, rows=8))
    signer = MinhashDedupSignature(
        tempfile.mkdtemp(),
        MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8, hash_config=HashConfig(hash_fc="sha1")),
    )

    def sign() -> None:
        for text in texts:
            shingles = signer.get_shingles(text)
            if shingles.size:
                signer.get_signature(shingles)

    _, theirs = timed(sign)
    print(
        f"signatures (14 × 8, 5 words): {size / mine:.1f} MB/s here, {size / theirs:.2f} there, {theirs / mine:.0f} ×"
    )


if __name__ == "__main__":
    main()
