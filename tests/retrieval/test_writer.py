"""One writer at a time, killed or not: nothing is lost, nothing is there twice, and searches never notice."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from filelock import FileLock
from hashing_embedder import HashingEmbedder

from lavra.corpus.document import Document
from lavra.errors import LavraError
from lavra.retrieval import updating
from lavra.retrieval.index import Index
from lavra.retrieval.record import Record
from lavra.retrieval.writer import Writer

SPAWN = multiprocessing.get_context("spawn")
"""Not fork: LanceDB's threads do not survive one."""


def document(name: str, revision: int = 0) -> Document:
    text = "\n\n".join(f"O parágrafo {i} de {name}, revisão {revision}, fala de prazos e multas." for i in range(4))
    return Document(source=f"w/{name}", text=text, language="pt")


def rows(index: Index) -> Counter[str]:
    return Counter(index._snapshot().read(["chunk_id"])["chunk_id"].to_pylist())


class SlowEmbedder(HashingEmbedder):
    """Slow enough to be killed at any point of an update."""

    def documents(self, texts):  # type: ignore[no-untyped-def]
        time.sleep(0.01)
        return super().documents(texts)


def update_slowly(root: Path, revision: int, started: Connection) -> None:
    updating.GROUP_CHUNKS = 8
    index = Index.open(root, SlowEmbedder())
    started.send(True)
    index.update([document(f"d{i}", revision) for i in range(60)])


def test_an_update_killed_at_any_moment_is_finished_by_the_next(tmp_path: Path) -> None:
    root = tmp_path / "index"
    random_ = random.Random(3)
    for revision in range(6):
        parent, child = SPAWN.Pipe()
        process = SPAWN.Process(target=update_slowly, args=(root, revision, child))
        process.start()
        assert parent.poll(60)
        time.sleep(random_.uniform(0.01, 0.5))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()

        index = Index.open(root, HashingEmbedder())
        assert set(rows(index).values()) <= {1}, "a chunk is there twice"
        for found in index.documents(set()):  # each document as it was or as it is to be
            packed = index._snapshot().read(["record"], f"document_id = '{found.document_id}'")["record"].to_pylist()
            texts = [Record(each).passage().text for each in packed]
            assert len({text.split("revisão ")[1].split(",")[0] for text in texts}) == 1
        wanted = [document(f"d{i}", revision) for i in range(60)]
        index.update(wanted)
        assert {found.source for found in index.documents(set())} == {entry.source for entry in wanted}
        assert set(rows(index).values()) == {1}
        assert index.update(wanted).unchanged == 60
        assert index.search(f"d7 revisão {revision}", roles=set()).passages


def forget_slowly(root: Path, document_id: str, started: Connection) -> None:
    index = Index.open(root, HashingEmbedder())
    started.send(True)
    index.forget(document_id)


def test_an_erasure_killed_at_any_moment_can_be_repeated(tmp_path: Path) -> None:
    from lavra.retrieval.erase import contains_text

    root = tmp_path / "index"
    index = Index.open(root, HashingEmbedder())
    index.update([document(f"d{i}") for i in range(300)])
    random_ = random.Random(5)
    for victim in range(4):
        parent, child = SPAWN.Pipe()
        process = SPAWN.Process(target=forget_slowly, args=(root, document(f"d{victim}").id, child))
        process.start()
        assert parent.poll(60)
        time.sleep(random_.uniform(0.0, 0.12))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert index.stats()["documents"] in (300 - victim, 299 - victim)
        index.forget(document(f"d{victim}").id)
        assert index.stats()["documents"] == 299 - victim
        assert contains_text(root, [f"O parágrafo 1 de d{victim}, revisão 0"]) == []
        assert sorted(entry.name for entry in root.glob("*.lance")) == [f"{index._snapshot().settings.table}.lance"]


def write_for_a_while(root: Path, name: str, seconds: float, result: Connection) -> None:
    index = Index.open(root, HashingEmbedder())
    count, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        index.add([document(f"{name}-{count}"), document(f"shared-{count % 5}", count)])
        count += 1
        if count % 10 == 0:
            index._writer.maintain(thoroughly=True)
    result.send(count)


def search_for_a_while(root: Path, seconds: float, result: Connection) -> None:
    index = Index.open(root, HashingEmbedder())
    count, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        passages = index.search("parágrafo sobre prazos e multas", roles=set(), k=20).passages
        assert len({passage.chunk_id for passage in passages}) == len(passages)
        assert len(index.search("the base", roles=set()).passages) > 0
        count += 1
    result.send(count)


def test_two_processes_write_while_two_search(tmp_path: Path) -> None:
    root = tmp_path / "index"
    index = Index.open(root, HashingEmbedder())
    index.add([document("base")])
    seconds = 6.0
    jobs = [(write_for_a_while, (root, name, seconds)) for name in ("a", "b")]
    jobs += [(search_for_a_while, (root, seconds))] * 2  # type: ignore[list-item]
    running = []
    for target, arguments in jobs:
        parent, child = SPAWN.Pipe()
        process = SPAWN.Process(target=target, args=(*arguments, child))
        process.start()
        running.append((process, parent))
    for process, _ in running:
        process.join(120)
        assert process.exitcode == 0
    wrote_a, wrote_b, *searched = [parent.recv() for _, parent in running]
    assert min(wrote_a, wrote_b, *searched) >= 3
    expected = {"w/base"} | {f"w/a-{i}" for i in range(wrote_a)} | {f"w/b-{i}" for i in range(wrote_b)}
    expected |= {f"w/shared-{i}" for i in range(min(5, max(wrote_a, wrote_b)))}
    assert {found.source for found in index.documents(set())} == expected
    assert set(rows(index).values()) == {1}


def test_a_writer_that_waits_too_long_says_for_what(tmp_path: Path) -> None:
    index = Index.open(tmp_path / "index", HashingEmbedder())
    with FileLock(index.root / "commit.lock"), pytest.raises(LavraError, match="another process") as caught:
        Writer(index.root, wait=0.1).remove([document("x").id])
    assert caught.value.status == 503


def test_an_update_that_has_to_wait_says_so(tmp_path: Path) -> None:
    index = Index.open(tmp_path / "index", HashingEmbedder())
    labels: list[str] = []

    def progress(done: int, total: int, label: str) -> None:
        labels.append(label)
        release.set()

    release = threading.Event()
    with index._writer.whole():
        other = Index.open(index.root, HashingEmbedder())
        thread = threading.Thread(target=lambda: other.update([document("a")], progress=progress))
        thread.start()
        assert release.wait(10)
    thread.join()
    assert labels[0] == "waiting for another update to end"
    assert len(index.documents(set())) == 1


def test_an_upload_does_not_wait_for_an_update(tmp_path: Path) -> None:
    index = Index.open(tmp_path / "index", HashingEmbedder())
    with index._writer.whole():
        other = Index.open(index.root, HashingEmbedder())
        assert other.add([document("upload")]).added == 1


def test_what_was_uploaded_during_an_update_stays(tmp_path: Path) -> None:
    index = Index.open(tmp_path / "index", HashingEmbedder())
    index.update([document("old")])
    other = Index.open(index.root, HashingEmbedder())

    def documents():  # type: ignore[no-untyped-def]
        yield document("new")
        other.add([document("upload")])

    index.update(documents())
    assert {found.source for found in index.documents(set())} == {"w/new", "w/upload"}


def test_small_writes_are_tidied_away(tmp_path: Path) -> None:
    index = Index.open(tmp_path / "index", HashingEmbedder())
    for number in range(30):
        index.add([document(f"d{number}")])
    fragments = index._snapshot().table.stats()["fragment_stats"]["num_fragments"]
    assert fragments < 25
    assert len(index.documents(set())) == 30


def test_a_large_table_gets_a_vector_index_and_new_rows_are_found_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lavra.retrieval.writer.VECTOR_INDEX_ROWS", 1_000)
    index = Index.open(tmp_path / "index", HashingEmbedder())
    index.update(
        [Document(source=f"v/{i}", text=f"alfa{i} beta{i % 50} gama{i % 9}", language="und") for i in range(1_500)]
    )
    snapshot = index._snapshot()
    assert snapshot.settings.vectors_trained == 1_500
    assert "vector_idx" in {entry.name for entry in snapshot.table.list_indices()}
    index.add([Document(source="v/new", text="ornitorrinco azul", language="und")])
    assert index.search("ornitorrinco azul", roles=set()).passages[0].source == "v/new"
    assert index.search("alfa77", roles=set()).passages[0].source == "v/77"
    index.forget(document("nothing").id)
    assert index._snapshot().settings.vectors_trained == 1_501
