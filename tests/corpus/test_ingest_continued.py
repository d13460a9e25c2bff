"""An ingest that was killed, stopped or had no room left goes on where it stood, and gives the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from dump_files import PARAGRAPH, http, page, warc

from lavra.corpus import continuing
from lavra.corpus.document import Document
from lavra.corpus.ingest import build_corpus
from lavra.corpus.reached import Reached
from lavra.corpus.settings import ReadSettings

SCRIPT = """
import os, signal, sys
from pathlib import Path
from lavra.corpus import assembly, continuing
from lavra.corpus.ingest import build_corpus
from lavra.corpus.settings import ReadSettings
continuing._CHARACTERS = 2_000
place, out, work, last = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
detect, count = assembly.detect_language, 0
def counted(*given):
    global count
    count += 1
    if count == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return detect(*given)
assembly.detect_language = counted
build_corpus([place / "docs", place / "more"], ReadSettings(workers=2), place / out, work=place / work)
print(count)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files, files of records with names that come again, a crawl, what cannot be read; and what becomes of it all."""
    place = tmp_path_factory.mktemp("place")
    for folder in ("docs/a", "docs/b", "more"):
        (place / folder).mkdir(parents=True)
    for number in range(12):
        (place / "docs/a" / f"{number}.md").write_text(f"# Nota {number}\n\n{PARAGRAPH} {number % 10}")
    rows = [{"id": n % 20, "text": f"Linha {n - n % 5}: {PARAGRAPH}"} for n in range(60)]
    lines = [json.dumps(row) for row in rows]
    lines[30:30] = ["{"] * 3
    (place / "docs/b/rows.jsonl").write_text("\n".join(lines))
    pages = [warc("response", f"http://a/{n % 6}", http(page(f"Página {n}"))) for n in range(12)]
    (place / "docs/b/z.warc").write_bytes(b"".join(pages))
    (place / "docs/b/broken.pdf").write_bytes(b"%PDF-1.7\n1 0 obj\n<< /Type")
    (place / "more/last.md").write_text("Por fim.")
    assert run(place, "whole", "work-whole") == 73
    return place


def run(place: Path, out: str, work: str, last: int = 0) -> int:
    command = [sys.executable, "-c", SCRIPT, str(place), out, work, str(last)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return int(done.stdout) if done.returncode == 0 else -1


def files(place: Path, out: str) -> dict[str, bytes]:
    return {name: (place / out / name).read_bytes() for name in ("documents.parquet", "skipped.parquet")}


@pytest.mark.parametrize("last", [34])
def test_a_killed_ingest_goes_on_where_it_stood(place: Path, last: int) -> None:
    work = f"work-{last}"
    assert run(place, f"out-{last}", work, last) == -1
    stretches = {path.name: path.stat().st_mtime_ns for path in (place / work).glob("*.parquet")}
    assert stretches
    read = run(place, f"out-{last}", work)
    assert read <= 73 - last + 20  # a stretch is about twelve documents, and some are under way
    assert all((place / work / name).stat().st_mtime_ns == at for name, at in stretches.items())
    assert files(place, f"out-{last}") == files(place, "whole")


def test_one_that_was_killed_again_and_again_ends_all_the_same(place: Path) -> None:
    for _ in range(20):
        if run(place, "often", "work-often", 45) != -1:
            break
    assert files(place, "often") == files(place, "whole")


def test_one_that_is_interrupted_keeps_all_that_was_read(place: Path, tmp_path: Path) -> None:
    def stop(reached: Reached) -> None:
        if reached.label.endswith("last.md"):
            raise KeyboardInterrupt

    roots = [place / "docs", place / "more"]
    with pytest.raises(KeyboardInterrupt):
        build_corpus(roots, ReadSettings(), tmp_path / "out", work=tmp_path / "work", progress=stop)
    assert continuing.Stretches(tmp_path / "work").place.entries == 15
    assert list((tmp_path / "out").iterdir()) == []
    calls: list[int] = []
    build_corpus(
        roots,
        ReadSettings(),
        tmp_path / "out",
        work=tmp_path / "work",
        progress=lambda reached: calls.append(reached.files),
    )
    assert calls == [15, 16]
    assert files(tmp_path, "out") == files(place, "whole")


def test_what_was_erased_is_not_kept_for_later_either(place: Path, tmp_path: Path) -> None:
    def stop(reached: Reached) -> None:
        if reached.files == 5:
            raise KeyboardInterrupt

    erased = Document("docs/a/1.md", "").id
    with pytest.raises(KeyboardInterrupt):
        build_corpus(
            *([place / "docs"], ReadSettings(forgotten=frozenset({erased})), tmp_path / "out"),
            work=tmp_path / "work",
            progress=stop,
        )
    kept = dict(item for _, item in _named(tmp_path / "work"))
    assert kept.pop("docs/a/1.md") == "forgotten"
    assert set(kept.values()) == {"read"}


def _named(work: Path) -> list[tuple[str, tuple[str, str]]]:
    found = continuing.Stretches(work).kept()
    return [(label, (item.source, getattr(item, "kind", "read"))) for label, item in found]


def lavra(*arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lavra", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **more})


def test_a_full_disk_is_said_and_what_was_read_is_kept(tmp_path: Path) -> None:
    """Four files of 3 MB that do not pack, on a disk of 9 MB: then on one with room."""
    disk, source = tmp_path / "disk", tmp_path / "docs"
    disk.mkdir()
    source.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=9m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        for number in range(4):
            text = os.urandom(1_500_000).hex()
            (source / f"{number}.txt").write_text("\n".join(text[at : at + 80] for at in range(0, len(text), 80)))
        assert lavra("init", disk / "ws").returncode == 0
        few = {"PYTHONPATH": str(tmp_path / "hook")}
        (tmp_path / "hook").mkdir()
        (tmp_path / "hook/sitecustomize.py").write_text("import lavra.corpus.continuing as c; c._CHARACTERS = 1000000")
        stopped = lavra("ingest", source, "-w", disk / "ws", **few)
        assert stopped.returncode == 2
        assert stopped.stderr.strip().endswith(
            "lavra: the disk is full: free some room and run the same command again; what was finished is kept."
        )
        assert list((disk / "ws/.lavra/ingesting").rglob("*.parquet"))
        assert not list((disk / "ws/.lavra/artifacts").iterdir())
        subprocess.run(["mount", "-o", "remount,size=60m", str(disk)], check=True)
        done = lavra("ingest", source, "-w", disk / "ws", **few)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("4 documents, ")
        first = next(line for line in done.stderr.splitlines() if line.startswith("Reading files: "))
        assert not first.startswith(("Reading files: 0 of", "Reading files: 0.0 of"))
        assert not (disk / "ws/.lavra/ingesting").exists()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
