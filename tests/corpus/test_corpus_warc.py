"""Crawls (WARC, WET): every page and text a document, bad records named, the rest read; FastWARC judges."""

from __future__ import annotations

import gzip
import io
import random
import re
from pathlib import Path

import pyarrow as pa
import pytest
from dump_files import PARAGRAPH, http, page, read, warc

from lavra.corpus import readers
from lavra.corpus.parts import BadRecord, Inner
from lavra.corpus.settings import ReadSettings

SITE = "https://exemplo.org/"
RECORDS = [
    warc("warcinfo", "", b"software: x\r\n", "application/warc-fields"),
    warc("request", f"{SITE}ferias", b"GET /ferias HTTP/1.1\r\n\r\n", "application/http; msgtype=request"),
    warc("response", f"{SITE}ferias", http(page("Férias"), "X-Robots-Tag: noai, noindex", "tdm-reservation: 1")),
    warc("response", f"{SITE}foto", http(b"\x89PNG", mime="image/png")),
    warc("response", f"{SITE}foi", http(b"", "Location: /ferias", status="301 Moved")),
    warc(
        "response", f"{SITE}latin", http("Não há exceção à regra.".encode("latin-1"), mime="text/plain; charset=latin1")
    ),
    warc("conversion", f"{SITE}wet", PARAGRAPH.encode(), "text/plain", WARC_Identified_Content_Language="por"),
]
NAMES = [f"{SITE}ferias", f"{SITE}latin", f"{SITE}wet"]


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz", "a.warc.wet.gz"])
def test_a_crawl_gives_its_pages_and_texts_with_where_and_when(tmp_path: Path, name: str) -> None:
    members = [gzip.compress(record) for record in RECORDS] if name.endswith(".gz") else RECORDS
    (tmp_path / name).write_bytes(b"".join(members))
    documents, skipped = read(tmp_path / name)
    assert not skipped
    assert list(documents) == NAMES
    first, second, third = documents.values()
    assert (first.title, first.language, first.format) == ("Férias", "pt", "warc")
    assert first.text.count(PARAGRAPH.strip()) == 3
    assert [(s.label, s.level) for s in first.spans if s.kind == "heading"] == [("Férias", 1), ("Exceções", 2)]
    assert "Contato" not in first.text
    assert "direitos" not in first.text
    assert first.metadata.items() >= {
        ("url", f"{SITE}ferias"),
        ("date", "2026-01-02T03:04:05Z"),
        ("payload_digest", "sha1:ABC"),
        ("x_robots_tag", "noai, noindex"),
        ("tdm_reservation", "1"),
    }
    assert second.text == "Não há exceção à regra."
    assert (third.text, third.metadata["identified_language"]) == (PARAGRAPH.strip(), "por")


def test_the_houses_own_reader_reads_pages_where_no_other_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "trafilatura", None)
    (parts,) = readers.read("webpage", page("Férias"), "a", ReadSettings())[1]
    assert not isinstance(parts, BadRecord)
    assert parts.metadata["extractor"] == "lavra"
    assert parts.text.count(PARAGRAPH.strip()) == 3
    assert "Contato" not in parts.text


def test_a_body_is_read_however_it_was_sent(tmp_path: Path) -> None:
    body = page("Enviada")
    chunked = b"%x\r\n%s\r\n%x;ext=1\r\n%s\r\n0\r\n\r\n" % (100, body[:100], len(body) - 100, body[100:])
    records = [
        warc("response", "http://a/1", http(chunked, "Transfer-Encoding: chunked")),
        warc("response", "http://a/2", http(gzip.compress(body), "Content-Encoding: gzip")),
        warc(
            "response", "http://a/3", http(body, "Content-Encoding: gzip", "Transfer-Encoding: chunked")
        ),  # as taken off
        warc("response", "http://a/4", http(gzip.compress(b"a" * 90_000_000), "Content-Encoding: gzip")),
    ]
    (tmp_path / "a.warc").write_bytes(b"".join(records))
    documents, skipped = read(tmp_path / "a.warc")
    assert [d.title for d in documents.values()] == ["Enviada"] * 3
    assert len({d.text for d in documents.values()}) == 1
    assert [s.kind for s in skipped.values()] == ["too_large"]


def test_damaged_and_huge_records_are_named_and_the_rest_of_the_crawl_is_read(tmp_path: Path) -> None:
    rng = random.Random(7)
    texts = [f"{PARAGRAPH} {n} {rng.randbytes(2000).hex()}" for n in range(9)]
    members = [
        gzip.compress(warc("conversion", f"http://a/{n}", t.encode(), "text/plain")) for n, t in enumerate(texts)
    ]
    damaged = bytearray(members[2])
    damaged[600:640] = b"\xff" * 40
    members[2] = bytes(damaged)
    members[4] = members[4][:700]  # cut off in the middle of the file
    members[5] = gzip.compress(warc("conversion", "http://a/5", b"a" * 20_000_000, "text/plain"))
    members[6] = gzip.compress(
        warc("conversion", "http://a/6", b"x", "text/plain").replace(b"Length: 1", b"Length: -1")
    )
    members[8] = members[8][:-300]
    (tmp_path / "a.warc.gz").write_bytes(b"".join(members))
    documents, skipped = read(tmp_path / "a.warc.gz")
    assert list(documents) == ["http://a/0", "http://a/1", "http://a/3", "http://a/7"]
    assert [s.kind for s in skipped.values()][:2] == ["corrupt", "corrupt"]
    reasons = " | ".join(s.reason for s in skipped.values())
    for part in ("data is damaged", "20 MB, over the limit of 16 MB", "length is given as '-1'", "ends too soon"):
        assert part in reasons
    assert 5 <= len(skipped) <= 8


def test_fastwarc_finds_the_same_pages(tmp_path: Path) -> None:
    fastwarc = pytest.importorskip("fastwarc.warc")
    rng = random.Random(5)
    data = b""
    for number in range(200):
        body = page(f"Página {number}", rng.randbytes(rng.randrange(4000)).hex())
        data += gzip.compress(warc("response", f"http://a/{number}", http(body)))
        data += gzip.compress(warc("metadata", f"http://a/{number}", b"fetchTimeMs: 3\r\n", "application/warc-fields"))
    theirs = [
        (record.headers["WARC-Target-URI"], record.reader.read())
        for record in fastwarc.ArchiveIterator(io.BytesIO(data), parse_http=True)
        if record.headers["WARC-Type"] == "response"
    ]
    ours = [
        (record.about.record, record.data)
        for record, _, _ in readers.stream_records("warc", io.BytesIO(data), ReadSettings())
        if isinstance(record, Inner)
    ]
    assert ours == theirs


def false(record: bytes, length: int) -> bytes:
    """A record that states another length than it has."""
    return re.sub(rb"(?<=Content-Length: )\d+", str(length).encode(), record, count=1)


@pytest.mark.parametrize("how", ["plain", "members", "one member"])
@pytest.mark.parametrize(
    ("kind", "length"),
    [
        ("conversion", 3_000),  # runs past the next records
        ("conversion", 100),  # would cut the text in silence
        ("request", 3_000),
        ("request", 10**12),  # runs past the end, in a record that is passed over
        ("conversion", 10**12),
        ("conversion", 900_000),  # more than there is
    ],
)
def test_a_false_length_costs_its_record_and_no_other(tmp_path: Path, how: str, kind: str, length: int) -> None:
    mime = "text/plain" if kind == "conversion" else "application/http; msgtype=request"
    records = [warc("conversion", f"http://a/{n}", f"{n} {PARAGRAPH * 3}".encode(), "text/plain") for n in range(30)]
    records[5] = false(warc(kind, "http://a/5", PARAGRAPH.encode() * 3, mime), length)
    records[20] = false(records[20], 5_000)
    data = b"".join(gzip.compress(record) if how == "members" else record for record in records)
    (tmp_path / "a.warc.gz").write_bytes(gzip.compress(data) if how == "one member" else data)
    documents, skipped = read(tmp_path / "a.warc.gz", max_record_megabytes=1)
    assert list(documents) == [f"http://a/{n}" for n in range(30) if n not in (5, 20)]
    assert all(document.text.endswith(PARAGRAPH.strip()) for document in documents.values())
    assert {s.kind for s in skipped.values()} == {"corrupt"}
    assert f"it states a length of {length:,} bytes, and no record ends there" in [s.reason for s in skipped.values()]


def test_a_crawl_inside_a_page_is_no_record_of_its_own(tmp_path: Path) -> None:
    inside = warc("conversion", "http://b/inside", b"Dentro.", "text/plain")
    records = [
        warc("conversion", "http://a/1", b"Como se escreve um WARC:\r\n\r\n" + inside + b"Fim.", "text/plain"),
        warc("conversion", "http://a/2", PARAGRAPH.encode(), "text/plain"),
    ]
    (tmp_path / "a.warc").write_bytes(b"".join(records))
    documents, skipped = read(tmp_path / "a.warc")
    assert not skipped
    assert list(documents) == ["http://a/1", "http://a/2"]
    assert documents["http://a/1"].text.endswith("Fim.")


def test_a_crawl_of_nothing_but_false_lengths_is_given_up() -> None:
    record = false(warc("conversion", "http://a", b"a", "text/plain"), 15_000_000)
    found = readers.stream_records("warc", io.BytesIO(record * 3_000), ReadSettings())
    for _ in range(1_000):
        assert isinstance(next(found)[0], BadRecord)
    with pytest.raises(readers.Unreadable, match="false lengths: the rest is not read"):
        next(found)


@pytest.mark.parametrize(("encoding", "codec"), [("br", "brotli"), ("zstd", "zstd")])
def test_bodies_in_newer_encodings_are_read(tmp_path: Path, encoding: str, codec: str) -> None:
    body = page("Enviada", PARAGRAPH * 20)
    sent = pa.Codec(codec).compress(body, asbytes=True)
    bomb = pa.Codec(codec).compress(b"<p>" + b"a" * 30_000_000, asbytes=True)
    records = [
        warc("response", "http://a/1", http(sent, f"Content-Encoding: {encoding}")),
        warc("response", "http://a/2", http(body, f"Content-Encoding: {encoding}")),  # as taken off
        warc("response", "http://a/3", http(bomb, f"Content-Encoding: {encoding}")),
        warc("response", "http://a/4", http(b"\xff\xfe" + sent[2:40], f"Content-Encoding: {encoding}")),
    ]
    (tmp_path / "a.warc").write_bytes(b"".join(records))
    documents, skipped = read(tmp_path / "a.warc")
    assert [d.title for d in documents.values()] == ["Enviada"] * 2
    assert len({d.text for d in documents.values()}) == 1
    assert [s.kind for s in skipped.values()] == ["too_large", "corrupt"]
