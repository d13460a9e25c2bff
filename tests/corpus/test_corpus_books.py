"""Books of Project Gutenberg and mailboxes: a book without its licence, a message a document."""

from __future__ import annotations

from pathlib import Path

from dump_files import read

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
