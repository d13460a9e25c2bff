"""Near-duplicates: exact Jaccard is the judge, theory says how many are found, and the best of a cluster stays."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")
import pyarrow as pa

from lavra.corpus.duplicates.clusters import find_clusters, keepers
from lavra.corpus.duplicates.minhash import band_keys, found_share
from lavra.corpus.duplicates.shingles import jaccard, shingle_sets
from lavra.corpus.quality.batch import buffers

WORDS = [f"w{chr(97 + i % 26)}{chr(97 + i // 26 % 26)}{chr(97 + i // 676)}" for i in range(5_000)]


def shingles(text: str, n: int = 5) -> set[tuple[str, ...]]:
    """The definition: levelled words, every n in a row."""
    text = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    words = re.sub(r"[^\w]|_", " ", re.sub(r"\d+", "0", text)).split()
    width = min(n, len(words))
    return {tuple(words[i : i + width]) for i in range(len(words) - width + 1)} if words else set()


def exact(a: str, b: str) -> float:
    left, right = shingles(a), shingles(b)
    return len(left & right) / len(left | right) if left | right else 0.0


def arrays(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    return buffers(pa.array(texts, pa.large_string()))


def edited(words: list[str], share: float, draw: np.random.Generator) -> list[str]:
    out = list(words)
    for at in draw.choice(len(words), round(share * len(words)), replace=False):
        out[at] = WORDS[draw.integers(len(WORDS))]
    return out


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("O coração não é de pedra, é?", "o coracao nao e de pedra e", 1.0),
        ("Aos 12/03/2024, às 10h, em Lisboa", "aos 1/1/1999 as 7h em lisboa", 1.0),
        ("one two three four five six", "one two three four five seven", 1 / 3),
        ("short text", "short text", 1.0),
        ("", "", 0.0),
    ],
)
def test_similarity_is_of_the_levelled_words(left: str, right: str, same: float) -> None:
    offsets, data = arrays([left, right])
    flat, ends = shingle_sets(offsets, data, np.array([0, 1]), 5)
    assert jaccard(flat, ends, np.array([0]), np.array([1]))[0] == pytest.approx(same)


def test_similarity_is_jaccards_on_real_documents(shared: Path) -> None:
    import pyarrow.parquet as parquet

    draw = np.random.default_rng(1)
    table = parquet.read_table(shared / "corpus" / "corpus.parquet", columns=["text"])
    texts = [t[:5_000] for t in table.take(draw.integers(0, 50_000, 60))["text"].to_pylist()]
    texts = [re.sub(r"[^\w\s.,]|_", " ", t) for t in texts]  # the definition above knows no rarer signs
    mixed = [a[: len(a) // 2] + b for a, b in zip(texts[::2], texts[1::2], strict=True)]
    offsets, data = arrays(texts[1::2] + mixed)
    flat, ends = shingle_sets(offsets, data, np.arange(60), 5)
    found = jaccard(flat, ends, np.arange(30), np.arange(30, 60))
    assert found == pytest.approx([exact(a, b) for a, b in zip(texts[1::2], mixed, strict=True)], abs=2e-3)


def test_as_many_are_found_as_theory_says() -> None:
    draw = np.random.default_rng(7)
    bands, rows, pairs = 14, 8, 600
    for share in (0.02, 0.05, 0.08):
        originals = [[WORDS[i] for i in draw.integers(0, len(WORDS), 200)] for _ in range(pairs)]
        copies = [edited(words, share, draw) for words in originals]
        texts = [" ".join(words) for words in originals + copies]
        keys = band_keys(*arrays(texts), n=5, bands=bands, rows=rows)
        met = (keys[:pairs] == keys[pairs:]).any(axis=1)
        expected = np.mean([found_share(exact(a, b), bands, rows) for a, b in zip(texts[:pairs], texts[pairs:])])  # noqa: B905
        assert met.mean() == pytest.approx(expected, abs=4 * np.sqrt(0.25 / pairs))


def test_precision_and_recall_on_planted_copies() -> None:
    draw = np.random.default_rng(11)
    originals = [[WORDS[i] for i in draw.integers(0, len(WORDS), draw.integers(60, 400))] for _ in range(1_000)]
    texts = [" ".join(words) for words in originals]
    texts += [" ".join(edited(words, draw.uniform(0.0, 0.05), draw)) for words in originals]
    offsets, data = arrays(texts)
    clusters = find_clusters(band_keys(offsets, data, n=5, bands=20, rows=6), offsets, data, n=5, threshold=0.8)
    truly = {(i, i + 1_000) for i in range(1_000) if exact(texts[i], texts[i + 1_000]) >= 0.8}
    found = {tuple(pair) for pair in clusters.pairs.tolist()}
    assert len(truly) > 300
    assert len(found & truly) / len(truly) >= 0.95
    assert all(exact(texts[a], texts[b]) >= 0.8 for a, b in found)  # candidates are compared exactly
    assert clusters.similarity.tolist() == pytest.approx([exact(texts[a], texts[b]) for a, b in clusters.pairs])


def test_clusters_are_connected_components_of_the_found_pairs() -> None:
    base = [WORDS[i] for i in np.random.default_rng(3).integers(0, len(WORDS), 300)]
    chain = [base, [*base[:-4], "x", "y", "z", "v"], [*base[8:-4], "x", "y", "z", "v"]]
    texts = [*(" ".join(words) for words in chain), "something else that is not alike at all", "", ""]
    offsets, data = arrays(texts)
    clusters = find_clusters(band_keys(offsets, data, n=5, bands=20, rows=6), offsets, data, n=5, threshold=0.9)
    assert clusters.labels.tolist() == [0, 0, 0, 3, 4, 5]  # texts without words are not copies of each other


def test_large_buckets_are_one_cluster_without_comparing_all_pairs() -> None:
    text = " ".join(WORDS[i] for i in np.random.default_rng(5).integers(0, len(WORDS), 80))
    offsets, data = arrays([text] * 2_000)
    clusters = find_clusters(band_keys(offsets, data, n=5, bands=20, rows=6), offsets, data, n=5, threshold=0.8)
    assert set(clusters.labels.tolist()) == {0}
    assert clusters.candidates < 5_000


def test_of_a_cluster_the_preferred_stays() -> None:
    labels = np.array([0, 0, 2, 0, 2])
    length = np.array([10.0, 30.0, 5.0, 30.0, 5.0])
    newest = np.array([1.0, 2.0, 9.0, 3.0, 8.0])
    assert keepers(labels, [length]).tolist() == [False, True, True, False, False]
    assert keepers(labels, [length, newest]).tolist() == [False, False, True, True, False]
    assert keepers(np.zeros(0, np.int64), [np.zeros(0)]).tolist() == []


def test_keys_do_not_depend_on_the_batch() -> None:
    texts = [" ".join(WORDS[i : i + 40]) for i in range(0, 400, 40)]
    together = band_keys(*arrays(texts), n=5, bands=4, rows=4)
    assert all((band_keys(*arrays([t]), n=5, bands=4, rows=4)[0] == together[i]).all() for i, t in enumerate(texts))
