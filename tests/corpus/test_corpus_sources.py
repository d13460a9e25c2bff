"""Who says whose a document is and who may read it, and who is believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from lavra.corpus.document import Document
from lavra.corpus.reading import Skipped, read_bytes, read_paths
from lavra.corpus.settings import ReadSettings
from lavra.corpus.sources import glob
from lavra.errors import LavraError


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder


def read(folder: Path, **settings: object) -> dict[str, Document]:
    found = read_paths([folder], ReadSettings(**settings))  # type: ignore[arg-type]
    return {d.source.partition("/")[2]: d for d in found if isinstance(d, Document)}


def test_the_nearest_sources_file_is_believed_key_by_key(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "lavra-sources.toml": '[[source]]\nlicence = "CC-BY-4.0"\nowner = "Casa"\nroles = ["todos"]\n'
            '[[source]]\npath = "hr/**"\nroles = ["rh"]\n',
            "a.md": "Texto a",
            "hr/b.md": "Texto b",
            "hr/deep/lavra-sources.toml": '[[source]]\nlicense = "MIT"\n[[source]]\npath = "c.*"\nlanguage = "es"\n',
            "hr/deep/c.md": "Texto c",
        },
    )
    documents = read(tmp_path)
    assert {n: (d.licence, d.owner, d.roles, d.language) for n, d in documents.items()} == {
        "a.md": ("CC-BY-4.0", "Casa", ("todos",), "und"),
        "hr/b.md": ("CC-BY-4.0", "Casa", ("rh",), "und"),
        "hr/deep/c.md": ("MIT", "Casa", ("rh",), "es"),
    }


def test_a_document_cannot_widen_the_roles_it_was_given(tmp_path: Path) -> None:
    front = "---\nroles: [public, todos]\nlicence: MIT\n---\nTexto secreto"
    write(tmp_path, {"lavra-sources.toml": '[[source]]\npath = "hr"\nroles = ["rh"]\n', "hr/a.md": front})
    assert read(tmp_path)["hr/a.md"].roles == ("rh",)
    assert read(tmp_path, roles=("chefia",))["hr/a.md"].roles == ("chefia",)
    assert read(tmp_path)["hr/a.md"].licence == "MIT"


def test_a_document_may_set_its_roles_where_nobody_else_did(tmp_path: Path) -> None:
    write(tmp_path, {"a.md": "---\nroles: rh, chefia\n---\nTexto", "b.md": "Texto b"})
    documents = read(tmp_path)
    assert (documents["a.md"].roles, documents["b.md"].roles) == (("rh", "chefia"), ("public",))


def test_flags_are_stronger_than_everything(tmp_path: Path) -> None:
    write(
        tmp_path, {"lavra-sources.toml": '[[source]]\nlicence = "MIT"\n', "a.md": "---\nlicence: GPL-3.0\n---\nTexto"}
    )
    document = read(tmp_path, licence="CC0-1.0", owner="Nós", language="en")["a.md"]
    assert (document.licence, document.owner, document.language) == ("CC0-1.0", "Nós", "en")


def test_a_sources_file_applies_to_a_single_file_beside_it_and_to_records(tmp_path: Path) -> None:
    write(
        tmp_path, {"lavra-sources.toml": '[[source]]\nroles = ["rh"]\n', "a.jsonl": '{"text": "um"}\n{"text": "dois"}'}
    )
    found = list(read_paths([tmp_path / "a.jsonl"], ReadSettings()))
    assert [(d.source, d.roles) for d in found if isinstance(d, Document)] == [
        ("a.jsonl#1", ("rh",)),
        ("a.jsonl#2", ("rh",)),
    ]


@pytest.mark.parametrize("name", ["lavra-sources.toml", "../lavra-sources.toml", "x\\lavra-sources.toml"])
def test_who_may_read_what_cannot_be_uploaded(name: str) -> None:
    (refused,) = read_bytes(name, b'[[source]]\nroles = ["public"]\n', ReadSettings())
    assert isinstance(refused, Skipped)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[[source]\n", "is not valid TOML"),
        ('[[source]]\nrole = ["rh"]\n', "source.1.role: there is no such key"),
        ("[[source]]\nroles = []\n", "source.1.roles: "),
        ('[[source]]\nroles = "rh"\n', "source.1.roles: "),
        ('[[source]]\n[[source]]\npath = "../x"\n', "source.2.path: "),
        ('[[source]]\nlanguage = "português"\n', "source.1.language: "),
        ('[[sources]]\nroles = ["rh"]\n', "sources: there is no such key"),
    ],
)
def test_a_sources_file_that_cannot_be_understood_stops_everything(tmp_path: Path, content: str, said: str) -> None:
    write(tmp_path, {"hr/lavra-sources.toml": content, "hr/a.md": "Texto secreto"})
    with pytest.raises(LavraError) as error:
        list(read_paths([tmp_path], ReadSettings()))
    assert said in str(error.value)
    assert str(tmp_path / "hr" / "lavra-sources.toml") in str(error.value)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("**", ["a", "a/b"], []),
        ("*.pdf", ["a.pdf", "x/a.pdf"], ["a.pdfx", "pdf"]),
        ("hr/**", ["hr/a", "hr/a/b"], ["hr2/a", "x/hr/a"]),
        ("hr", ["hr/a", "x/hr/a", "hr"], ["hra"]),
        ("hr/*.md", ["hr/a.md"], ["hr/x/a.md", "hr/a.txt"]),
        ("**/final/*", ["final/a", "x/y/final/a"], ["finals/a"]),
        ("./a?.md", ["a1.md"], ["a12.md"]),
        ("férias/*", ["fe\u0301rias/a"], []),
        ("a+b(c)", ["a+b(c)"], ["aab(c)"]),
    ],
)
def test_patterns_match_as_people_expect(pattern: str, yes: list[str], no: list[str]) -> None:
    import unicodedata

    compiled = glob(pattern)
    assert all(compiled.fullmatch(unicodedata.normalize("NFC", path)) for path in yes)
    assert not any(compiled.fullmatch(path) for path in no)
