"""The store keeps its promises: whole or not at all, found and not redone, traceable, and nothing removed unasked."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lavra.errors import LavraError
from lavra.store import Draft, Store
from lavra.store import store as store_module


def write(name: str, text: str):
    def build(draft: Draft) -> None:
        (draft.path / name).parent.mkdir(parents=True, exist_ok=True)
        (draft.path / name).write_text(text)
        draft.metrics["characters"] = len(text)
        draft.licences.append("CC0-1.0")

    return build


def never(draft: Draft) -> None:
    raise AssertionError("what was made already is made again")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / ".lavra")


def test_what_was_made_is_found_by_its_inputs_and_recipe_and_not_redone(store: Store) -> None:
    made = store.make("corpus", {}, {"root": "docs"}, write("a/b.txt", "olá"))
    assert (made.path / "a/b.txt").read_text() == "olá"
    assert store.make("corpus", {}, {"root": "docs"}, never).id == made.id
    assert store.make("corpus", {}, {"root": "other"}, write("a/b.txt", "olá")).id != made.id
    assert store.verify() == 2


def test_the_manifest_says_what_how_when_and_at_what_cost(store: Store) -> None:
    corpus = store.make("corpus", {}, {}, write("x", "1"))
    index = store.make("index", {"corpus": corpus.id}, {"chunk_tokens": 200}, write("y", "2"))
    values = json.loads((index.path / "manifest.json").read_text())
    assert values["id"] == index.path.name
    assert values["inputs"] == {"corpus": corpus.id}
    assert values["recipe"] == {"chunk_tokens": 200}
    assert values["licences"] == ["CC0-1.0"]
    assert values["metrics"] == {"characters": 1}
    assert values["code"].startswith("0.")
    assert values["cost"]["seconds"] >= 0
    assert values["cost"].keys() == {"seconds", "cpu_seconds", "energy_joules", "gpu_joules"}


def test_a_build_that_fails_leaves_nothing(store: Store) -> None:
    def fail(draft: Draft) -> None:
        (draft.path / "half").write_text("half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        store.make("corpus", {}, {}, fail)
    assert not list(store.artifacts.iterdir())
    assert not [path for path in store.drafts.iterdir() if path.is_dir()]


def test_an_artifact_changed_by_another_hand_is_named(store: Store) -> None:
    made = store.make("corpus", {}, {}, write("x", "1"))
    (made.path / "x").write_text("2")
    with pytest.raises(LavraError, match=r"x is not what it was"):
        store.verify()


def test_a_manifest_changed_by_another_hand_is_named(store: Store) -> None:
    made = store.make("corpus", {}, {"licence": "none"}, write("x", "1"))
    path = made.path / "manifest.json"
    path.write_text(path.read_text().replace("none", "CC0-1.0"))
    with pytest.raises(LavraError, match="was changed after it was made"):
        store.get(made.id)


@pytest.mark.parametrize("change", ["edit", "remove"])
def test_a_ledger_changed_by_another_hand_is_named(store: Store, change: str) -> None:
    for number in range(3):
        store.make("corpus", {}, {"n": number}, write("x", "1"))
    lines = store.ledger.path.read_text().splitlines(keepends=True)
    if change == "edit":
        lines[1] = lines[1].replace("corpus", "corpse", 1)
    else:
        del lines[1]
    store.ledger.path.write_text("".join(lines))
    with pytest.raises(LavraError, match="line 2 of"):
        store.ledger.verify()


def test_a_ledger_line_cut_short_by_a_kill_is_cut_off_and_the_chain_goes_on(store: Store) -> None:
    store.ledger.append("one")
    with store.ledger.path.open("ab") as file:
        file.write(b'{"event":"tw')
    assert store.ledger.verify() == 1
    store.ledger.append("three")
    assert [record["event"] for record in store.ledger] == ["one", "three"]
    assert store.ledger.verify() == 2


def test_ids_are_found_by_an_unambiguous_beginning_and_refs_by_their_name(store: Store) -> None:
    made = store.make("corpus", {}, {}, write("x", "1"))
    store.set_ref("corpus", made.id)
    assert store.get(made.id[:10]).id == made.id
    assert store.get(made.id.split("-")[1][:6]).id == made.id
    assert store.get("corpus").id == made.id
    with pytest.raises(LavraError, match="no artifact"):
        store.get("index-00")
    with pytest.raises(LavraError, match="no artifact"):
        store.get("../../etc")


def test_a_path_is_no_name(tmp_path: Path) -> None:
    """A model's file may be given where a name may: it is not read as if it held an id."""
    store, model = Store(tmp_path / "store"), tmp_path / "model.bin"
    model.write_bytes(b"E5S1\x80\xff")
    assert store.ref(str(model)) is None
    assert store.ref("../ledger.jsonl") is None


def test_the_pedigree_goes_down_to_the_first_input(store: Store) -> None:
    corpus = store.make("corpus", {}, {}, write("x", "1"))
    model = store.make("model", {}, {}, write("w", "0"))
    index = store.make("index", {"corpus": corpus.id, "embedder": model.id}, {}, write("y", "2"))
    tree = store.trace(index.id)
    assert [(node.role, node.id) for node in tree.inputs] == [("corpus", corpus.id), ("embedder", model.id)]
    assert [artifact.id for artifact in store.made_from(corpus.id)] == [index.id]


def test_garbage_is_what_no_name_needs_and_the_young_are_spared(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = store.make("corpus", {}, {}, write("x", "1"))
    index = store.make("index", {"corpus": corpus.id}, {}, write("y", "2"))
    lost = store.make("index", {"corpus": corpus.id}, {"old": True}, write("y", "3"))
    store.set_ref("index", index.id)
    assert store.garbage().paths == ()
    assert store.garbage().young == (lost.id,)
    monkeypatch.setattr(store_module, "YOUNG", -1)
    garbage = store.garbage()
    assert garbage.paths == (lost.path,)
    assert garbage.bytes > 0
    store.remove(garbage.paths)
    assert {artifact.id for artifact in store.list()} == {corpus.id, index.id}
    assert store.verify() == 2


def test_erasing_removes_files_and_keeps_the_manifest_for_the_pedigree(store: Store) -> None:
    corpus = store.make("corpus", {}, {}, write("x", "a secret"))
    index = store.make("index", {"corpus": corpus.id}, {}, write("y", "2"))
    store.erase(corpus.id, documents=["0123"])
    assert [path.name for path in corpus.path.iterdir()] == ["manifest.json"]
    (node,) = store.trace(index.id).inputs
    assert node.manifest is not None
    assert node.manifest.erased is not None
    assert store.find("corpus", {}, {}) is None
    assert store.verify() == 2


_MAKER = """
import sys
from pathlib import Path
from lavra.store import Store
store = Store(Path(sys.argv[1]))
print("ready", flush=True)
def build(draft):
    for part in range(20):
        (draft.path / f"part{part}").write_bytes(bytes([part]) * 20000)
for number in range(int(sys.argv[2]), 10**9):
    made = store.make("corpus", {}, {"number": number}, build)
    store.set_ref(f"n{number % 5}", made.id)
    print(number, flush=True)
"""


def _making(root: Path, first: int) -> subprocess.Popen[bytes]:
    """A process that makes one artifact after the other, and has begun."""
    process = subprocess.Popen([sys.executable, "-c", _MAKER, str(root), str(first)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.slow
def test_fifty_kills_at_random_moments_leave_a_valid_store(tmp_path: Path) -> None:
    root, chance = tmp_path / ".lavra", random.Random(7)
    with _making(root, 50_000) as process:
        assert process.stdout is not None
        began = time.monotonic()
        for _ in range(5):
            process.stdout.readline()
        one = (time.monotonic() - began) / 5  # seconds an artifact takes: the machine may be slow, or busy
        process.kill()
    for kill in range(50):
        with _making(root, kill * 1000) as process:
            time.sleep(chance.uniform(0, 5 * one))
            process.kill()
        store = Store(root)
        for artifact in store.list():
            assert len(artifact.manifest.files) == 20
        for ref in store.refs.iterdir():
            if not ref.name.startswith("."):
                store.get(ref.name)
    count = store.verify()
    assert count > 10, "the kills came before anything was made"
    assert store.make("corpus", {}, {"after": "all"}, write("x", "1")).path.is_dir()
    drafts = [path for path in store.garbage().paths if path.parent == store.drafts]
    assert drafts, "no kill hit while an artifact was being made"
    store.remove(drafts)
    assert store.verify() == count + 1


def _make_many(root: str, first: int) -> None:
    store = Store(Path(root))
    for number in range(first, first + 20):
        store.make("corpus", {}, {"number": number}, write("x", str(number)))
        store.set_ref("latest", store.make("index", {}, {"number": number}, write("y", "same")).id)


def test_processes_write_at_once_without_loss_or_double(tmp_path: Path) -> None:
    root = tmp_path / ".lavra"
    context = multiprocessing.get_context("fork")
    makers = [context.Process(target=_make_many, args=(str(root), first)) for first in (0, 10, 10)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
        assert maker.exitcode == 0
    store = Store(root)
    assert sorted(artifact.manifest.recipe["number"] for artifact in store.list("corpus")) == list(range(30))
    assert store.verify() == 60


def test_the_draft_of_a_living_process_is_not_garbage(store: Store) -> None:
    (store.drafts / f"{os.getpid()}-abc").mkdir()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (store.drafts / f"{dead.pid}-abc").mkdir()
    assert [path.name for path in store.garbage().paths] == [f"{dead.pid}-abc"]
