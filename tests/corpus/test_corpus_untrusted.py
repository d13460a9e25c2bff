"""A folder as a new user has it: everything that cannot be read is named with its reason, and the rest goes on."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
import zlib
from pathlib import Path

import corpus_files as files
import psutil
import pytest

from lavra.corpus.detect import by_name
from lavra.corpus.document import Document
from lavra.corpus.ingest import build_corpus
from lavra.corpus.parts import Unreadable
from lavra.corpus.pool import Pool
from lavra.corpus.reading import Skipped, read_bytes, read_paths
from lavra.corpus.settings import ReadSettings


def read(folder: Path, **settings: object) -> tuple[dict[str, Document], dict[str, Skipped]]:
    found = list(read_paths([folder], ReadSettings(**settings)))  # type: ignore[arg-type]
    documents = {d.source.partition("/")[2]: d for d in found if isinstance(d, Document)}
    skipped = {s.source.partition("/")[2]: s for s in found if isinstance(s, Skipped)}
    return documents, skipped


def test_a_folder_as_a_new_user_has_it(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "scanned.pdf").write_bytes(files.scanned_pdf())
    (folder / "locked.pdf").write_bytes(files.pdf("segredo", password="senha"))
    with open(folder / "huge.txt", "wb") as huge:
        huge.truncate(300_000_000)  # sparse: nobody may read it to find out
        huge.seek(0)
        huge.write(b"texto " * 2000)
    (folder / "renamed.pdf").write_bytes(files.zipped({"a.txt": b"texto"}))
    (folder / "latin1.txt").write_bytes("Licitação: não há exceção à regra.".encode("latin-1"))
    (folder / "empty.md").touch()
    (folder / "blank.md").write_text(" \n\n \n")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "self").symlink_to(folder / "self")
    (folder / "outside.txt").symlink_to("/etc/passwd")
    (folder / "nowhere.txt").symlink_to(folder / "gone.txt")
    (folder / "twice.txt").symlink_to(folder / "latin1.txt")
    os.mkfifo(folder / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket.txt"))
        (folder / "photo.txt").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
        (folder / "noise.dat").write_bytes(bytes(range(256)) * 10)
        (folder / "cut.docx").write_bytes(files.docx(tmp_path / "whole.docx").read_bytes()[:9000])
        (folder / "cut.pdf").write_bytes(b"%PDF-1.7\n1 0 obj\n<< /Type")
        (folder / "letter.docx").write_text("isto não é um documento do Word")
        (folder / "old.doc").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600)
        (folder / "locked.xlsx").write_bytes(
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600 + "EncryptedPackage".encode("utf-16-le")
        )
        (folder / "pdf without extension").write_bytes(files.pdf("um PDF sem extensão"))
        (folder / "good.md").write_text("# Bom\n\nTexto.", encoding="utf-8")
        began = time.monotonic()
        documents, skipped = read(folder)
    assert time.monotonic() - began < 20
    assert {name: s.kind for name, s in skipped.items()} == {
        "scanned.pdf": "scanned",
        "locked.pdf": "encrypted",
        "huge.txt": "too_large",
        "renamed.pdf": "mismatch",
        "empty.md": "empty",
        "blank.md": "empty",
        "loop": "link",
        "self": "link",
        "outside.txt": "link",
        "nowhere.txt": "link",
        "twice.txt": "link",
        "pipe.txt": "special",
        "socket.txt": "special",
        "photo.txt": "unsupported",
        "noise.dat": "unsupported",
        "cut.docx": "corrupt",
        "cut.pdf": "corrupt",
        "letter.docx": "mismatch",
        "old.doc": "unsupported",
        "locked.xlsx": "encrypted",
    }
    assert set(documents) == {"latin1.txt", "pdf without extension", "good.md"}
    assert documents["latin1.txt"].text == "Licitação: não há exceção à regra."
    assert documents["pdf without extension"].format == "pdf"
    reasons = {name: s.reason for name, s in skipped.items()}
    assert "no text layer" in reasons["scanned.pdf"]
    assert "OCR" in reasons["scanned.pdf"]
    assert "password" in reasons["locked.pdf"]
    assert "300 MB, over the limit of 64 MB" in reasons["huge.txt"]
    assert "`max_megabytes`" in reasons["huge.txt"]
    assert reasons["renamed.pdf"] == "it is named as a PDF file but its content is a zip archive"
    assert "loop" in reasons["loop"]
    assert "leaves the folder" in reasons["outside.txt"]


def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    (folder / "closed").mkdir(parents=True)
    for name in ("open.md", "locked.md", "closed/inside.md"):
        (folder / name).write_text(f"Texto de {name}")
    (folder / "locked.md").chmod(0)
    (folder / "closed").chmod(0)
    script = (
        "import os, sys\n"
        "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "from pathlib import Path\n"
        "from lavra.corpus.reading import read_paths\n"
        "from lavra.corpus.settings import ReadSettings\n"
        "for item in read_paths([Path(sys.argv[1])], ReadSettings(language='pt')):\n"
        "    print(item.source, getattr(item, 'kind', 'read'))\n"
    )
    try:
        for above in (tmp_path, *tmp_path.parents[:2]):
            above.chmod(above.stat().st_mode | 0o055)
        # The rooms must be imported before the privileges go: the package may lie where nobody may look.
        script = script.replace("import os, sys\n", "import os, sys\nimport lavra.corpus.reading\n", 1)
        script = script.replace(
            "if os.getuid", "import lavra.corpus.readers.markdown, markdown_it, yaml\nif os.getuid", 1
        )
        done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, timeout=60)
    finally:
        (folder / "closed").chmod(0o755)
    if "Permission denied: '/" in done.stderr:
        pytest.skip("another user may not even see the interpreter's files here")
    assert sorted(done.stdout.split("\n")[:-1]) == [
        "docs/closed/ permission",
        "docs/locked.md permission",
        "docs/open.md read",
    ], done.stderr


def test_a_zip_bomb_is_refused_without_unpacking_it(tmp_path: Path) -> None:
    big = b"\x00" * 300_000_000
    members = {"[Content_Types].xml": b"<Types/>", "word/document.xml": big}
    bomb = files.zipped(members)
    assert len(bomb) < 400_000
    began = time.monotonic()
    (skipped,) = read_bytes("bomb.docx", bomb, ReadSettings())
    assert isinstance(skipped, Skipped)
    assert (skipped.kind, time.monotonic() - began < 2) == ("too_large", True)
    assert "unpack to 300 MB" in skipped.reason


def test_a_zip_of_very_many_files_is_refused() -> None:
    many = files.zipped({f"word/{i}": b"" for i in range(300)} | {"[Content_Types].xml": b""}, deflate=False)
    (skipped,) = read_bytes("a.docx", many, ReadSettings(max_members=100))
    assert isinstance(skipped, Skipped)
    assert skipped.kind == "too_large"


def test_a_pdf_stream_that_inflates_without_end_harms_only_its_worker(tmp_path: Path) -> None:
    """200 kB of deflated operators become 200 MB of page content."""
    content = zlib.compress(b"BT /F1 9 Tf (a) Tj ET " * 9_000_000, 9)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>",
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(content), content),
    ]
    body = b"%PDF-1.4\n" + b"".join(b"%d 0 obj\n%s\nendobj\n" % (i, o) for i, o in enumerate(objects, 1))
    (tmp_path / "bomb.pdf").write_bytes(body + b"trailer << /Root 1 0 R /Size 5 >>\n%%EOF")
    (tmp_path / "good.pdf").write_bytes(files.pdf("um texto bom"))
    documents, skipped = read(tmp_path, seconds_per_file=3, worker_megabytes=700)
    assert documents["good.pdf"].text == "um texto bom"
    assert set(documents) | set(skipped) == {"bomb.pdf", "good.pdf"}


def test_a_million_pages_are_refused(tmp_path: Path) -> None:
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1000000 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>",
    ]
    body = b"%PDF-1.4\n" + b"".join(b"%d 0 obj\n%s\nendobj\n" % (i, o) for i, o in enumerate(objects, 1))
    data = body + b"trailer << /Root 1 0 R /Size 4 >>\n%%EOF"
    (skipped,) = read_bytes("a.pdf", data, ReadSettings(seconds_per_file=20))
    assert isinstance(skipped, Skipped)
    assert skipped.kind == "too_large"
    assert "`max_pages`" in skipped.reason


def test_html_nested_without_end_is_read_or_named(tmp_path: Path) -> None:
    data = b"<html><body>" + b"<div>" * 200_000 + b"fundo" + b"</div>" * 200_000
    (found,) = read_bytes("a.html", data, ReadSettings(seconds_per_file=20))
    assert isinstance(found, (Document, Skipped))


def test_xml_entities_and_external_files_are_never_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("SEGREDO DO SERVIDOR")
    doctype = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{tmp_path}/secret">]>'
    epub = files.epub(["<p>texto do capítulo</p>"])
    inside = files.odt("<text:p>texto &e;</text:p>")
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(inside)) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    members["content.xml"] = doctype.encode() + members["content.xml"]
    for name, data in (("a.odt", files.zipped(members)), ("a.epub", epub)):
        for found in read_bytes(name, data, ReadSettings()):
            assert "SEGREDO" not in getattr(found, "text", "")


def test_an_epub_cannot_reach_outside_itself(tmp_path: Path) -> None:
    data = files.epub(["<p>a</p>"]).replace(b"text/c0.xhtml", b"../../../etc")
    (found,) = read_bytes("a.epub", data, ReadSettings())
    assert isinstance(found, Skipped)


@pytest.fixture
def bad_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In workers, the name of a text file decides what goes wrong in its reader."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(
        "import os, signal, time\n"
        "def read(data, name, settings):\n"
        "    from lavra.corpus.parts import Parts\n"
        "    if 'crash' in name: os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    if 'exit' in name: os._exit(3)\n"
        "    if 'hang' in name: time.sleep(60)\n"
        "    if 'spin' in name:\n"
        "        while True: pass\n"
        "    if 'memory' in name: bytearray(3 << 30)\n"
        "    if 'bug' in name: raise ZeroDivisionError('by zero')\n"
        "    if 'print' in name: print('noise' * 1000, flush=True); os.write(1, b'noise')\n"
        "    return [Parts(data.decode())]\n"
        "import sys, types\n"
        "module = types.ModuleType('lavra.corpus.readers.html'); module.read = read\n"
        "sys.modules['lavra.corpus.readers.html'] = module\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hook"))


@pytest.mark.usefixtures("bad_reader")
def test_a_reader_that_crashes_hangs_or_eats_memory_loses_its_own_file_only(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("a", "bug", "crash", "d", "exit", "f", "hang", "h", "memory", "print", "spin", "z"):
        (folder / f"{name}.html").write_text(f"<html>o texto de {name}</html>")
    documents, skipped = read(folder, seconds_per_file=3, worker_megabytes=1024, workers=2)
    assert {name.removesuffix(".html"): s.kind for name, s in skipped.items()} == {
        "bug": "corrupt",
        "crash": "crashed",
        "exit": "crashed",
        "hang": "timeout",
        "memory": "memory",
        "spin": "timeout",
    }
    assert [name.removesuffix(".html") for name in documents] == ["a", "d", "f", "h", "print", "z"]
    assert "SIGSEGV" in skipped["crash.html"].reason
    assert "`seconds_per_file`" in skipped["hang.html"].reason


def _workers(others: set[psutil.Process]) -> list[psutil.Process]:
    """The processes that this one started, besides those it had."""
    return [child for child in psutil.Process().children() if child not in others]


@pytest.mark.usefixtures("bad_reader")
def test_leaving_early_ends_every_worker(tmp_path: Path) -> None:
    others = set(psutil.Process().children())
    pool = Pool(ReadSettings(seconds_per_file=60, workers=2))
    with pool:
        future = pool.submit("html", "hang.html", data=b"x")
        deadline = time.monotonic() + 10
        while not (children := _workers(others)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert children
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert future.done()
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def test_a_folder_of_light_files_starts_no_process(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.md").write_text(f"# {number}\n\nTexto.")
    others = set(psutil.Process().children())
    for _ in read_paths([tmp_path], ReadSettings()):
        assert not _workers(others)


def test_a_file_that_vanishes_or_is_swapped_while_reading_is_named(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.md").write_text(f"Texto {name}")
    reading = read_paths([tmp_path], ReadSettings())
    first = next(reading)
    assert isinstance(first, Document)
    (tmp_path / "b.md").unlink()
    (tmp_path / "c.md").unlink()
    (tmp_path / "c.md").symlink_to("/etc/passwd")
    rest = list(reading)
    assert [getattr(item, "kind", None) for item in rest] == ["vanished", "link"]


def test_odd_file_names_survive_and_stay_apart(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    names = [b"acentua\xc3\xa7\xc3\xa3o.md", b"latin\xe7.md", b"latin\xe3.md", b"line\nbreak.md", b'quo"te #1 %20.md']
    for name in names:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(b"Texto de " + name.hex().encode())
    documents, skipped = read(folder)
    assert not skipped
    assert len(documents) == len(names)
    assert {"acentuação.md", 'quo"te #1 %20.md'} < set(documents)
    for document in documents.values():
        document.source.encode()  # valid Unicode, or this raises
        assert "\n" not in document.source
    build_corpus([folder], ReadSettings(), tmp_path / "out")


def test_hidden_files_and_other_peoples_code_are_passed_over_and_counted(tmp_path: Path) -> None:
    for name in (".git/config", ".secret.md", "node_modules/a/readme.md", "env/pyvenv.cfg", "env/a.md", "a.md"):
        path = tmp_path / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("texto")
    report = build_corpus([tmp_path / "docs"], ReadSettings(), tmp_path / "out")
    assert (report.kept, report.skipped) == (1, ())
    assert report.ignored == {"hidden": 2, "vendored folders": 2}


def test_records_with_half_characters_and_files_of_no_year_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    record = '{"text": "a\\ud800b", "title": "\\udc00", "\\udc00": "x", "id": "\\ud800", "licence": "\\ud800"}'
    (folder / "a.jsonl").write_text(record)
    (folder / "b.md").write_text("Texto")
    os.utime(folder / "b.md", (2**40, 2**40))
    os.mkdir(os.path.join(os.fsencode(folder), b"pasta\xff"))
    report = build_corpus([folder], ReadSettings(), tmp_path / "out")
    assert report.kept == 2
    root = Path(os.fsdecode(os.path.join(os.fsencode(folder), b"pasta\xff")))
    (root / "c.md").write_text("Texto c")
    assert build_corpus([root], ReadSettings(), tmp_path / "2", previous=tmp_path / "out").kept == 3


def test_damaged_files_of_every_format_are_read_or_named(tmp_path: Path) -> None:
    """Bytes flipped, cut, doubled, at places that a seed chooses: nothing but a document or a reason comes out."""
    whole = {
        "a.pdf": files.pdf("um texto", "outro", outline=("um texto",)),
        "a.docx": files.docx(tmp_path / "a.docx").read_bytes(),
        "a.pptx": files.pptx(tmp_path / "a.pptx").read_bytes(),
        "a.xlsx": files.xlsx(tmp_path / "a.xlsx").read_bytes(),
        "a.epub": files.epub(["<h1>um</h1><p>texto</p>"]),
        "a.odt": files.odt("<text:p>texto</text:p>"),
        "a.html": b"<html><table><tr><td>a<td>b<tr><td colspan=2>c</table><ul><li>d</ul><pre>e</pre></html>",
        "a.ipynb": b'{"cells": [{"cell_type": "markdown", "source": ["# a"]}], "metadata": {"kernelspec": {}}}',
        "a.eml": b"Subject: a\nContent-Type: text/html; charset=x\n\n<p>b</p>",
        "a.md": b"---\ntitle: a\n---\n# b\n\n| a |\n|---|\n| b |\n",
        "a.csv": b'id;text\n1;"a\nb"\n',
        "a.json": b'[{"text": "a", "roles": ["b"]}]',
    }
    chance = random.Random(20260101)
    with Pool(ReadSettings(seconds_per_file=20, workers=2)) as pool:
        futures = []
        for name, data in whole.items():
            for _ in range(12):
                damaged = bytearray(data)
                for _ in range(chance.randint(1, 8)):
                    place = chance.randrange(len(damaged))
                    action = chance.randrange(4)
                    if action == 0:
                        damaged[place] = chance.randrange(256)
                    elif action == 1:
                        damaged[place:place] = damaged[max(0, place - 40) : place]
                    elif action == 2:
                        del damaged[place : place + chance.randrange(1, 40)]
                    elif len(damaged) > 80:
                        damaged = damaged[: max(80, place)]
                kind = "zip" if data.startswith(b"PK") else by_name(name)
                assert kind is not None
                futures.append(pool.submit(kind, name, data=bytes(damaged)))
        kinds = [future.exception() for future in futures]
    assert all(error is None or isinstance(error, Unreadable) for error in kinds)
    assert {error.kind for error in kinds if isinstance(error, Unreadable)} <= {
        "corrupt",
        "empty",
        "encrypted",
        "mismatch",
        "unsupported",
        "too_large",
    }
