"""Crawls, dumps, mailboxes and tables of texts: every record a document, bad ones named, the rest read all the same.

The bytes of every format are written here by hand, so that the readers are judged by the formats and not by a library;
FastWARC judges the WARC reader besides.
"""

from __future__ import annotations

import bz2
import gzip
import html
import io
import json
import lzma
import os
import random
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from lavra.corpus import readers
from lavra.corpus.document import Document
from lavra.corpus.parts import BadRecord, Inner
from lavra.corpus.reading import Skipped, read_bytes, read_paths
from lavra.corpus.settings import ReadSettings

ROWS = [{"id": f"d{n}", "text": f"O prazo do processo {n} é de {n + 5} dias úteis.", "lang": "pt"} for n in range(300)]
PARAGRAPH = (
    "O prazo para pedir férias é de trinta dias, contados da data em que o servidor completa um ano de exercício, "
    "e o pedido deve ser feito por escrito ao chefe imediato, que responde em cinco dias úteis. "
)


def read(path: Path, **settings: object) -> tuple[dict[str, Document], dict[str, Skipped]]:
    """Documents and what was skipped, by the name of the record (the file's own is empty)."""
    found = list(read_paths([path], ReadSettings(**settings)))  # type: ignore[arg-type]
    for item in found:
        for span in getattr(item, "spans", ()):
            assert 0 <= span.start < span.end <= len(item.text)
    documents = {d.source.partition("#")[2]: d for d in found if isinstance(d, Document)}
    return documents, {s.source.partition("#")[2]: s for s in found if isinstance(s, Skipped)}


def packed(data: bytes, how: str) -> bytes:
    if how == "zst":
        return pa.Codec("zstd").compress(data, asbytes=True)
    return {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[how](data)


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


# WARC


def warc(kind: str, url: str, content: bytes, mime: str = "application/http; msgtype=response", **more: str) -> bytes:
    fields = {
        "WARC-Type": kind,
        "WARC-Record-ID": "<urn:uuid:00000000-0000-0000-0000-000000000000>",
        "WARC-Target-URI": url,
        "WARC-Date": "2026-01-02T03:04:05Z",
        "WARC-Payload-Digest": "sha1:ABC",
        "Content-Type": mime,
        **{name.replace("_", "-"): value for name, value in more.items()},
        "Content-Length": str(len(content)),
    }
    header = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return b"WARC/1.0\r\n" + header.encode() + b"\r\n" + content + b"\r\n\r\n"


def http(body: bytes, *headers: str, mime: str = "text/html; charset=utf-8", status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {mime}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def page(title: str, text: str = PARAGRAPH, head: str = "") -> bytes:
    return (
        f"<!doctype html><html lang=pt-BR><head><meta charset=utf-8><title>{title}</title>{head}</head><body>"
        "<nav><ul><li><a href=/a>Início</a><li><a href=/b>Contato</a><li><a href=/c>Sobre nós</a></ul></nav>"
        f"<article><h1>{title}</h1><p>Um: {text}</p><h2>Exceções</h2><p>Dois: {text}</p><p>Três: {text}</p></article>"
        "<footer>© 2026 Todos os direitos reservados</footer></body></html>"
    ).encode()


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


# MediaWiki

WIKI_HEAD = (
    '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="pt">\n  <siteinfo>\n'
    "    <sitename>Wikipédia</sitename>\n    <base>https://pt.wikipedia.org/wiki/P%C3%A1gina</base>\n  </siteinfo>\n"
)
LISBON = """{{Info/Cidade|nome=Lisboa|brasão={{flagicon|PT}}}}
'''Lisboa''' é a [[capital]] de [[Portugal|Portugal continental]],<ref name="a">{{citar web|url=http://x}}</ref> às \
margens do rio&nbsp;[[Tejo]].<!-- nota -->

== História ==
Os [[Fenícios|fenícios]] chegaram ''cedo'', segundo a [http://exemplo.org câmara].
* primeiro
* segundo

=== Sem texto ===

== População ==
{| class="wikitable"
|+ Censos
! Ano !! Pessoas
|-
| 2011 || 547 733
|}

== Referências ==
<references />
[[Categoria:Cidades]]
[[Ficheiro:Lisboa.jpg|thumb|Uma [[legenda]]]]
"""


def wiki_page(title: str, text: str, ns: int = 0, more: str = "") -> str:
    return f"""\
  <page>
    <title>{title.replace("&", "&amp;")}</title>
    <ns>{ns}</ns>
    <id>7</id>
{more}    <revision>
      <id>9</id>
      <timestamp>2026-02-03T04:05:06Z</timestamp>
      <model>wikitext</model>
      <text bytes="1" xml:space="preserve">{html.escape(text, quote=False)}</text>
    </revision>
  </page>
"""


WIKI = (
    WIKI_HEAD
    + wiki_page("Lisboa", LISBON)
    + wiki_page("Lissabon", "#REDIRECIONAMENTO [[Lisboa]]", more='    <redirect title="Lisboa" />\n')
    + wiki_page("Discussão:Lisboa", "Não concordo.", ns=1)
    + wiki_page("Porto & Gaia", "Duas cidades <nowiki>[[assim]]</nowiki> à beira do [[Douro]].")
    + "</mediawiki>\n"
)


@pytest.mark.parametrize("name", ["ptwiki-20260101-pages-articles.xml.bz2", "wiki.xml", "wiki.xml.gz"])
def test_a_wikis_dump_gives_its_articles_as_plain_text(tmp_path: Path, name: str) -> None:
    data = WIKI.encode()
    (tmp_path / name).write_bytes(packed(data, name.rpartition(".")[2]) if name.endswith(("bz2", "gz")) else data)
    documents, skipped = read(tmp_path / name)
    assert not skipped
    assert list(documents) == ["Lisboa", "Porto & Gaia"]
    lisbon = documents["Lisboa"]
    assert lisbon.text == (
        "Lisboa é a capital de Portugal continental, às margens do rio Tejo.\n\n"
        "História\n\nOs fenícios chegaram cedo, segundo a câmara.\n- primeiro\n- segundo\n\n"
        "População\n\nCensos\n\n| Ano | Pessoas |\n| --- | --- |\n| 2011 | 547 733 |"
    )
    assert [(s.kind, s.label) for s in lisbon.spans] == [
        ("heading", "História"),
        ("heading", "População"),
        ("table", "Censos"),
    ]
    assert (lisbon.title, lisbon.language, lisbon.format) == ("Lisboa", "pt", "mediawiki")
    assert lisbon.metadata["url"] == "https://pt.wikipedia.org/wiki/Lisboa"
    assert (lisbon.metadata["date"], lisbon.metadata["site"]) == ("2026-02-03T04:05:06Z", "Wikipédia")
    assert documents["Porto & Gaia"].text == "Duas cidades [[assim]] à beira do Douro."


def test_damaged_and_huge_pages_of_a_dump_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    data = (
        WIKI_HEAD
        + wiki_page("Um", "Primeiro texto.")
        + wiki_page("Dois", "x").replace("</title>", "<title>")
        + wiki_page("Três", "y" * 2_000_000)
        + wiki_page("Quatro", "&e;").replace("&amp;e;", "&e;")
        + wiki_page("Cinco", "{{" * 3000 + "{{{" * 3000 + "}}}" * 3000 + "texto")
        + wiki_page("Seis", "Sexto texto.")
        + "  <page>\n    <title>Sete</title>\n"
    )
    path = tmp_path / "wiki.xml"
    path.write_bytes(data.encode())
    documents, skipped = read(path, max_record_megabytes=1)
    assert {"Um", "Seis"} <= set(documents) <= {"Um", "Cinco", "Seis"}
    assert {name: s.kind for name, s in skipped.items() if name != "Cinco"} == {
        "2": "corrupt",
        "3": "too_large",
        "4": "corrupt",
        "7": "corrupt",
    }
    assert "`max_record_megabytes`" in skipped["3"].reason


# Project Gutenberg

BOOK = """\ufeffThe Project Gutenberg eBook of Dom Casmurro

This ebook is for the use of anyone anywhere in the United States and
most other parts of the world at no cost.

Title: Dom Casmurro

Author: Machado de Assis

Release date: October 15, 2017 [eBook #55752]
                Most recently updated: October 23, 2024

Language: Portuguese

Credits: Produced by volunteers

*** START OF THE PROJECT GUTENBERG EBOOK DOM CASMURRO ***

Produced by Laura Natal Rodrigues
and the Online Distributed Proofreading Team

DOM CASMURRO

Uma noite destas, vindo da cidade para o Engenho Novo, encontrei no trem da Central um rapaz aqui do bairro.

*** END OF THE PROJECT GUTENBERG EBOOK DOM CASMURRO ***

Updated editions will replace the previous one.
"""


def test_a_book_of_project_gutenberg_comes_without_its_licence(tmp_path: Path) -> None:
    (tmp_path / "55752-0.txt").write_text(BOOK, encoding="utf-8")
    ((name, book),) = read(tmp_path / "55752-0.txt")[0].items()
    assert not name
    assert book.text == (
        "DOM CASMURRO\n\n"
        "Uma noite destas, vindo da cidade para o Engenho Novo, encontrei no trem da Central um rapaz aqui do bairro."
    )
    assert (book.title, book.owner, book.language) == ("Dom Casmurro", "Machado de Assis", "pt")
    assert (book.licence, book.format) == ("LicenseRef-public-domain-USA", "gutenberg")
    assert book.metadata["gutenberg"] == "55752"
    assert book.metadata["released"] == "October 15, 2017"


def test_a_text_about_project_gutenberg_stays_whole(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Project Gutenberg é uma biblioteca digital.\n\nTem livros.")
    (document,) = read(tmp_path / "a.txt")[0].values()
    assert document.text.endswith("Tem livros.")
    assert document.licence is None


# Mailboxes


def test_a_mailbox_gives_its_messages(tmp_path: Path) -> None:
    messages = (
        b"From ana@a.org Fri Jan  2 03:04:05 2026\nFrom: Ana <ana@a.org>\nSubject: =?utf-8?q?F=C3=A9rias?=\n"
        b"Message-ID: <1@a.org>\nContent-Type: text/plain; charset=utf-8\n\nPe\xc3\xa7o f\xc3\xa9rias.\n"
        b"From longe, mas sem linha vazia antes.\n\n>From agora em diante.\n\n"
        b"From rui@a.org Fri Jan  2 04:04:05 2026\nFrom: Rui <rui@a.org>\nSubject: Re\n"
        b"Content-Type: text/html; charset=utf-8\n\n<p>Est\xc3\xa1 <b>bem</b>.</p>\n\n"
        b"From x@a.org Fri Jan  2 05:04:05 2026\nSubject: grande\n\n" + b"linha longa\n" * 100_000 + b"\n"
        b"From y@a.org Fri Jan  2 06:04:05 2026\nSubject: fim\n\nAt\xc3\xa9 logo.\n"
    )
    (tmp_path / "a.mbox").write_bytes(messages)
    documents, skipped = read(tmp_path / "a.mbox", max_record_megabytes=1)
    assert list(documents) == ["1@a.org", "2", "4"]
    assert {name: s.kind for name, s in skipped.items()} == {"3": "too_large"}
    assert documents["1@a.org"].title == "Férias"
    assert documents["1@a.org"].text.endswith(
        "Peço férias.\nFrom longe, mas sem linha vazia antes.\n\nFrom agora em diante."
    )
    assert documents["2"].text.endswith("Está bem.")
    assert documents["4"].metadata["sha256"]


# Parquet


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


# Memory


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
