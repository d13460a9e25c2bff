"""A part of the vector index is searched, and that changes neither who finds something nor how many parts there are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hashing_embedder import HashingEmbedder

from lavra.corpus.document import Document
from lavra.retrieval.access import readable_by
from lavra.retrieval.index import Index
from lavra.retrieval.snapshot import Snapshot


def document(number: int, role: str = "public") -> Document:
    text = f"alfa{number} beta{number % 50} gama{number % 9}"
    return Document(source=f"v/{number}", text=text, language="und", roles=(role,))


@pytest.fixture(autouse=True)
def small_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lavra.retrieval.writer.VECTOR_INDEX_ROWS", 1_000)
    monkeypatch.setattr("lavra.retrieval.schema.PARTITION_ROWS", 16)
    monkeypatch.setattr("lavra.retrieval.snapshot.PARTITION_ROWS", 16)
    monkeypatch.setattr("lavra.retrieval.snapshot.MIN_PARTITIONS", 8)


def test_a_reader_of_few_documents_finds_them_in_whichever_lists_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index.open(tmp_path / "index", HashingEmbedder())
    index.update([document(number, "few" if number % 30 == 0 else "many") for number in range(1_500)])
    snapshot, vector = index._snapshot(), index.embedder.queries(["alfa7 beta7"])[0]
    searched: list[int | None] = []
    plain = Snapshot._nearest

    def watched(of: Snapshot, vector: np.ndarray, where: str, limit: int, lists: int | None = None) -> np.ndarray:
        searched.append(lists)
        return plain(of, vector, where, limit, lists)

    monkeypatch.setattr(Snapshot, "_nearest", watched)
    assert len(snapshot.nearest(vector, readable_by({"many"}), 30)) == 50
    assert searched == [31], "a third of some 94 lists is enough for a reader of most"
    assert len(snapshot.nearest(vector, readable_by({"few"}), 30)) == 50 == 1_500 // 30
    assert searched == [31, 31, None]


def test_rows_that_come_in_many_small_updates_do_not_leave_as_many_vector_indexes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lavra.retrieval.writer.MOST_VECTOR_INDEXES", 3)
    index = Index.open(tmp_path / "index", HashingEmbedder())
    counts = []
    for extra in range(6):
        index.update([document(number) for number in range(1_200 + extra)])
        counts.append(index._snapshot().table.index_stats("vector_idx").num_indices)
    assert max(counts) <= 3, counts
    assert index.search("alfa1204", roles=set()).passages[0].source == "v/1204"
