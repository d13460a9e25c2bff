"""Large pages of Parquet are read value by value: the same rows as by Arrow, and no value over the limit in memory."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from lavra.corpus import readers
from lavra.corpus.parts import BadRecord, Parts
from lavra.corpus.readers import parquet as reader
from lavra.corpus.readers import parquet_pages
from lavra.corpus.settings import ReadSettings


def read(path: Path, **settings: int) -> Iterator[Parts | BadRecord]:
    with open(path, "rb") as file:
        for record, _, _ in readers.stream_records("parquet", file, ReadSettings(**settings)):  # type: ignore[arg-type]
            assert isinstance(record, (Parts, BadRecord))
            yield record


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "zstd", "brotli", "lz4"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_streamed_pages_give_what_arrow_gives(
    tmp_path: Path, codec: str, version: str, dictionary: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(4)
    words = [f"palavra {n} é " * rng.randrange(1, 60) for n in range(70)]
    texts = [rng.choice([None, "", rng.choice(words), f"{n} {rng.choice(words)}"]) for n in range(1_500)]
    texts[700:760] = [None] * 60
    for nullable in (True, False):
        kept = texts if nullable else [text or "x" for text in texts]
        schema = pa.schema([pa.field("text", pa.string(), nullable=nullable), ("id", pa.int64()), ("a.b", pa.string())])
        table = pa.table([kept, list(range(1_500)), [f"f{n % 10}" for n in range(1_500)]], schema=schema)
        parquet.write_table(
            *(table, tmp_path / "a.parquet"),
            compression=codec,
            data_page_version=version,
            use_dictionary=dictionary,
            row_group_size=600,
            data_page_size=9_000,
            store_schema=nullable,
        )
        monkeypatch.setattr(reader, "LARGE", 1 << 40)
        by_arrow = list(read(tmp_path / "a.parquet"))
        assert sum(isinstance(record, Parts) for record in by_arrow) == sum(1 for text in kept if text)
        monkeypatch.setattr(reader, "LARGE", 5_000)  # of the text alone: the numbers' pages are smaller
        assert list(read(tmp_path / "a.parquet")) == by_arrow


@pytest.mark.parametrize("codec", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_a_row_too_large_is_named_and_its_neighbours_are_kept(
    tmp_path: Path, codec: str, dictionary: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "LARGE", 1_000_000)
    rows = [f"linha {n}" for n in range(40)]
    rows[7] = random.Random(1).randbytes(2_000_000).hex()
    parquet.write_table(
        pa.table({"text": rows, "n": [str(n) for n in range(40)]}),
        tmp_path / "a.parquet",
        compression=codec,
        use_dictionary=dictionary,
    )
    found = list(read(tmp_path / "a.parquet", max_record_megabytes=1))
    assert found[7] == BadRecord(
        "8", "too_large", "the row has 4 MB, over the limit of 1 MB: raise `max_record_megabytes`"
    )
    assert [record.text for record in found if isinstance(record, Parts)] == [row for row in rows if len(row) < 1_000]


def test_a_page_that_expands_without_reason_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of 2 MB in 300 bytes, beside honest row groups."""
    monkeypatch.setattr(reader, "HARMLESS", 1_000_000)
    monkeypatch.setattr(parquet_pages, "HARMLESS", 1_000_000)
    path = tmp_path / "a.parquet"
    schema = pa.schema([("text", pa.string()), ("n", pa.int8())])
    with parquet.ParquetWriter(path, schema, compression="zstd", use_dictionary=False, write_statistics=False) as made:
        for texts in (["a"], ["b" * 1_000_000] * 2, ["c"]):
            made.write_table(pa.table([texts, [1] * len(texts)], schema))
    assert path.stat().st_size < 5_000
    found = list(read(path))
    assert [getattr(record, "text", getattr(record, "kind", "")) for record in found] == ["a", "too_large", "c"]
    # The footer's word on the size was enough here; the page's own word counts where the footer lies.
    chunk = parquet.ParquetFile(path).metadata.row_group(1).column(0)
    with open(path, "rb") as file, pytest.raises(readers.Unreadable, match="over 250 times its size"):
        next(parquet_pages.values(file, chunk, 1, 1_000))


def test_rows_without_a_text_that_have_no_end_are_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_ROW", 10_000)
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": pa.nulls(3_000_000, pa.string())}), path)
    named = 0
    with pytest.raises(readers.Unreadable, match="250 times"):
        named = sum(isinstance(record, BadRecord) for record in read(path))
    assert not named


def test_damaged_pages_are_named_whatever_the_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "LARGE", 100)
    rng = random.Random(9)
    texts = [f"texto {n} " * rng.randrange(1, 50) for n in range(300)]
    for dictionary in (True, False):
        path = tmp_path / "a.parquet"
        parquet.write_table(
            pa.table({"text": texts}), path, row_group_size=100, use_dictionary=dictionary, compression="zstd"
        )
        whole = path.read_bytes()
        for _ in range(60):
            damaged = bytearray(whole)
            for _ in range(rng.randrange(1, 5)):
                damaged[rng.randrange(4, len(whole) - 2_000)] = rng.randrange(256)
            path.write_bytes(damaged)
            found = list(read(path))
            assert found
            assert {record.kind for record in found if isinstance(record, BadRecord)} <= {
                *("corrupt", "too_large", "empty", "unsupported")
            }


def test_a_line_of_jsonl_and_a_row_of_parquet_are_named_within_little_memory(tmp_path: Path) -> None:
    """200 MB in one record, read by a process that may have 800 MB of addresses: its libraries take most of them."""
    text = random.Random(3).randbytes(1_000_000).hex() * 100
    parquet.write_table(
        pa.table({"text": ["um", text, "dois"]}), tmp_path / "a.parquet", compression="none", use_dictionary=False
    )
    with open(tmp_path / "b.jsonl", "w") as file:
        for each in ("três", text, "quatro"):
            file.write(json.dumps({"text": each}) + "\n")
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (800 << 20, 800 << 20))\n"
        "from pathlib import Path; from lavra.corpus.reading import read_paths\n"
        "from lavra.corpus.settings import ReadSettings\n"
        "for item in read_paths([Path(sys.argv[1])], ReadSettings(language='pt', workers=1)):\n"
        "    print(getattr(item, 'text', None) or item.kind)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["um", "too_large", "dois", "três", "too_large", "quatro"], done.stderr[-500:]
