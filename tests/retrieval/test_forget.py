"""A forgotten document is nowhere: not in rows, old versions, indexes, nor in any file's bytes."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import threading
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hashing_embedder import HashingEmbedder

from lavra.corpus.document import Document
from lavra.retrieval.bytesearch import Needles
from lavra.retrieval.erase import contains_text
from lavra.retrieval.index import Index

SECRET = "O servidor Anacleto Brandão recebeu atestado médico em 14 de março de 2024."
HEALTH = "Seu CPF é 529.982.247-25 e mora na Rua das Acácias, nº 77."


def document(name: str, text: str, **more: object) -> Document:
    return Document(source=f"rh/{name}.md", text=text, title=name, language="pt", **more)  # type: ignore[arg-type]


def others(count: int) -> list[Document]:
    return [
        document(f"ato-{i}", f"O ato número {i} trata de férias, licenças e promoções do quadro {i % 7}. " * 3)
        for i in range(count)
    ]


@pytest.fixture
def index(tmp_path: Path) -> Index:
    """Sixty documents and one to forget, which was changed once and whose roles were changed once."""
    index = Index.open(tmp_path / "index", HashingEmbedder())
    first = document("ficha", f"{SECRET} {HEALTH}")
    index.update([*others(60), first])
    index.add([document("ficha", f"{SECRET} {HEALTH} Acréscimo de maio.")])
    index.add([document("ficha", f"{SECRET} {HEALTH} Acréscimo de maio.", roles=("rh",))])
    return index


def test_the_text_is_found_by_its_bytes_before_it_is_forgotten(index: Index) -> None:
    # The control: text columns are stored plain, so that absence of the bytes is absence of the text.
    for sentence in (SECRET, HEALTH):
        assert any(path.suffix == ".lance" and path.is_file() for path in contains_text(index.root, [sentence]))


def test_deleting_is_not_erasing(index: Index) -> None:
    index.remove([document("ficha", "").id])
    index._writer.maintain(thoroughly=True)
    assert contains_text(index.root, [SECRET])


@pytest.mark.parametrize("removed_before", [False, True])
def test_a_forgotten_document_is_in_no_file(index: Index, removed_before: bool) -> None:
    forgotten = document("ficha", "").id
    if removed_before:
        index.remove([forgotten])
    erased = index.forget(forgotten)
    assert erased.chunks == (0 if removed_before else 1)
    assert erased.bytes > 0
    assert contains_text(index.root, [SECRET, HEALTH]) == []
    # Byte by byte, without our own search; its stems and numbers, which the lexical index held, too.
    everything = b"".join(path.read_bytes() for path in index.root.rglob("*") if path.is_file())
    for trace in ("Anacleto", "anaclet", "529.982.247", "52998224725", "Acácias", "ficha", forgotten):
        assert trace.encode() not in everything
        assert trace.encode("utf-16-le") not in everything
    assert "férias".encode() in everything


def test_the_others_stay_and_are_found(index: Index) -> None:
    index.forget(document("ficha", "").id)
    assert index.stats()["documents"] == 60
    assert index.search("ato número 33 férias", roles={"rh"}).passages
    assert not index.search("Anacleto Brandão atestado", roles={"rh"}).passages[0].text.startswith("O servidor")
    report = index.update(others(60))
    assert (report.unchanged, report.embedded) == (60, 0)


def test_a_sentence_that_another_document_says_is_still_said(tmp_path: Path) -> None:
    index = Index.open(tmp_path / "index", HashingEmbedder())
    shared = "Esta portaria entra em vigor na data de sua publicação."
    index.update([document("a", f"{SECRET} {shared}"), document("b", f"Outra coisa muito diferente. {shared}")])
    index.forget(document("a", "").id)
    assert contains_text(index.root, [SECRET]) == []
    assert contains_text(index.root, [shared])


def test_searches_go_on_while_documents_are_forgotten(index: Index) -> None:
    failures: list[BaseException] = []
    done = threading.Event()
    counts: list[int] = []

    def search() -> None:
        reader = Index.open(index.root, HashingEmbedder())
        try:
            while not done.is_set():
                counts.append(len(reader.search("ato número 55 férias", roles=set()).passages))
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=search) for _ in range(3)]
    for reader in readers:
        reader.start()
    for entry in others(8):
        index.forget(entry.id)
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert min(counts) == 6
    assert index.stats()["documents"] == 53


def test_every_form_of_storing_is_seen_through(tmp_path: Path) -> None:
    plain = f"antes {SECRET} depois".encode()
    table = pa.table({"x": [["a", f"veja: {SECRET}"]], "y": [{"z": 1}]})
    hidden = {
        "plain.txt": plain,
        "utf16.txt": f"\ufeff{SECRET}".encode("utf-16-le"),
        "utf16be.txt": SECRET.encode("utf-16-be"),
        "latin.txt": SECRET.encode("latin-1"),
        "escaped.json": json.dumps({"text": SECRET}).encode(),
        "a.gz": gzip.compress(plain),
        "a.bz2": bz2.compress(plain),
        "a.xz": lzma.compress(plain),
        "a.zst": _zstd(plain),
        "nested.gz": gzip.compress(_zip({"inner/doc.xml": plain})),
        "a.docx": _zip({"word/document.xml": plain, "empty.xml": b""}),
    }
    for name, data in hidden.items():
        (tmp_path / name).write_bytes(data)
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    for name, data in {
        "clean.txt": b"nada aqui " * 1000,
        "clean.gz": gzip.compress(b"nada"),
        "broken.gz": b"\x1f\x8bx",
    }.items():
        (tmp_path / name).write_bytes(data)
    found = {path.name for path in contains_text(tmp_path, [SECRET, "Uma frase que não está em lugar nenhum."])}
    assert found == {*hidden, "a.parquet", "a.arrow"}


def test_a_needle_across_the_seam_of_two_blocks_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lavra.retrieval.erase.BLOCK", 64)
    for shift in range(0, 130, 7):
        (tmp_path / "file").write_bytes(b"." * shift + SECRET.encode() + b"." * 50)
        assert contains_text(tmp_path, [SECRET])
        (tmp_path / "file").write_bytes(b"." * shift + SECRET.encode()[:-1] + b"!" + b"." * 50)
        assert not contains_text(tmp_path, [SECRET])


def test_the_byte_search_agrees_with_plain_find() -> None:
    text = " ".join(f"palavra{i % 977} frase{i % 313}" for i in range(20_000))
    data = text.encode()
    for start in range(0, 3_000, 171):
        sentence = text[start : start + 40]
        assert Needles([sentence]).within(data)
        assert not Needles([sentence[:-1] + "\u00a7"]).within(data)


def test_what_cannot_be_read_is_not_vouched_for(tmp_path: Path) -> None:
    import os

    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (tmp_path / "closed").write_text("x")
    (tmp_path / "closed").chmod(0)
    assert contains_text(tmp_path, [SECRET]) == [tmp_path / "closed"]


def _zip(files: dict[str, bytes]) -> bytes:
    import io

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()
