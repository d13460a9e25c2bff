"""Parquet: every row with a text a document, bad rows and row groups named, the rest read all the same."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from dump_files import read

from lavra.corpus import readers
from lavra.corpus.pool import Pool
from lavra.corpus.reading import Skipped, read_paths
from lavra.corpus.settings import ReadSettings


def test_parquet_gives_a_document_a_row_with_its_columns(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": [f"d{n}" for n in range(100)],
            "texto": pa.array([f"Texto número {n}." for n in range(100)]).dictionary_encode(),
            "license": ["https://creativecommons.org/licenses/by/4.0/"] * 100,
            "ano": pa.array([2020 + n % 5 for n in range(100)], pa.int16()),
            "roles": [["rh", "juridico"]] * 100,
            "vector": [[0.5] * 8] * 100,
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=30)
    documents, skipped = read(tmp_path / "a.parquet")
    assert not skipped
    assert [d.text for d in documents.values()] == [f"Texto número {n}." for n in range(100)]
    one = documents["d42"]
    assert (one.licence, one.roles, one.metadata["ano"]) == ("CC-BY-4.0", ("rh", "juridico"), "2022")
    assert "vector" not in one.metadata


def test_bad_rows_and_row_groups_of_parquet_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    rng = random.Random(1)
    texts = [rng.randbytes(400).hex() for _ in range(60)]
    texts[3], texts[7] = "  ", "a" * 1_500_000
    binary = pa.array([t.encode() for t in texts[:8]] + [b"inv\xe1lido"] + [t.encode() for t in texts[9:]], pa.binary())
    path = tmp_path / "a.parquet"
    parquet.write_table(
        pa.table(
            {"text": pa.Array.from_buffers(pa.string(), 60, binary.buffers()), "n": pa.array([None] * 60, pa.int8())}
        ),
        path,
        row_group_size=20,
        compression="zstd",
        write_statistics=False,
    )
    chunk = parquet.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    data[start : start + 30] = b"\xff" * 30
    path.write_bytes(data)
    documents, skipped = read(path, max_record_megabytes=1, language="pt")
    assert len(documents) == 38
    assert documents["9"].text == "inv\ufffdlido"
    assert {name: s.kind for name, s in skipped.items()} == {"4": "empty", "8": "too_large", "21-40": "corrupt"}


def test_parquet_that_repeats_one_value_without_end_is_stopped(tmp_path: Path) -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000, pa.int32()), pa.array(["a" * 1_000_000]))
    parquet.write_table(pa.table({"text": column}), tmp_path / "a.parquet", compression="zstd")
    assert (tmp_path / "a.parquet").stat().st_size < 20_000
    stopped = None
    count = 0
    with open(tmp_path / "a.parquet", "rb") as file:
        try:
            for _ in readers.stream_records("parquet", file, ReadSettings()):
                count += 1
        except readers.Unreadable as error:
            stopped = error
    assert (stopped and stopped.kind, count < 150) == ("too_large", True)


def test_parquet_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("isto é um texto")
    (tmp_path / "b.parquet").write_bytes(b"PAR1\x00\x01\x02 cortado")
    parquet.write_table(pa.table({"a": [1, 2]}), tmp_path / "c.parquet")
    skipped = [s.kind for s in read_paths([tmp_path], ReadSettings()) if isinstance(s, Skipped)]
    assert skipped == ["mismatch", "corrupt", "no_text"]


def test_a_damaged_footer_brings_down_its_worker_at_most(tmp_path: Path) -> None:
    """Arrow 25 ends the process for 1 in 1,000 of them."""
    path = tmp_path / "a.parquet"
    texts = [None if n % 17 == 0 else f"texto {n}" for n in range(200)]
    parquet.write_table(pa.table({"text": texts, "id": list(range(200)), "k": ["a", "b"] * 100}), path)
    whole = path.read_bytes()
    size = int.from_bytes(whole[-8:-4], "little")
    rng = random.Random(11)
    kinds = set()
    with Pool(ReadSettings(workers=1, seconds_per_file=20)) as pool:
        for _ in range(150):
            damaged = bytearray(whole)
            damaged[len(whole) - 8 - rng.randrange(1, size)] = rng.randrange(256)
            path.write_bytes(damaged)
            try:
                kinds |= {getattr(record, "kind", "read") for record, _, _ in pool.stream("parquet", path)}
            except readers.Unreadable as error:
                kinds.add(error.kind)
    assert {"read", "corrupt"} <= kinds <= {"read", "empty", "corrupt", "crashed", "too_large", "no_text", "memory"}


def test_rows_before_a_crash_are_kept_and_other_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(
        "import os, signal, sys, types\n"
        "def stream(file, settings):\n"
        "    from lavra.corpus.parts import Parts\n"
        "    data = file.read()\n"
        "    for n in range(40): yield Parts(f'Texto {n} de {hash(data)}', record=str(n)), 9, ''\n"
        "    if b'crash' in data: os.kill(os.getpid(), signal.SIGSEGV)\n"
        "module = types.ModuleType('lavra.corpus.readers.parquet'); module.stream = stream\n"
        "sys.modules['lavra.corpus.readers.parquet'] = module\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hook"))
    for name in ("a", "b crash", "c"):
        table = pa.table({"text": [name]})
        (tmp_path / "docs").mkdir(exist_ok=True)
        parquet.write_table(table, tmp_path / "docs" / f"{name}.parquet", compression="none")
    found = list(read_paths([tmp_path / "docs"], ReadSettings(workers=2, language="pt")))
    assert [getattr(item, "kind", "read") for item in found] == ["read"] * 72 + ["crashed"] + ["read"] * 40
