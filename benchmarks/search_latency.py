"""Search among 100,000 chunks behind a role filter: how long, how much CPU, and how exact is the dense half?

    python benchmarks/search_latency.py [--corpus ../shared/data/corpus/corpus.parquet] [--index DIR]

The chunks are real (manuals, man pages and help pages in Portuguese, Spanish, English and others), cut, analysed and
written by ``Index.update``; twenty roles, one to three of them on each document, and a reader with two: some 16% of
the chunks may be read. The first ``--embedded`` texts (chunks and their sentences) have real vectors; each of the
others lies between the vector of one of those and of one of its ten nearest neighbours (as SMOTE does), which keeps
the clusters, the narrow cone and the local dimension of the embedder's space, and saves an hour. Questions: the
retrieval sets' own, and sentences of the chunks.

In one run, over the same table and the same questions:

- ``lavra``: ``Index.search``, with the question's embedding and without it;
- ``hybrid``: LanceDB's own hybrid query with reciprocal-rank fusion, and the same filter;
- ``flat``: LanceDB comparing every vector, and ``numpy``: a product with all vectors in memory (dense half alone).

CPU time is the whole process's (``getrusage``), so all threads count. Recall@10 is the dense half's against an
exact search over the chunks that the reader may read.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lavra.corpus.document import Document
from lavra.inference.embedder import Embedder
from lavra.retrieval.access import readable_by, readers
from lavra.retrieval.analysis import analyse_query
from lavra.retrieval.candidates import SCORED, Candidate, find_candidates
from lavra.retrieval.chunking import split
from lavra.retrieval.index import Index
from lavra.retrieval.record import Record
from lavra.retrieval.snapshot import matrix

ROLES = [f"department {number}" for number in range(20)]
K = 10
LANGUAGES = {"pt", "es", "en", "de", "it", "fr"}


class Blending:
    """An embedder whose first ``real`` documents are embedded, and the rest put between those."""

    def __init__(self, embedder: Embedder, real: int) -> None:
        self.name, self.dimension, self.sha256 = embedder.name, embedder.dimension, embedder.sha256
        self.queries = embedder.queries
        self._embedder, self._real = embedder, real
        self._vectors: list[np.ndarray] = []
        self._random = np.random.default_rng(0)
        self._pool: np.ndarray | None = None

    def documents(self, texts: Sequence[str]) -> np.ndarray:
        have = sum(map(len, self._vectors))
        if have < self._real:
            self._vectors.append(self._embedder.documents(texts))
            return self._vectors[-1]
        if self._pool is None:
            self._pool = np.concatenate(self._vectors)
            near = np.argpartition(-(self._pool @ self._pool.T), 11, axis=1)[:, :11]
            self._near = near
        one = self._random.integers(0, len(self._pool), len(texts))
        other = self._near[one, self._random.integers(0, 11, len(texts))]
        share = self._random.random((len(texts), 1), dtype=np.float32)
        between = share * self._pool[one] + (1 - share) * self._pool[other]
        return between / np.linalg.norm(between, axis=1, keepdims=True)


def documents(corpus: Path, chunks: int) -> Iterator[Document]:
    """Real documents in random order until they make ``chunks`` chunks, each for one to three roles."""
    import pyarrow.parquet as pq

    random_ = random.Random(0)
    rows = pq.read_table(corpus).to_pylist()
    random_.shuffle(rows)
    made = 0
    for row in rows:
        language = (row["lang"] or "und")[:2]
        roles = tuple(random_.sample(ROLES, random_.choice([1, 1, 2, 3])))
        document = Document(
            source=row["id"],
            text=row["text"],
            title=Path(row["path"]).stem,
            language=language if language in LANGUAGES else "und",
            roles=roles,
        )
        made += len(split(document))
        if made > chunks:
            return
        yield document


def questions(sets: Path, index: Index, count: int) -> list[str]:
    """Half of them people's questions, half of them sentences of the chunks."""
    asked = []
    for name in ("faquad-pt", "pira-en", "xquad-es"):
        path = sets / name / "queries.jsonl"
        if path.exists():
            asked += [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
    packed = index._snapshot().read(["record"])["record"].to_pylist()
    said = [Record(each).passage().text.replace("\n", " ")[:90].rsplit(" ", 1)[0] for each in packed]
    random_ = random.Random(1)
    half = random_.sample(asked, min(count // 2, len(asked)))
    return [*half, *random_.sample(said, count - len(half))]


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(
    name: str, run: Callable[[int], Any], count: int, recall: Callable[[int, Any], float] | None = None
) -> None:
    for number in range(min(10, count)):
        run(number)
    wall, spent, recalls = [], [], []
    for number in range(count):
        before, started = cpu(), time.perf_counter()
        result = run(number)
        wall.append(time.perf_counter() - started)
        spent.append(cpu() - before)
        if recall is not None:
            recalls.append(recall(number, result))
    figures = [1000 * np.quantile(times, q) for times in (wall, spent) for q in (0.5, 0.95)]
    exact = f"{np.mean(recalls):10.3f}" if recalls else ""
    print(f"{name:44}" + "".join(f"{figure:10.1f}" for figure in figures) + exact, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("../shared/data/corpus/corpus.parquet"))
    parser.add_argument("--sets", type=Path, default=Path("../shared/data/retrieval"))
    parser.add_argument("--index", type=Path, help="keep the index here, and use it if it is there already")
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--embedded", type=int, default=8_000)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--embedder", default="e5-small-enpt")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as place:
        embedder = Embedder.load(arguments.embedder)
        index = Index.open(arguments.index or Path(place), Blending(embedder, arguments.embedded))
        if index.stats()["chunks"] == 0:
            report = index.update(documents(arguments.corpus, arguments.chunks))
            print(f"indexed {report.chunks} chunks of {report.added} documents in {report.seconds:.0f} s")
        compare(index, embedder, questions(arguments.sets, index, arguments.questions))


def compare(index: Index, embedder: Embedder, asked: list[str]) -> None:
    count = len(asked)
    snapshot = index._snapshot()
    table = snapshot.table
    columns = snapshot.read(["chunk_id", "access", "vector"])
    vectors = matrix(columns["vector"])
    ids = np.array(columns["chunk_id"].to_pylist())
    access = columns["access"].to_pylist()
    random_ = random.Random(2)
    readers_roles = [frozenset(random_.sample(ROLES, 2)) for _ in range(8)]
    masks = [
        np.array([not wanted.isdisjoint(each) for each in access]) for wanted in map(set, map(readers, readers_roles))
    ]
    roles = [readers_roles[number % 8] for number in range(count)]
    may_read = [masks[number % 8] for number in range(count)]
    where = [readable_by(each) for each in roles]
    queries = np.concatenate([embedder.queries([question]) for question in asked])
    languages = snapshot.languages()
    stems = [analyse_query(question, corpus_languages=languages) for question in asked]
    known = dict(zip(asked, queries, strict=True))

    def exact(number: int) -> np.ndarray:
        similarity = np.where(may_read[number], vectors @ queries[number], -2.0)
        best = np.argpartition(-similarity, K)[:K]
        return best[np.argsort(-similarity[best])]

    truth = [set(ids[exact(number)]) for number in range(count)]

    def recall(number: int, found: Any) -> float:
        return len(truth[number] & set(found["chunk_id"].to_pylist()[:K])) / K

    def dense(number: int) -> list[Candidate]:
        return find_candidates(snapshot, "", queries[number], where[number])

    def dense_recall(number: int, found: list[Candidate]) -> float:
        return len(truth[number] & {candidate.chunk_id for candidate in found[:K]}) / K

    print(f"\n{platform.processor() or platform.machine()}, {len(ids)} chunks, {vectors.shape[1]} dimensions, ", end="")
    print(f"{100 * np.mean([mask.mean() for mask in masks]):.0f}% of them readable, {count} questions; milliseconds")
    print(" " * 44 + "".join(f"{head:>10}" for head in ("wall p50", "p95", "CPU p50", "p95", "recall@10")))

    measure("the question's embedding", lambda n: embedder.queries([asked[n]]), count)
    measure("lavra: search, with its embedding", lambda n: index.search(asked[n], roles=roles[n]), count)
    embedding = index.embedder.queries
    index.embedder.queries = lambda texts: np.stack([known[text] for text in texts])  # type: ignore[method-assign]
    measure("lavra: search, embedding given", lambda n: index.search(asked[n], roles=roles[n]), count)
    index.embedder.queries = embedding  # type: ignore[method-assign]
    measure("lavra: dense half", dense, count, dense_recall)
    measure("lavra: lexical half", lambda n: snapshot.lexical(stems[n], where[n], SCORED), count)

    def hybrid(number: int) -> Any:
        query = table.search(query_type="hybrid", vector_column_name="vector", fts_columns="analysed")
        query = query.vector(queries[number]).text(stems[number] or "-").distance_type("cosine").refine_factor(4)
        return query.where(where[number], prefilter=True).limit(50).to_arrow()

    def flat(number: int) -> Any:
        query = table.search(queries[number], vector_column_name="vector").distance_type("cosine")
        query = query.where(where[number], prefilter=True).bypass_vector_index()
        return query.select(["chunk_id", "_distance"]).limit(50).to_arrow()

    measure("LanceDB: hybrid, its own fusion", hybrid, count)
    measure("LanceDB: dense half, every vector compared", flat, count, recall)
    measure("NumPy: dense half, vectors in memory", exact, count)


if __name__ == "__main__":
    main()
