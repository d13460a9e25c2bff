"""The checks of this room fail where they should: what they watch for is planted, and has to be found."""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import fuzz_worker
import model_table
import pytest
import zoo

from lavra.errors import LavraError

HERE = Path(__file__).parent


def sleepy(path: Path, **rest: Any) -> None:
    time.sleep(10)


def wordy(path: Path, **rest: Any) -> NoReturn:
    raise LavraError("one line\nand another")


def careless(path: Path, **rest: Any) -> None:
    {}["gone"]


@pytest.mark.parametrize(
    ("planted", "found"),
    [(sleepy, "took more than"), (wordy, "more than one line"), (careless, "gone")],
    ids=["slow", "two lines", "another error"],
)
def test_the_fuzzer_lets_nothing_pass_but_models_and_one_sentence(
    planted: Callable[..., None], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz_worker, "load_model", planted)
    monkeypatch.setattr(fuzz_worker, "SECONDS", 1)
    before = signal.signal(signal.SIGALRM, fuzz_worker._late)
    try:
        with pytest.raises(Exception, match=found):
            fuzz_worker.load(Path())
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not fuzz_worker.outcomes


PLANTED = """
import os
import torch
import fuzz_worker
import model_table
import lavra.model.safetensors_source as source

cases, files = 0, source._files

def faulty(directory):  # called where a file is opened, deep inside a load
    global cases
    cases += 1
    if cases == 20:
        FAULT
    return files(directory)

source._files = faulty
fuzz_worker.main()
"""


@pytest.mark.parametrize(
    ("fault", "found"),
    [("os.abort()", "Fatal Python error|^$"), ("torch.empty(1 << 30, dtype=torch.uint8)", "can't allocate memory")],
    ids=["crash", "huge allocation"],
)
def test_the_fuzzer_survives_neither_a_crash_nor_a_huge_allocation(fault: str, found: str, tmp_path: Path) -> None:
    zoo.make("llama").save_pretrained(tmp_path / "whole")
    code = PLANTED.replace("FAULT", fault)
    done = subprocess.run(
        [sys.executable, "-c", code, "safetensors", str(tmp_path / "whole"), "40"],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)},
    )
    assert done.returncode != 0
    assert re.search(found, done.stderr)


def seen_on_the_page() -> dict[tuple[str, str], float]:
    """What a run that wrote the table of docs/models.md had recorded, to a power of ten."""
    seen = {}
    for line in model_table.PAGE.read_text("utf-8").splitlines():
        if row := re.match(r"\| `([\w-]+)` \| (.*)", line):
            kind, cells = row[1], row[2].split(" | ")
            kind = f"gguf {kind}" if len(cells) == 1 else kind
            for check, power in re.findall(r"([a-z][a-z ]+) (0|≤ 1e-\d+)", cells[-2] if len(cells) > 1 else cells[0]):
                seen[kind, check] = float(power.removeprefix("≤ "))
    return seen


@pytest.fixture
def quick_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The families' tiny models are made once, not once a table."""
    monkeypatch.setattr(model_table, "config_of", KEPT)


KEPT = functools.cache(model_table.config_of)


@pytest.mark.usefixtures("quick_table")
def test_the_table_of_the_page_is_told_from_a_stale_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = seen_on_the_page()
    assert model_table.whole(seen)
    assert not model_table.stale(seen)
    assert not model_table.stale({**seen, ("llama", "logits"): seen["llama", "logits"] / 10}), "machines differ"
    assert model_table.stale({**seen, ("llama", "logits"): 0.02}), "a family became worse"
    assert model_table.stale({key: value for key, value in seen.items() if key != ("t5", "packed")}), "a check is gone"
    assert model_table.stale({**seen, ("vit", "cache"): 0.0}), "a check is new"
    monkeypatch.setattr(model_table, "summary", lambda config: "a transformer")
    assert model_table.stale(seen), "an architecture is said otherwise"


def test_a_run_of_this_room_fails_where_the_page_is_stale(tmp_path: Path) -> None:
    """A copy of the room, whose only test records what the page says, over a page that says something else."""
    room = tmp_path / "tests" / "model"
    room.mkdir(parents=True)
    (tmp_path / "docs").mkdir()
    page = model_table.PAGE.read_text("utf-8")
    (tmp_path / "docs" / "models.md").write_text(
        page.replace("| `llama` | decoder: ", "| `llama` | encoder: "), "utf-8"
    )
    for name in ("conftest.py", "model_table.py", "zoo.py"):
        shutil.copy(HERE / name, room)
    (room / "test_all.py").write_text(
        f"SEEN = {seen_on_the_page()!r}\n\n\n"
        "def test_all(record):\n    for (kind, check), found in SEEN.items():\n        record(kind, check, found)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(room)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=tmp_path)
    assert done.returncode == 1
    assert "docs/models.md is not what this run saw" in done.stdout
