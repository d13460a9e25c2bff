"""The page about a corpus' files names the columns that are in them, in their order and of their types."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from lavra.corpus.cleaning.run import clean_corpus
from lavra.corpus.cleaning.settings import Cleaning
from lavra.corpus.ingest import build_corpus
from lavra.corpus.settings import ReadSettings
from lavra.tokens.packed import SHARD_TOKENS, schema

PAGE = (Path(__file__).parents[2] / "docs" / "corpus-format.md").read_text(encoding="utf-8")
TYPES = {
    "list<element: string>": "list of string",
    "list<item: string>": "list of string",
    "map<string, string ('metadata')>": "map of string to string",
    "list<element: struct<kind: string, start: int64, end: int64, label: string, level: int8>>": (
        "list of {kind, start, end, label, level}"
    ),
}


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("daft")
    place = tmp_path_factory.mktemp("cleaned")
    (place / "docs").mkdir()
    for name in ("a", "b"):
        (place / "docs" / f"{name}.md").write_text("O mesmo mês, duas vezes.", encoding="utf-8")
    (place / "docs" / "c.md").write_text("O CPF de Ana: 529.982.247-25.", encoding="utf-8")
    build_corpus([place / "docs"], ReadSettings(), place / "out")
    clean_corpus(place / "out", place / "clean", Cleaning(stages=("personal",), personal="drop"), place / "work")
    (place / "clean" / "dropped.parquet").rename(place / "out" / "dropped.parquet")
    (place / "clean" / "documents.parquet").rename(place / "out" / "documents.parquet")
    return place / "out"


def test_the_columns_of_token_files_too() -> None:
    section = PAGE.split("## Token files\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, re.M)
    fields = [
        (field.name, TYPES.get(str(field.type), str(field.type)) + (" or null" if field.name == "licence" else ""))
        for field in schema()
    ]
    assert rows == fields
    assert f"{SHARD_TOKENS:,} tokens" in section


@pytest.mark.parametrize("name", ["documents.parquet", "skipped.parquet", "dropped.parquet"])
def test_its_columns_are_the_files(cleaned: Path, name: str) -> None:
    section = PAGE.split(f"## {name}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, re.M)
    said = [(column, kind.replace("`", "").removesuffix(" or null")) for column, kind in rows]
    columns = parquet.read_schema(cleaned / name)
    assert parquet.read_metadata(cleaned / name).num_rows == 1
    assert said == [(field.name, TYPES.get(str(field.type), str(field.type))) for field in columns]
