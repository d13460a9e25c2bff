"""Small files that are made to become large, or deep, or wrong: named, within the limits, and the rest is read."""

from __future__ import annotations

import bz2
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
from dump_files import PARAGRAPH, http, page, read, warc

from lavra.corpus.document import Document
from lavra.corpus.reading import Skipped, read_bytes
from lavra.corpus.settings import ReadSettings


def overlapping(names: list[str], size: int, *, packer: str = "deflate", declared: int | None = None) -> bytes:
    """A zip whose members are all the same bytes of the file, which unpack to ``size`` zeros each."""
    data = b"\x00" * size
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = bz2.compress(data) if packer == "bzip2" else deflater.compress(data) + deflater.flush()
    sizes = struct.pack("<III", zlib.crc32(data), len(packed), size if declared is None else declared)
    version = struct.pack("<HHHHH", 46, 0, {"deflate": 8, "bzip2": 12}[packer], 0, 33)  # the first day of 1980
    name = names[0].encode()
    local = b"PK\x03\x04" + version + sizes + struct.pack("<HH", len(name), 0) + name
    entries = b""
    for each in names:
        ends = struct.pack("<HHHHHII", len(each), 0, 0, 0, 0, 0, 0)
        entries += b"PK\x01\x02" + struct.pack("<H", 46) + version + sizes + ends + each.encode()
    at = len(local) + len(packed)
    end = struct.pack("<HHHHIIH", 0, 0, len(names), len(names), len(entries), at, 0)
    return local + packed + entries + b"PK\x05\x06" + end


NAMES = ["[Content_Types].xml", "word/document.xml"]


def test_ten_kilobytes_that_would_become_ten_gigabytes_are_not_unpacked() -> None:
    bomb = overlapping(NAMES + [str(n) for n in range(168)], 60_000_000, packer="bzip2")
    assert len(bomb) < 10_000
    with zipfile.ZipFile(io.BytesIO(bomb)) as archive:
        assert sum(member.file_size for member in archive.infolist()) > 10_000_000_000
        assert len(archive.read(NAMES[0])) == 60_000_000  # it does unpack
    (skipped,) = read_bytes("a.docx", bomb, ReadSettings(worker_megabytes=600))
    assert isinstance(skipped, Skipped)
    assert skipped.kind == "too_large"
    assert "unpack to 10,200 MB" in skipped.reason


@pytest.mark.parametrize(("packer", "kind"), [("deflate", "corrupt"), ("bzip2", "unsupported")])
def test_a_false_size_hides_no_bomb(packer: str, kind: str) -> None:
    """Megabytes in few bytes that call themselves a hundred: no more of them is unpacked."""
    data = overlapping(NAMES, 10_000_000, packer=packer, declared=100)
    assert len(data) < 11_000
    (skipped,) = read_bytes("a.docx", data, ReadSettings(worker_megabytes=600))
    assert isinstance(skipped, Skipped)
    assert skipped.kind == kind


CODE = """
import sys
from pathlib import Path
from lavra.corpus.reading import read_paths
from lavra.corpus.settings import ReadSettings
for item in read_paths([Path(sys.argv[1])], ReadSettings(language="pt", workers=2, seconds_per_file=20)):
    print(item.source, getattr(item, "kind", "read"))
"""


@pytest.mark.parametrize("extractor", ["trafilatura", "lavra"])
def test_pages_nested_without_end_cost_only_themselves(tmp_path: Path, extractor: str) -> None:
    """In a crawl, through the extractor of main content and through the house's own reader."""
    text = PARAGRAPH.encode()
    bodies = [
        b"<html><body>" + b"<div>" * 60_000 + text + b"</div>" * 60_000,
        b"<table><tr><td>" * 4_000 + text,
        b"<p>" + b"<b><i>" * 20_000 + text,
        page("Boa"),
    ]
    records = [warc("response", f"http://a/{n}", http(body)) for n, body in enumerate(bodies)]
    (tmp_path / "a.warc").write_bytes(b"".join(records))
    (tmp_path / "hook").mkdir()
    if extractor == "lavra":
        (tmp_path / "hook/sitecustomize.py").write_text("import sys; sys.modules['trafilatura'] = None\n")
    command = [sys.executable, "-c", CODE, str(tmp_path / "a.warc")]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "hook")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    said = dict(line.split() for line in done.stdout.splitlines())
    assert list(said) == [f"a.warc#http://a/{n}" for n in range(4)], done.stderr[-500:]
    assert said["a.warc#http://a/3"] == "read"
    assert set(said.values()) <= {"read", "empty", "corrupt", "crashed", "timeout", "memory"}


def test_rows_that_are_no_utf8_or_too_deep_cost_at_most_themselves(tmp_path: Path) -> None:
    good = json.dumps({"id": "good", "text": "Não há exceção."}, ensure_ascii=False).encode()
    lines = [
        good,
        '{"id": "latin", "text": "Não há exceção."}'.encode("latin-1"),
        b'{"id": "half", "text": "cortado \xe2\x82"}',
        b'{"id": "nothing", "text": "\xff\xfe\x00\x01\x02\x03"}',
        b'{"id": "deep", "text": ' + b"[" * 100_000,
        b'{"id": "deep field", "text": "fundo", "more": ' + b"[" * 900 + b"]" * 900 + b"}",
        good.replace(b"good", b"last").replace(b"exce", "acentuação, exce".encode()),
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    documents, skipped = read(tmp_path / "a.jsonl", language="pt")
    assert {"good", "latin", "half", "last"} <= set(documents)
    assert documents["latin"].text == "Não há exceção."
    assert documents["last"].text == "Não há acentuação, exceção."
    assert skipped["5"].kind == "corrupt"
    assert "nested too deep" in skipped["5"].reason
    for document in documents.values():
        document.text.encode()  # valid Unicode, or this raises
    rows = "id;texto\n1;Não há exceção.\n2;À regra.\n".encode("latin-1")
    (document, *_) = read_bytes("a.csv", rows, ReadSettings())
    assert isinstance(document, Document)
    assert document.text == "Não há exceção."
