"""What a site's files say of training is known of every page of it, in a folder and in a crawl, wherever they stand."""

from __future__ import annotations

import gzip
import json
import time
import urllib.robotparser
from pathlib import Path

import corpus_files as files
import pytest
from dump_files import PARAGRAPH, http, page, read, warc

from lavra.corpus.document import Document
from lavra.corpus.fingerprint import fingerprint
from lavra.corpus.opting_out import opted_out
from lavra.corpus.reading import read_bytes, read_paths
from lavra.corpus.settings import ReadSettings
from lavra.corpus.site_files import is_one, said

AI = """\
# Spawning AI
User-Agent: *
Disallow: *.html
Disallow: /livre/nao/
Allow: /livre/
Allow: *.txt
Disallow: /
"""
ROBOTS = """\
User-agent: *
Disallow: /admin
Crawl-delay: 5

User-agent: GPTBot
User-agent: CCBot
Disallow: /artigos/
Allow: /artigos/abertos/
Disallow: /*.pdf$

User-agent: Googlebot
Disallow: /
"""
SIGNAL = "User-agent: *\nContent-Signal: search=yes,ai-train=no\nAllow: /\n"
RESERVED = json.dumps(
    [
        {"location": "/", "tdm-reservation": 0},
        {"location": "/imprensa/*.html", "tdm-reservation": 1, "tdm-policy": "https://a/p.json"},
        {"location": "/imprensa/livre.html", "tdm-reservation": 0},
        {"location": "no pattern", "tdm-reservation": "perhaps"},
        "nonsense",
    ]
)


@pytest.mark.parametrize(
    ("name", "text", "path", "expected"),
    [
        ("ai.txt", AI, "/a.html", "ai.txt"),
        ("ai.txt", AI, "/a.html?x=1", "ai.txt"),
        ("ai.txt", AI, "/a.htmlx", "ai.txt"),  # by the last line
        ("ai.txt", AI, "/notas.txt", None),
        ("ai.txt", AI, "/livre/artigo", None),
        ("ai.txt", AI, "/livre/nao/artigo", "ai.txt"),
        ("ai.txt", "User-Agent: *\nAllow: /\n", "/a.html", None),
        ("ai.txt", "User-Agent: *\nDisallow:\n", "/a.html", None),
        ("ai.txt", "\ufeffuser-agent: *\r\ndisallow: /  # all\r\n", "/a", "ai.txt"),
        ("ai.txt", "User-Agent: SomeBot\nDisallow: /\n", "/a", "ai.txt"),
        ("ai.txt", "Um texto sobre IA.\n", "/a", None),
        ("robots.txt", ROBOTS, "/artigos/1", "robots.txt (GPTBot)"),
        ("robots.txt", ROBOTS, "/artigos/abertos/1", None),
        ("robots.txt", ROBOTS, "/a/b.pdf", "robots.txt (GPTBot)"),
        ("robots.txt", ROBOTS, "/a/b.pdf.html", None),
        ("robots.txt", ROBOTS, "/admin", None),  # closed to crawlers, which says nothing of training
        ("robots.txt", SIGNAL, "/", "robots.txt (ai-train=no)"),
        ("robots.txt", SIGNAL.replace("=no", "=yes"), "/", None),
    ],
)  # fmt: skip
def test_paths_are_closed_as_the_file_says(name: str, text: str, path: str, expected: str | None) -> None:
    assert opted_out(said({name: text}, path)) == expected


def test_pythons_own_reader_of_robots_agrees() -> None:
    """Where no pattern has a star and the first that matches is the longest, which is what it goes by."""
    text = "User-agent: CCBot\nDisallow: /a/b/\nAllow: /a/\nDisallow: /c\n"
    theirs = urllib.robotparser.RobotFileParser()
    theirs.parse(text.split("\n"))
    for path in ("/", "/a", "/a/x", "/a/b", "/a/b/x", "/c", "/cx", "/d"):
        assert ("opt" in str(said({"robots.txt": text}, path))) != theirs.can_fetch("CCBot", path)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", {"tdm_reservation": "0"}),
        ("/imprensa/a.html", {"tdm_reservation": "1", "tdm_policy": "https://a/p.json"}),
        ("/imprensa/livre.html", {"tdm_reservation": "0"}),
    ],
)
def test_reservations_hold_for_the_longest_location(path: str, expected: dict[str, str]) -> None:
    assert said({"tdmrep.json": RESERVED}, path) == expected


def test_what_is_no_such_file_says_nothing_and_takes_no_time() -> None:
    assert not is_one("ai.txt", "Notas sobre IA: um resumo.")
    assert not is_one("tdmrep.json", "{")
    assert not is_one("tdmrep.json", "[" * 100_000)
    began = time.process_time()
    hostile = "User-agent: *\nDisallow: " + "*a" * 900 + "b\n"
    assert said({"ai.txt": hostile}, "/" + "a" * 100_000) == {}
    assert time.process_time() - began < 5


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    pages = {
        "um.org/ai.txt": AI,
        "um.org/a.html": page("A").decode(),
        "um.org/livre/b.html": page("B", "Outro parágrafo. " + PARAGRAPH).decode(),
        "dois.org/.well-known/tdmrep.json": RESERVED,
        "dois.org/imprensa/c.html": page("C", "Mais um parágrafo. " + PARAGRAPH).decode(),
        "dois.org/imprensa/d.html": page(
            "D", "E mais um. " + PARAGRAPH, '<meta name="tdm-reservation" content="0">'
        ).decode(),
        "notas/ai.txt": "Notas sobre IA.",
        "notas/e.md": "Uma nota.",
    }
    for name, text in pages.items():
        path = tmp_path / "sites" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "sites"


def test_a_folder_that_is_a_site_speaks_for_what_lies_below_it(mirror: Path) -> None:
    found = {
        document.source.removeprefix("sites/"): opted_out(document.metadata)
        for document in read_paths([mirror], ReadSettings())
        if isinstance(document, Document)
    }
    assert found == {
        "um.org/ai.txt": None,
        "um.org/a.html": "ai.txt",
        "um.org/livre/b.html": None,  # of two patterns that match the longer one: /livre/
        "dois.org/imprensa/c.html": "TDM reservation",
        "dois.org/imprensa/d.html": None,  # the page's own word goes before
        "notas/ai.txt": None,
        "notas/e.md": None,
    }


def test_a_changed_reservation_is_a_change_of_the_folder(mirror: Path) -> None:
    before = fingerprint(mirror, ReadSettings())
    (mirror / "dois.org/.well-known/tdmrep.json").write_text("[]")
    assert fingerprint(mirror, ReadSettings()) != before


def test_a_crawls_sites_speak_for_their_pages_wherever_their_files_stand(tmp_path: Path) -> None:
    def text(url: str, body: str, mime: str = "text/plain") -> bytes:
        return warc("response", url, http(body.encode(), mime=mime))

    records = [
        warc("response", "https://um.org/artigos/1", http(page("Um"))),
        warc("response", "https://um.org/2", http(page("Dois", "Outro. " + PARAGRAPH))),
        warc("response", "https://dois.org/imprensa/a.html", http(page("Três", "Mais. " + PARAGRAPH))),
        warc("response", "https://tres.org/x", http(page("Quatro", "Ainda. " + PARAGRAPH))),
        warc(
            "response",
            "https://dois.org/imprensa/b.html",
            http(
                page("Cinco", "E. " + PARAGRAPH, '<meta name="tdm-reservation" content="1">'),
                "tdm-reservation: 0",
            ),
        ),
        text("https://um.org/robots.txt", ROBOTS),
        text("https://dois.org/.well-known/tdmrep.json", RESERVED, "application/json"),
        text("https://tres.org/ai.txt", AI.replace("Disallow: /\n", "")),
        text("https://quatro.org/ai.txt", "Um texto que se chama assim, e nada mais, sobre o que se pensa hoje."),
    ]
    (tmp_path / "a.warc.gz").write_bytes(b"".join(map(gzip.compress, records)))
    documents, skipped = read(tmp_path / "a.warc.gz")
    assert not skipped
    assert {name: opted_out(document.metadata) for name, document in documents.items()} == {
        "https://um.org/artigos/1": "robots.txt (GPTBot)",
        "https://um.org/2": None,
        "https://dois.org/imprensa/a.html": "TDM reservation",
        "https://dois.org/imprensa/b.html": "TDM reservation",  # the page's word goes before the header's
        "https://tres.org/x": None,
        "https://quatro.org/ai.txt": None,
    }
    assert documents["https://dois.org/imprensa/a.html"].metadata["tdm_policy"] == "https://a/p.json"


def test_books_and_pdfs_can_be_reserved() -> None:
    epub = files.epub(["<h1>Um</h1><p>texto do capítulo</p>"])
    pdf = files.pdf("Um texto reservado")
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(epub)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["OEBPS/book.opf"] = members["OEBPS/book.opf"].replace(
        b"</metadata>", b'<meta property="tdm:reservation">1</meta></metadata>'
    )
    xmp = b'%<rdf:Description xmlns:tdm="http://www.w3.org/ns/tdmrep/" tdm:reservation="1" tdm:policy="https://a/p"/>\n'
    reserved = pdf.replace(b"%PDF-1.3\n", b"%PDF-1.3\n" + xmp, 1)
    assert reserved != pdf
    for name, data, expected in (
        ("a.epub", epub, None),
        ("b.epub", files.zipped(members), "TDM reservation"),
        ("a.pdf", pdf, None),
        ("b.pdf", reserved, "TDM reservation"),
    ):
        (document,) = read_bytes(name, data, ReadSettings())
        assert isinstance(document, Document)
        assert opted_out(document.metadata) == expected
