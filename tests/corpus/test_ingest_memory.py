"""An ingest of any number of documents takes the same memory: what it has met is remembered on the disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from lavra.corpus import storage, tally
from lavra.corpus.document import Document
from lavra.corpus.ingest import build_corpus, load_documents
from lavra.corpus.left_out import load_left_out
from lavra.corpus.remembering import Remembered
from lavra.corpus.report import OTHERS, load_report
from lavra.corpus.settings import ReadSettings


def test_what_is_on_the_disk_is_found_like_what_is_in_memory() -> None:
    with Remembered[str](held=7) as names:
        for number in range(100):
            names[f"n{number % 60}"] = f"v{number}"
        assert [names.get(f"n{n}") for n in range(60)] == [f"v{n + 60 if n < 40 else n}" for n in range(60)]
        assert "n60" not in names
        assert "\ud800" not in names


def rows(path: Path, count: int, **more: object) -> Path:
    with open(path, "w", encoding="utf-8") as file:
        for number in range(count):
            file.write(json.dumps({"id": number % 500, "text": f"Nota {number - number % 3}.", **more}) + "\n")
    return path


def test_spilled_to_the_disk_an_ingest_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """3,000 records of 500 names, each text three times."""
    source = rows(tmp_path / "a.jsonl", 3_000)
    first = build_corpus([source], ReadSettings(), tmp_path / "1")
    monkeypatch.setattr("lavra.corpus.remembering.HELD", 100)
    second = build_corpus([source], ReadSettings(), tmp_path / "2")
    assert (second.kept, second.dropped) == (first.kept, first.dropped) == (1_000, {"duplicate": 2_000})
    for name in ("documents.parquet", "skipped.parquet"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    names = [document.source.partition("#")[2] for document in load_documents(tmp_path / "2")]
    assert names[166:169] == ["498", "1~2", "4~2"]


def test_the_report_names_some_and_the_file_beside_it_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "SHOWN", 5)
    monkeypatch.setattr(tally, "_DISTINCT", 3)
    source = tmp_path / "a.jsonl"
    lines = [json.dumps({"text": f"Texto {n}", "author": f"Autora {n}"}) for n in range(9)]
    lines += [json.dumps({"text": "Texto 1"})] * 8 + ["{"] * 7
    source.write_text("\n".join(lines))
    report = build_corpus([source], ReadSettings(), tmp_path / "out")
    assert report.dropped == {"corrupt": 7, "duplicate": 8}
    assert report.not_kept == 15
    assert (len(report.skipped), len(report.duplicates)) == (10, 5)
    assert report.owners == {OTHERS: 6, "Autora 0": 1, "Autora 1": 1, "Autora 2": 1}
    assert "… and 3 more, which stand in `skipped.parquet`" in report.markdown()
    assert load_report(tmp_path / "out") == report
    left_out = list(load_left_out(tmp_path / "out"))
    assert [row.kind for row in left_out] == ["duplicate"] * 8 + ["corrupt"] * 7
    assert {row.kept for row in left_out} == {"a.jsonl#2", None}
    again = build_corpus([source], ReadSettings(), tmp_path / "again", previous=tmp_path / "out")
    assert again.dropped == report.dropped
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "outro"}))
    third = build_corpus([tmp_path / "b.jsonl"], ReadSettings(), tmp_path / "third", previous=tmp_path / "out")
    assert third.dropped == {}  # what an earlier ingest left out is carried, and not counted as of this one
    assert sum(row.earlier for row in load_left_out(tmp_path / "third")) == 8


def test_a_corpus_of_before_there_was_the_file_keeps_its_duplicates(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.md").write_text("O mesmo texto" if name != "three" else "outro")
    build_corpus([tmp_path / "one", tmp_path / "two"], ReadSettings(), tmp_path / "1")
    (tmp_path / "1" / "skipped.parquet").unlink()
    second = build_corpus([tmp_path / "three"], ReadSettings(), tmp_path / "2", previous=tmp_path / "1")
    assert second.duplicates == {"two/a.md": "one/a.md"}


def test_row_groups_grow_with_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs memory until the file is closed: few small ones at first, then larger ones, up to eight times."""
    monkeypatch.setattr(storage, "_GROUP_ROWS", 2)
    monkeypatch.setattr(storage, "_GROUPS", 3)
    documents = [Document(f"a/{number}", f"Texto {number}") for number in range(250)]
    with storage.CorpusWriter(tmp_path / storage.FILE_NAME) as writer:
        for document in documents:
            writer.add(document, "a")
    with parquet.ParquetFile(tmp_path / storage.FILE_NAME) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    assert sizes == [2] * 3 + [4] * 3 + [6] * 3 + [8] * 3 + [10] * 3 + [12] * 3 + [14] * 3 + [16] * 5 + [2]
    assert list(load_documents(tmp_path)) == documents


GROWTH = """
import sys, tracemalloc
from lavra.corpus import left_out, remembering, tally
from lavra.corpus.document import Document
from pathlib import Path
remembering.HELD = tally.SHOWN = tally._DISTINCT = left_out._GROUP_ROWS = 1_000
def used(count, start):
    for number in range(start, start + count):
        source = f"a.jsonl#https://exemplo.org/{number}"
        made.accept(Document(source, f"Texto {number - (number % 2)}", owner=f"Autora {number}"))
    return tracemalloc.get_traced_memory()[0]
tracemalloc.start()
with tally.Tally(Path(sys.argv[1])) as made:
    small = used(4_000, 0)
    large = used(12_000, 4_000)
print(large - small)
"""


def test_four_times_the_documents_take_the_same_memory(tmp_path: Path) -> None:
    """Of Python's own memory: without the disk 12,000 documents took 5 MB more than 4,000."""
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, str(tmp_path)], capture_output=True, text=True, timeout=120, check=True
    )
    assert int(done.stdout) < 1_000_000
