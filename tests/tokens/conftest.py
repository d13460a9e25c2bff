"""Real text that tokenizers are compared on."""

from __future__ import annotations

import random
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def paragraphs(shared: Path) -> list[str]:
    """1,000 paragraphs, spread evenly over the languages of the corpus."""
    import pyarrow.parquet as parquet

    rows = parquet.read_table(shared / "corpus" / "corpus.parquet", columns=["text", "lang"]).to_pylist()
    random.Random(0).shuffle(rows)
    by_language: dict[str, list[str]] = {}
    for row in rows:
        found = by_language.setdefault(row["lang"], [])
        if len(found) < 400:
            found += [part for part in row["text"].split("\n\n") if 40 < len(part) < 10_000][:1]
    chosen: list[str] = []
    while len(chosen) < 1000:
        chosen += [texts.pop() for texts in by_language.values() if texts][: 1000 - len(chosen)]
    return chosen
