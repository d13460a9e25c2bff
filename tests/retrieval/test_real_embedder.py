"""The whole search with the real embedder: Portuguese questions, some without accents, find their passages."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lavra.corpus.document import PUBLIC, Document
from lavra.inference.embedder import Embedder
from lavra.retrieval.access import readable_by
from lavra.retrieval.analysis import fold
from lavra.retrieval.candidates import find_candidates
from lavra.retrieval.index import Index
from lavra.retrieval.snapshot import matrix

ROLES = ("ensino", "pesquisa", "extensão", "reitoria")


@pytest.mark.slow
def test_questions_find_their_passages_and_only_those_one_may_read(
    tmp_path: Path, shared: Path, pulled: Callable[[str], Path]
) -> None:
    pulled("e5-small-enpt")
    folder = shared / "retrieval" / "faquad-pt"
    passages = [json.loads(line) for line in (folder / "corpus.jsonl").open(encoding="utf-8")][:40]
    random_ = random.Random(0)
    documents = [
        Document(source=row["_id"], text=row["text"], title=row["title"], language="pt", roles=(random_.choice(ROLES),))
        for row in passages
    ]
    role_of = {document.source: document.roles[0] for document in documents}
    asked = [json.loads(line) for line in (folder / "queries.jsonl").open(encoding="utf-8")]
    asked = [row for row in asked if set(row["docs"]) <= set(role_of)][:12]

    index = Index.open(tmp_path / "index", Embedder.load("e5-small-enpt"))
    index.update(documents)
    for type_it in (str, fold):
        hits = 0
        for row in asked:
            role = role_of[row["docs"][0]]
            found = index.search(type_it(row["text"]), roles={role}, k=5)
            assert all(role_of[passage.source] == role for passage in found.passages)
            hits += any(passage.source in row["docs"] for passage in found.passages)
            stranger = index.search(row["text"], roles=set(ROLES) - {role}, k=5).passages
            assert all(passage.source not in row["docs"] for passage in stranger)
        assert hits / len(asked) >= 0.95

    snapshot = index._snapshot()
    columns = snapshot.read(["chunk_id", "roles", "vector"])
    vectors, ids = matrix(columns["vector"]), np.array(columns["chunk_id"].to_pylist())
    allowed = np.array([role[0] == "ensino" for role in columns["roles"].to_pylist()])
    for row in asked[:10]:
        vector = index.embedder.queries([row["text"]])[0]
        found = [each.chunk_id for each in find_candidates(snapshot, "", vector, readable_by({"ensino"}), depth=10)]
        best = ids[np.argsort(-np.where(allowed, vectors @ vector, -2.0))[:10]]
        assert set(found) == set(best.tolist())
    assert index.search(asked[0]["text"], roles={PUBLIC}).passages == ()
