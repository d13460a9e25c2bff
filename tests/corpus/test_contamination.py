"""Documents that hold items of evaluation sets are found, through typesetting, and named."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")
import pyarrow as pa
import pyarrow.parquet as parquet

from lavra.corpus.cleaning.evaluation_sets import read_items
from lavra.corpus.contamination import Watched, matches, watch
from lavra.corpus.quality.batch import buffers
from lavra.errors import LavraError

QUESTION = "Which of the following statements about the water cycle is true when clouds form over a warm ocean current?"
SHORT = "The capital city of France is called Paris by all"


def hits(watched: Watched, texts: list[str]) -> list[tuple[int, str | None]]:
    counts, first = matches(watched, *buffers(pa.array(texts, pa.large_string())))
    return [(int(n), watched.names[i] if i >= 0 else None) for n, i in zip(counts, first, strict=True)]


def test_an_item_is_found_in_a_document_and_named() -> None:
    watched = watch({"arc": ["Nothing that is anywhere.", QUESTION]})
    found = hits(watched, [f"An exam. {QUESTION.upper().replace(' ', chr(10))} (A) Yes (B) No", "Quite another text."])
    assert found == [(len(QUESTION.split()) - 12, "arc#1"), (0, None)]


def test_twelve_words_in_a_row_are_not_enough() -> None:
    words = QUESTION.split()
    watched = watch({"arc": [QUESTION]})
    assert hits(watched, [" ".join(words[:12])]) == [(0, None)]
    assert hits(watched, [" ".join(words[:13])]) == [(1, "arc#0")]
    assert hits(watch({"arc": [QUESTION]}, n=8), [" ".join(words[:12])]) == [(5, "arc#0")]


def test_short_items_are_looked_for_whole_and_phrases_not_at_all() -> None:
    watched = watch({"boolq": [SHORT, "Is it true?"]})
    assert watched.names == ("boolq#0",)
    assert hits(watched, [f"We know: {SHORT}!", "The capital city of France is called Paris", "Is it true?"]) == [
        (1, "boolq#0"),
        (0, None),
        (0, None),
    ]


def test_every_item_of_a_large_set_is_found_and_nothing_else() -> None:
    draw = np.random.default_rng(2)
    words = [f"{a}{b}{c}" for a in "bcdfg" for b in "aeiou" for c in "lmnrst"]
    items = [" ".join(words[i] for i in draw.integers(0, len(words), 20)) for _ in range(2_000)]
    others = [" ".join(words[i] for i in draw.integers(0, len(words), 60)) for _ in range(500)]
    watched = watch({"set": items})
    found = hits(watched, [f"before {item} after" for item in items])
    assert [name for _, name in found] == [f"set#{i}" for i in range(2_000)]
    assert all(count == 0 for count, _ in hits(watched, others))


def test_rows_of_numbers_are_nobodys_item() -> None:
    item = "Add them: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 and say what you get at the end of it all, please"
    watched = watch({"sums": [item]})
    words = re.sub(r"\d+", "0", re.sub(r"[^\w\s]", " ", item.lower())).split()
    telling = sum(len(set(words[i : i + 13])) >= 5 for i in range(len(words) - 12))
    assert hits(watched, [" ".join(map(str, range(100))), item]) == [(0, None), (telling, "sums#0")]


def test_no_evaluation_sets_no_hits() -> None:
    assert hits(watch({}), [QUESTION]) == [(0, None)]


def test_a_set_is_read_as_it_is_handed_around(tmp_path: Path) -> None:
    told = [QUESTION, f"{SHORT}\u2028with a mark that some take for the end of a line"]
    lines = "".join(json.dumps({"id": n, "question": text}, ensure_ascii=False) + "\n" for n, text in enumerate(told))
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    with pa.CompressedOutputStream(str(tmp_path / "a.jsonl.zst"), "zstd") as file:
        file.write(lines.encode())
    (tmp_path / "a.json").write_text(json.dumps({"version": "1", "data": [{"q": [text]} for text in told]}))
    (tmp_path / "a.csv").write_text("".join(f'{n},"{text}"\n' for n, text in enumerate(told)), encoding="utf-8")
    parquet.write_table(pa.table({"id": [0, 1], "question": told}), tmp_path / "a.parquet")
    for file in sorted(tmp_path.iterdir()):
        assert read_items(file) == told, file.name
    (tmp_path / "half.jsonl").write_text(lines + '{"question": "cut', encoding="utf-8")
    with pytest.raises(LavraError, match=r"half.jsonl cannot be read whole \(.*half.jsonl:3"):  # never passed over
        read_items(tmp_path / "half.jsonl")
