"""The command line as a new user meets it: what it prints, and the exit code."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lavra.cli.run import disk_trouble

LAVRA = [sys.executable, "-c", "from lavra.cli import main; main()"]


def lavra(*arguments: str | Path, cwd: Path, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [*LAVRA, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
    )
    assert result.returncode == code, f"{result.stdout}\n{result.stderr}"
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """An empty workspace."""
    lavra("init", cwd=tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, pulled: Callable[[str], Path]) -> Path:
    """A workspace with one indexed page."""
    pulled("smollm2-135m")
    pulled("e5-small-enpt")
    root = tmp_path_factory.mktemp("ready")
    (root / "docs").mkdir()
    (root / "docs" / "hours.md").write_text(
        "# Opening hours\n\nThe library opens at nine in the morning and closes at eight in the evening.\n"
    )
    lavra("init", cwd=root)
    lavra("ingest", "docs", "--licence", "CC0-1.0", cwd=root)
    lavra("index", cwd=root)
    return root


def test_help_names_every_verb_and_how_to_begin(tmp_path: Path) -> None:
    said = lavra("--help", cwd=tmp_path).stdout
    for word in (
        "init",
        "ingest",
        "index",
        "ask",
        "serve",
        "models",
        "trace",
        "forget",
        "demo",
        "study",
        "store",
        "keys",
    ):
        assert word in said
    assert "Begin with" in said


@pytest.mark.parametrize(
    "verb", ["init", "ingest", "index", "ask", "serve", "demo", "study", "trace", "forget", "status"]
)
def test_every_verb_has_help(verb: str, tmp_path: Path) -> None:
    assert "Usage" in lavra(verb, "-h", cwd=tmp_path).stdout


@pytest.mark.parametrize("arguments", [("ingest", "."), ("index",), ("ask", "x"), ("serve",), ("trace",), ("status",)])
def test_without_a_workspace_it_says_to_make_one(arguments: tuple[str, ...], tmp_path: Path) -> None:
    said = lavra(*arguments, cwd=tmp_path, code=2).stderr
    assert said.startswith("lavra: there is no workspace in")
    assert "run `lavra init` first" in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize(("arguments", "advice"), [(("index",), "lavra ingest"), (("ask", "x"), "lavra ingest")])
def test_out_of_order_it_says_what_comes_first(arguments: tuple[str, ...], advice: str, empty: Path) -> None:
    assert advice in lavra(*arguments, cwd=empty, code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ingest", "a" * 300), "aaa cannot be used (file name too long): choose another place."),
        (("init", "lavra.toml"), "lavra.toml is a file: give a directory for the workspace, or a new name."),
    ],
)
def test_a_place_that_cannot_be_is_one_sentence(arguments: tuple[str, ...], said: str, empty: Path) -> None:
    error = lavra(*arguments, cwd=empty, code=2).stderr
    assert error.startswith("lavra: ")
    assert error.endswith(f"{said}\n")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left"), "the disk is full: free some room"),
        (RuntimeError("lance error: No space left on device (os error 28)"), "the disk is full: free some room"),
        (PermissionError(errno.EACCES, "denied", "a"), "there is no permission for a: "),
        (PermissionError(errno.EACCES, "denied", "draft", None, "kept"), "there is no permission for kept: "),
        (OSError(errno.EROFS, "read-only", "a"), "a may not be written: "),
        (OSError(errno.ELOOP, "loop", "a"), "a cannot be used (too many levels of symbolic links): "),
        (FileNotFoundError(errno.ENOENT, "gone", "a"), None),  # nobody's mistake but ours
        (RuntimeError("shape mismatch"), None),
    ],
)
def test_which_trouble_is_the_users(error: Exception, said: str | None) -> None:
    sentence = disk_trouble(error)
    assert sentence is None if said is None else sentence is not None and sentence.startswith(said)


def test_a_second_init_leaves_the_settings_alone(empty: Path) -> None:
    (empty / "lavra.toml").write_text('name = "mine"\n')
    assert "already" in lavra("init", cwd=empty).stdout
    assert (empty / "lavra.toml").read_text() == 'name = "mine"\n'


def test_nothing_to_read_is_an_error_and_leaves_no_corpus(empty: Path) -> None:
    (empty / "docs").mkdir()
    assert "there are no files" in lavra("ingest", "docs", cwd=empty, code=2).stderr
    (empty / "docs" / "nothing.txt").touch()
    assert "nothing.txt (the file is empty)" in lavra("ingest", "docs", cwd=empty, code=2).stderr
    assert "does not exist" in lavra("ingest", "elsewhere", cwd=empty, code=2).stderr
    assert json.loads(lavra("status", "--json", cwd=empty).stdout)["corpus"] is None
    (empty / "good.txt").write_text("The gate closes at ten in the evening.")
    lavra("ingest", "good.txt", cwd=empty)
    assert "nothing was ingested" in lavra("ingest", "docs", cwd=empty, code=2).stderr
    assert json.loads(lavra("status", "--json", cwd=empty).stdout)["documents"] == 1


def test_every_file_that_is_not_read_is_named_with_a_reason(empty: Path) -> None:
    docs = empty / "docs"
    docs.mkdir()
    (docs / "good.txt").write_bytes("O pregão eletrônico começa às nove horas, no salão.".encode("latin-1"))
    (docs / "empty.txt").touch()
    (docs / "loop").symlink_to(docs)
    (docs / "zip.pdf").write_bytes(b"PK\x05\x06" + bytes(18))
    with (docs / "huge.txt").open("wb") as file:
        file.truncate(300_000_000)
    # Many of one kind, met first, hide none of the others.
    (docs / "a.jsonl").write_text('{"text": "A mesma linha."}\n' * 60 + '{"id": 1}\n' * 60)
    said = lavra("ingest", "docs", cwd=empty).stdout
    assert "2 documents" in said
    assert "\nNot read: 64\n" in said
    assert "\nLeft out, for another has the same text: 59\n" in said
    assert said.count("which is kept") == 5
    for name in ("empty.txt", "loop", "zip.pdf", "huge.txt"):
        (line,) = [line for line in said.splitlines() if f"docs/{name}:" in line]
        assert len(line.split(": ", 1)[1]) > 10
    listed = lavra("status", "--documents", cwd=empty).stdout
    assert "docs/good.txt" in listed


def test_a_question_is_answered_with_place_and_quote(ready: Path) -> None:
    said = lavra("ask", "When does the library open?", cwd=ready).stdout
    assert "nine" in said
    assert "[1] docs/hours.md, Opening hours" in said
    answer = json.loads(lavra("ask", "When does the library open?", "--json", cwd=ready).stdout)
    assert answer["citations"][0]["place"] == "docs/hours.md, Opening hours"
    assert answer["answerable"] is True


@pytest.mark.parametrize(
    ("flag", "value"), [("--temperature", "-1"), ("--top-p", "2"), ("--min-p", "1.5"), ("--max-tokens", "0")]
)
def test_a_setting_out_of_range_is_named(flag: str, value: str, ready: Path) -> None:
    said = lavra("ask", "x", flag, value, cwd=ready, code=2).stderr
    assert flag.strip("-").replace("-", "_") in said


def test_trace_prints_the_pedigree_as_a_tree(ready: Path) -> None:
    said = lavra("trace", "index", cwd=ready, COLUMNS="200").stdout
    assert "corpus: corpus-" in said
    assert "embedder: model-" in said
    assert "CC0-1.0" in said
    assert "index-" in lavra("trace", cwd=ready).stdout
    assert json.loads(lavra("trace", "index", "--json", cwd=ready).stdout)["inputs"][0]["role"] == "corpus"
    assert "no artifact" in lavra("trace", "corpus-0000", cwd=ready, code=2).stderr


def test_the_store_is_verified_and_swept(ready: Path) -> None:
    assert "as they were made" in lavra("store", "verify", cwd=ready).stdout
    assert "nothing to remove" in lavra("store", "gc", "--yes", cwd=ready).stdout


def test_another_embedder_is_refused_with_the_way_out(ready: Path, pulled: Callable[[str], Path]) -> None:
    pulled("minilm-l6")
    settings = (ready / "lavra.toml").read_text()
    try:
        (ready / "lavra.toml").write_text('[models]\nembedder = "minilm-l6"\n')
        said = lavra("index", cwd=ready, code=2).stderr
        assert "e5-small-enpt" in said
        assert "--rebuild" in said
        lavra("index", "--rebuild", cwd=ready)
        asked = lavra("ask", "When does the library open?", cwd=ready)
        assert "docs/hours.md" in asked.stdout + asked.stderr
    finally:
        (ready / "lavra.toml").write_text(settings)
        lavra("index", "--rebuild", cwd=ready)


def test_a_model_is_described_without_being_loaded(tmp_path: Path, pulled: Callable[[str], Path]) -> None:
    pulled("smollm2-135m")
    said = lavra("models", "describe", "smollm2-135m", "--context", "1024", "--batch", "2", cwd=tmp_path).stdout
    for words in ("134.5M parameters", "× 30", "RMSNorm", "2 × 1,024 tokens", "Memory to serve"):
        assert words in said
    found = json.loads(lavra("models", "describe", "smollm2-135m", "--json", cwd=tmp_path).stdout)
    assert found["parameters"]["total"] == 134_515_008
    assert found["cache_bytes_per_token"]["bf16"] == 2 * 30 * 2 * 3 * 64
    said = lavra("models", cwd=tmp_path).stdout
    assert "decoder" in said
    assert "encoder" in said


def test_a_model_that_is_not_here_cannot_be_described_and_says_how_to_get_it(tmp_path: Path) -> None:
    said = lavra("models", "describe", "e5-small", cwd=tmp_path, code=2, LAVRA_HOME=str(tmp_path)).stderr
    assert "fetch it with: lavra models pull e5-small" in said
    said = lavra("models", "describe", "smollm3", cwd=tmp_path, code=2, LAVRA_HOME=str(tmp_path)).stderr
    assert "known models are smollm2-135m" in said or "did you mean" in said


def test_keys_are_shown_once_and_kept_as_hashes(empty: Path) -> None:
    key = lavra("keys", "add", "ana", "--role", "hr", cwd=empty).stdout.strip()
    text = (empty / "lavra.toml").read_text()
    assert key not in text
    assert "# port = 8000" in text, "the comments were lost"
    assert lavra("keys", "list", cwd=empty).stdout.split() == ["ana", "hr"]
    assert "already" in lavra("keys", "add", "ana", cwd=empty, code=2).stderr
    lavra("keys", "remove", "ana", cwd=empty)
    assert lavra("keys", "list", cwd=empty).stdout == ""


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_taken_port_gives_way_to_the_next_and_ctrl_c_stops_cleanly(ready: Path, taken: int) -> None:
    server = subprocess.Popen(
        [*LAVRA, "serve", "--port", str(taken)], cwd=ready, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert server.stdout is not None
        address = ""
        deadline = time.monotonic() + 120
        while "Serving" not in address and time.monotonic() < deadline:
            address = server.stdout.readline()
        port = int(address.split(" at http://127.0.0.1:")[1].split()[0].strip("/"))
        assert port != taken
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=30) as response:
            assert response.status == 200
        server.send_signal(signal.SIGINT)
        rest = server.communicate(timeout=30)[0]
        assert server.returncode in (0, 130)
        assert "Traceback" not in rest
    finally:
        server.kill()


@pytest.mark.slow
def test_ctrl_c_while_ingesting_loses_nothing_and_says_how_to_go_on(empty: Path) -> None:
    docs = empty / "docs"
    docs.mkdir()
    for number in range(4000):
        (docs / f"{number}.md").write_text(f"# Page {number}\n\n" + f"Sentence {number} of many words. " * 40)
    process = subprocess.Popen(
        [*LAVRA, "ingest", "docs"], cwd=empty, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(1.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "run the same command again" in said
    assert "Traceback" not in said
    assert "4000 documents" in lavra("ingest", "docs", cwd=empty).stdout


def test_an_answer_to_a_pipe_that_closes_is_no_error(ready: Path) -> None:
    command = f"{sys.executable} -c 'from lavra.cli import main; main()' models | head -1"
    done = subprocess.run(command, shell=True, cwd=ready, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 900 kB; only root may make one."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(small_disk: Path, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "small.txt").write_text("The gate closes at ten in the evening.")
    lavra("init", cwd=small_disk)
    lavra("ingest", docs / "small.txt", cwd=small_disk)
    before = lavra("status", "--json", cwd=small_disk).stdout
    # Digits of hashes do not compress into the disk.
    (docs / "large.txt").write_text(
        "\n".join(hashlib.sha256(bytes([n % 256, n // 256])).hexdigest() for n in range(60_000))
    )
    assert "the disk is full" in lavra("ingest", docs, cwd=small_disk, code=2).stderr
    assert lavra("status", "--json", cwd=small_disk).stdout == before
    assert "as they were made" in lavra("store", "verify", cwd=small_disk).stdout
