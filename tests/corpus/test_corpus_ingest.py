"""A corpus on disk: what goes in comes out, twice the same, and says what became of every file."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import corpus_files as files
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from lavra.corpus.document import Document
from lavra.corpus.ingest import add_documents, build_corpus, forget_document, load_document, load_documents
from lavra.corpus.reached import Reached
from lavra.corpus.reading import read_paths
from lavra.corpus.report import load_report
from lavra.corpus.settings import ReadSettings
from lavra.errors import LavraError


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.md").write_text("# Férias\n\n" + files.HOLIDAYS, encoding="utf-8")
    (folder / "b.pdf").write_bytes(files.pdf("Licença de seis meses", outline=("Licença",)))
    (folder / "sub" / "c.jsonl").write_text('{"text": "um texto"}\n{"text": "outro", "licence": "MIT", "k": "v"}\n')
    (folder / "sub" / "copy of a.md").write_bytes((folder / "a.md").read_bytes())
    (folder / "sub" / "d.docx").write_bytes(files.docx(tmp_path / "d.docx").read_bytes())
    (folder / "z.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    return folder


def test_what_was_read_is_what_is_loaded(docs: Path, tmp_path: Path) -> None:
    report = build_corpus([docs], ReadSettings(), tmp_path / "out")
    loaded = list(load_documents(tmp_path / "out"))
    read = [d for d in read_paths([docs], ReadSettings()) if isinstance(d, Document)]
    assert loaded == [d for d in read if "copy" not in d.source]
    assert [load_document(tmp_path / "out", d.id) for d in loaded] == loaded
    assert load_document(tmp_path / "out", "0" * 16) is None
    assert report.kept == len(loaded) == 5
    assert load_report(tmp_path / "out") == report


def test_the_same_files_give_the_same_bytes_whatever_the_workers(docs: Path, tmp_path: Path) -> None:
    for number in range(8):
        (docs / f"{number}.pdf").write_bytes(files.pdf(f"página do arquivo {number}"))
    build_corpus([docs], ReadSettings(workers=1), tmp_path / "one")
    build_corpus([docs], ReadSettings(workers=4), tmp_path / "two")
    names = "documents.parquet"
    assert (tmp_path / "one" / names).read_bytes() == (tmp_path / "two" / names).read_bytes()


def test_the_report_accounts_for_every_file(docs: Path, tmp_path: Path) -> None:
    report = build_corpus([docs], ReadSettings(), tmp_path / "out")
    assert [(s.source, s.kind) for s in report.skipped] == [
        ("docs/z.png", "unsupported"),
        ("docs/sub/copy of a.md", "duplicate"),
    ]
    assert "docs/a.md" in report.skipped[1].reason
    assert report.licences == {"none stated": 4, "MIT": 1}
    assert report.formats == {"jsonl": 2, "docx": 1, "markdown": 1, "pdf": 1}
    assert report.bytes == sum(d.bytes for d in load_documents(tmp_path / "out"))
    page = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "**5 documents**" in page
    assert "docs/z.png" in page
    assert "| none stated | 4 |" in page
    assert json.loads((tmp_path / "out" / "report.json").read_text())["dropped"] == {"duplicate": 1, "unsupported": 1}


def test_equal_texts_for_different_readers_are_both_kept(tmp_path: Path) -> None:
    for name in ("hr", "all"):
        (tmp_path / "docs" / name).mkdir(parents=True)
        (tmp_path / "docs" / name / "a.md").write_text("O mesmo texto")
    (tmp_path / "docs" / "hr" / "lavra-sources.toml").write_text('[[source]]\nroles = ["hr"]\n')
    report = build_corpus([tmp_path / "docs"], ReadSettings(), tmp_path / "out")
    assert report.kept == 2


def test_ingesting_another_folder_keeps_the_first_and_replaces_what_is_read_again(docs: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "docs"
    other.mkdir(parents=True)
    (other / "a.md").write_text("Outro texto com o mesmo nome")
    build_corpus([docs], ReadSettings(), tmp_path / "1")
    second = build_corpus([other], ReadSettings(), tmp_path / "2", previous=tmp_path / "1")
    assert (second.kept, second.carried_over) == (6, 5)
    sources = {d.source for d in load_documents(tmp_path / "2")}
    assert {"docs/a.md", "elsewhere-docs/a.md"} < sources
    (docs / "a.md").unlink()
    (docs / "b.pdf").unlink()
    (docs / "new.md").write_text("Um texto novo")
    third = build_corpus([docs], ReadSettings(), tmp_path / "3", previous=tmp_path / "2")
    sources = {d.source for d in load_documents(tmp_path / "3")}
    assert sources == {
        "elsewhere-docs/a.md",
        "docs/new.md",
        "docs/sub/c.jsonl#1",
        "docs/sub/c.jsonl#2",
        "docs/sub/copy of a.md",
        "docs/sub/d.docx",
    }
    assert (third.kept, third.carried_over) == (6, 1)


def test_a_duplicate_whose_kept_copy_goes_away_is_not_lost_in_silence(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.md").write_text("O mesmo texto")
    (tmp_path / "one" / "b.md").write_text("Outro texto")
    build_corpus([tmp_path / "one"], ReadSettings(), tmp_path / "1")
    second = build_corpus([tmp_path / "two"], ReadSettings(), tmp_path / "2", previous=tmp_path / "1")
    assert second.duplicates == {"two/a.md": "one/a.md"}
    (tmp_path / "one" / "a.md").unlink()
    third = build_corpus([tmp_path / "one"], ReadSettings(), tmp_path / "3", previous=tmp_path / "2")
    assert [source for source, note in third.notes if "ingest its folder again" in note] == ["two/a.md"]
    fourth = build_corpus([tmp_path / "two"], ReadSettings(), tmp_path / "4", previous=tmp_path / "3")
    assert (fourth.kept, fourth.notes, fourth.duplicates) == (2, (), {})


def test_two_roots_of_one_name_and_nested_roots_do_not_collide(tmp_path: Path) -> None:
    for name in ("x/docs", "y/docs", "x/docs/inner"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.md").write_text(f"Texto de {name}")
    roots = [tmp_path / "x/docs", tmp_path / "y/docs", tmp_path / "x/docs/inner", tmp_path / "y/docs/../docs"]
    report = build_corpus(roots, ReadSettings(), tmp_path / "out")
    assert [d.source for d in load_documents(tmp_path / "out")] == [
        "docs/a.md",
        "docs/inner/a.md",
        "y-docs/a.md",
    ]
    assert [s.kind for s in report.skipped] == ["nested"]


def test_a_root_that_is_not_there_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(LavraError, match="does not exist"):
        build_corpus([tmp_path / "nowhere"], ReadSettings(), tmp_path / "out")
    assert not (tmp_path / "out" / "documents.parquet").exists()


def test_an_ingest_that_stops_leaves_no_half_corpus(docs: Path, tmp_path: Path) -> None:
    def stop(reached: Reached) -> None:
        if reached.files == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_corpus([docs], ReadSettings(), tmp_path / "out", progress=stop)
    assert list((tmp_path / "out").iterdir()) == []


def test_progress_counts_files_to_the_end(docs: Path, tmp_path: Path) -> None:
    calls: list[Reached] = []
    build_corpus([docs], ReadSettings(), tmp_path / "out", progress=calls.append)
    assert [reached.files for reached in calls] == list(range(7))
    assert {reached.all_files for reached in calls} == {6}
    assert [reached.bytes for reached in calls] == sorted(reached.bytes for reached in calls)
    sizes = sum(path.stat().st_size for path in docs.rglob("*") if path.is_file() and path.suffix != ".toml")
    assert (calls[-1].bytes, {reached.all_bytes for reached in calls}) == (sizes, {sizes})
    assert calls[-1].documents == 6


@pytest.mark.parametrize("name", ["big.jsonl", "big.jsonl.gz", "big.parquet"])
def test_one_large_file_says_how_far_it_is(tmp_path: Path, name: str) -> None:
    """In bytes as they lie on the disk, and documents; the Parquet file is read in another process."""
    texts = [f"{number} " + random.Random(number).randbytes(30_000).hex() for number in range(90)]
    path = tmp_path / name
    if name.endswith("parquet"):
        parquet.write_table(pa.table({"text": texts}), path, row_group_size=30, compression="none")
    else:
        data = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
        path.write_bytes(gzip.compress(data, 1) if name.endswith("gz") else data)
    size = path.stat().st_size
    calls: list[Reached] = []
    assert build_corpus([path], ReadSettings(), tmp_path / "out", progress=calls.append).kept == 90
    assert {(reached.all_files, reached.all_bytes) for reached in calls} == {(1, size)}
    assert [reached.files for reached in calls] == [0] * (len(calls) - 1) + [1]
    within = [(reached.bytes, reached.documents) for reached in calls]
    assert within == sorted(within)
    assert within[0] == (0, 0)
    assert within[-1] == (size, 90)
    middle = [documents for read, documents in within if size * 0.25 <= read <= size * 0.75]
    assert middle
    assert all(1 <= documents < 90 for documents in middle)


def test_a_forgotten_document_is_in_no_byte_of_the_new_corpus(docs: Path, tmp_path: Path) -> None:
    (docs / "a.md").write_text("# Férias\n\nA servidora Quitéria pediu dispensa.", encoding="utf-8")
    build_corpus([docs], ReadSettings(), tmp_path / "1")
    (document,) = [d for d in load_documents(tmp_path / "1") if d.source == "docs/a.md"]
    assert forget_document(tmp_path / "1", tmp_path / "2", document.id)
    assert [d.source for d in load_documents(tmp_path / "2")] == [
        d.source for d in load_documents(tmp_path / "1") if d.id != document.id
    ]
    assert load_report(tmp_path / "2").kept == 5
    for name in ("report.json", "report.md"):
        assert "docs/a.md" not in (tmp_path / "2" / name).read_text(encoding="utf-8")
    # Parquet compresses pages: look at the values, the statistics and the raw bytes.
    table = parquet.read_table(tmp_path / "2" / "documents.parquet")
    assert "Quitéria" not in str(table.to_pylist())
    raw = (tmp_path / "2" / "documents.parquet").read_bytes()
    assert "Quitéria".encode() not in raw
    assert document.id.encode() not in raw
    assert not forget_document(tmp_path / "2", tmp_path / "3", document.id)


def test_an_uploads_documents_join_a_corpus_and_replace_their_earlier_selves(docs: Path, tmp_path: Path) -> None:
    build_corpus([docs], ReadSettings(), tmp_path / "1")
    first, second = Document("uploads/x.md", "Um texto"), Document("uploads/x.md", "Um texto melhor")
    assert add_documents(tmp_path / "1", tmp_path / "2", [first], root="uploads").kept == 6
    assert add_documents(tmp_path / "2", tmp_path / "3", [second], root="uploads").kept == 6
    assert load_document(tmp_path / "3", second.id) == second
    report = build_corpus([docs], ReadSettings(), tmp_path / "4", previous=tmp_path / "3")
    assert (report.kept, report.carried_over) == (6, 1)


def test_a_corpus_that_is_missing_or_damaged_is_said(tmp_path: Path) -> None:
    with pytest.raises(LavraError, match="there is no corpus"):
        next(load_documents(tmp_path))
    (tmp_path / "documents.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(LavraError, match="cannot be read"):
        next(load_documents(tmp_path))
