"""Compressed files give what they hold, bounded; damage costs itself; any size takes the memory of a record."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
from pathlib import Path

import psutil
import pytest
from dump_files import packed, read, warc, wiki_page

from lavra.corpus import readers
from lavra.corpus.document import Document
from lavra.corpus.parts import BadRecord
from lavra.corpus.reading import Skipped, read_bytes, read_paths
from lavra.corpus.settings import ReadSettings

ROWS = [{"id": f"d{n}", "text": f"O prazo do processo {n} é de {n + 5} dias úteis.", "lang": "pt"} for n in range(300)]
JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


@pytest.mark.parametrize("how", ["gz", "bz2", "xz", "zst"])
def test_a_compressed_file_gives_what_it_holds(tmp_path: Path, how: str) -> None:
    middle = JSONL.index(b"\n", len(JSONL) // 2) + 1
    parts = [JSONL] if how == "zst" else [JSONL[:middle], JSONL[middle:]]  # members one after the other
    (tmp_path / f"a.jsonl.{how}").write_bytes(b"".join(packed(part, how) for part in parts))
    (tmp_path / f"b.txt.{how}").write_bytes(packed(b"Um texto simples.", how))
    (tmp_path / f"c.csv.{how}").write_bytes(packed("id,texto\nx,Uma célula\n".encode(), how))
    found = [d for d in read_paths([tmp_path], ReadSettings()) if isinstance(d, Document)]
    assert [d.text for d in found] == [*(row["text"] for row in ROWS), "Um texto simples.", "Uma célula"]
    assert found[0].source.endswith(f"a.jsonl.{how}#d0")
    assert [found[i].format for i in (0, -2, -1)] == ["jsonl", "text", "csv"]
    (uploaded, *_) = read_bytes(f"a.jsonl.{how}", (tmp_path / f"a.jsonl.{how}").read_bytes(), ReadSettings())
    assert isinstance(uploaded, Document)
    assert uploaded.text == ROWS[0]["text"]


def test_an_archive_of_files_is_still_named(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(b"\x00" * 5000))
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"\x00\x01" * 5000))
    kinds = [(s.kind, s.reason) for s in read_paths([tmp_path], ReadSettings()) if isinstance(s, Skipped)]
    assert kinds == [("unsupported", "it is a gzip archive: unpack it to read the files inside")] * 2


@pytest.mark.parametrize("how", ["gz", "bz2", "xz", "zst"])
def test_a_small_file_that_unpacks_without_end_is_stopped_and_named(tmp_path: Path, how: str) -> None:
    line = json.dumps({"text": "a" * 20_000}).encode() + b"\n"
    data = packed(line * 7_000, how)
    assert len(data) < 500_000
    (tmp_path / f"bomb.jsonl.{how}").write_bytes(data)
    documents, skipped = read(tmp_path / f"bomb.jsonl.{how}", language="en")
    assert 0 < len(documents) < 7_000
    ((_, said),) = skipped.items()
    assert said.kind == "too_large"
    assert "250 times" in said.reason


def test_a_whole_file_may_not_unpack_to_more_than_its_formats_limit() -> None:
    (skipped,) = read_bytes(
        "a.txt.gz", gzip.compress(os.urandom(600_000).hex().encode()), ReadSettings(max_megabytes=1)
    )
    assert isinstance(skipped, Skipped)
    assert (skipped.kind, "`max_megabytes`" in skipped.reason) == ("too_large", True)


@pytest.mark.parametrize("how", ["gz", "bz2", "xz", "zst"])
def test_a_file_that_is_cut_off_gives_what_is_there_and_says_so(tmp_path: Path, how: str) -> None:
    noise = random.Random(3)
    rows = [{"text": f"{row['text']} {noise.randbytes(3000).hex()}"} for row in ROWS]
    data = packed("".join(json.dumps(row) + "\n" for row in rows).encode(), how)
    path = tmp_path / f"a.jsonl.{how}"
    path.write_bytes(data[: 3 * len(data) // 4])
    documents, skipped = read(path, language="pt")
    assert 0 < len(documents) < 300
    assert [s.kind for s in skipped.values()] == ["corrupt"]
    assert "ends too soon" in next(iter(skipped.values())).reason


@pytest.mark.parametrize("kind", ["warc", "jsonl"])
def test_a_file_that_is_nothing_but_damage_is_given_up(kind: str) -> None:
    data = gzip.compress(b"") + b"\x1f\x8b\x08\x00 nothing that could be unpacked" * 3_000
    said = []
    try:
        for record, _, _ in readers.stream_records(kind, io.BytesIO(data), ReadSettings()):
            assert isinstance(record, BadRecord)
            said.append(record.reason)
    except readers.Unreadable as error:
        said.append(error.reason)
    assert len(said) == 1_001
    assert said[-1].endswith("the rest is not read")


class Endless(io.RawIOBase):
    """A file made while it is read: ``count`` times the same bytes, which are never anywhere as a whole."""

    def __init__(self, piece: bytes, count: int) -> None:
        self._piece, self._left, self._at = piece, count, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while len(self._at) < size and self._left:
            self._at += self._piece
            self._left -= 1
        made, self._at = self._at[:size], self._at[size:]
        return made


@pytest.mark.parametrize("kind", ["warc", "mediawiki", "mbox", "jsonl"])
def test_a_file_of_any_size_takes_the_memory_of_a_record(kind: str) -> None:
    """600 MB, nearly all of it in records of 30 MB that are named: the process grows by far less."""
    text = "".join(random.Random(2).choices("abcdefghij klmn", k=40_000))

    def made(text: str) -> bytes:
        if kind == "warc":
            return warc("conversion", "http://a", text.encode(), "text/plain")
        if kind == "mediawiki":
            return wiki_page("A", text).encode()
        if kind == "mbox":
            return b"From a@b Fri Jan  2 03:04:05 2026\nSubject: a\n\n" + text.encode() + b"\n\n"
        return json.dumps({"text": text}).encode() + b"\n"

    file = Endless(gzip.compress(made(text) * 10 + made(text * 750), 1), 20)
    process = psutil.Process()
    before = process.memory_info().rss
    peak = 0
    kinds = []
    for record, _, _ in readers.stream_records(kind, file, ReadSettings()):  # type: ignore[arg-type]
        kinds.append(record.kind if isinstance(record, BadRecord) else "")
        peak = max(peak, process.memory_info().rss - before)
    assert kinds == ([""] * 10 + ["too_large"]) * 20
    assert peak < 300_000_000
