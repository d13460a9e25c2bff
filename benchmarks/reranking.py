"""What a small reranker, tuned in minutes, brings to a search that it was not tuned for; and what it costs.

    python benchmarks/reranking.py ../shared/data/retrieval WORKSPACE [--questions N] [--candidates 10] [--sets pira-pt]

It learns from three quarters of FaQuAD's questions (Portuguese) and a third of XQuAD's (half of them in English, half
in Spanish), with two mined negatives each, on the default embedder. It is measured on Pirá, whose questions, documents
and subject (the ocean) it has never seen: MRR@10 and recall@5 of the whole search with the shipped fusion, whose best
candidates are put in order by both, for several shares; and the seconds of a question. A second run finds the model
that the first one made in WORKSPACE.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from lavra.corpus.document import PUBLIC
from lavra.inference.classifier import Reranker
from lavra.retrieval.index import Index
from lavra.retrieval.passage import Passage
from lavra.retrieval.reranking import rerank
from lavra.training.progress import TerminalProgress
from lavra.workspace.encoders.reranker import tune_reranker
from lavra.workspace.encoders.settings import EncoderSettings
from lavra.workspace.workspace import Workspace
from question_sets import QuestionSet, load, passage_rank, recall_and_mrr

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
SETTINGS = EncoderSettings(batch=8, epochs=1, window=160, learning_rate=5e-5)


def pairs(data: Path, file: Path) -> int:
    """The questions to learn from, each with the passage that answers it."""
    rows = []
    for name in ("faquad-pt", "xquad-en", "xquad-es"):
        passages = {row["_id"]: row for row in map(json.loads, (data / name / "corpus.jsonl").open(encoding="utf-8"))}
        for number, row in enumerate(map(json.loads, (data / name / "queries.jsonl").open(encoding="utf-8"))):
            taken = number % 4 != 3 if name == "faquad-pt" else number % 6 == (0 if name == "xquad-en" else 3)
            if row["docs"] and taken:
                passage = passages[row["docs"][0]]
                rows.append({"question": row["text"], "passage": passage["text"], "document": passage["title"]})
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return len(rows)


class Remembered:
    """The judge's scores, computed once for all shares."""

    def __init__(self, judge: Reranker) -> None:
        self.judge, self.seconds = judge, 0.0
        self._known: dict[tuple[str, str], float] = {}

    def scores(self, question: str, passages: list[str]) -> np.ndarray:
        new = [text for text in passages if (question, text) not in self._known]
        if new:
            began = time.perf_counter()
            found = self.judge.scores(question, new)
            self.seconds += time.perf_counter() - began
            self._known |= {(question, text): float(score) for text, score in zip(new, found, strict=True)}
        return np.array([self._known[question, text] for text in passages])


def measure(of: QuestionSet, index: Index, judge: Remembered, candidates: int, count: int) -> None:
    asked = [question for question in of.questions if question.passages][:count]
    began = time.perf_counter()
    found: list[tuple[Passage, ...]] = [
        index.search(question.text, roles={PUBLIC}, k=max(10, candidates)).passages for question in asked
    ]
    searching, judge.seconds = (time.perf_counter() - began) / len(asked), 0.0
    print(f"\n{of.name}: {len(asked)} questions, {len(of.texts)} passages; the best {candidates} are read again")
    base = None
    for share in SHARES:
        ranks = []
        for question, passages in zip(asked, found, strict=True):
            best = passages[:candidates]
            ordered = rerank(judge, question.text, best, share=share) if share else best
            ranks.append(passage_rank(question, [p.chunk_id for p in (*ordered, *passages[candidates:])], of))
        recall, mrr = recall_and_mrr(ranks)
        gains = np.where(np.array(ranks) <= 10, 1 / np.array(ranks), 0.0)
        base = gains if base is None else base
        draws = np.random.default_rng(0).integers(len(gains), size=(2000, len(gains)))
        low, high = np.quantile((gains - base)[draws].mean(1), (0.025, 0.975))
        print(
            f"  share {share:4.2f}   MRR@10 {mrr:.3f} ({(gains - base).mean():+.3f}, 95% {low:+.3f} to {high:+.3f})"
            f"   recall@5 {recall:.3f}",
            flush=True,
        )
    print(f"  seconds a question: {searching:.2f} for the search, {judge.seconds / len(asked):.2f} for reading again")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--sets", nargs="*", default=["pira-pt"])
    given = parser.parse_args()
    workspace = Workspace.init(given.workspace)
    file = given.workspace / "pairs.jsonl"
    print(f"{pairs(given.data, file)} questions to learn from")
    began = time.perf_counter()
    tuned = tune_reranker(
        workspace, pairs=file, negatives=2, settings=SETTINGS, tell=lambda job: [TerminalProgress()]
    )  # fmt: skip
    word = "found" if tuned.found else f"tuned in {time.perf_counter() - began:.0f} s"
    print(f"{tuned.artifact.id} ({word}): held out {dict(tuned.before)} -> {dict(tuned.after)}")
    judge = Remembered(Reranker.load(str(tuned.path)))
    for name in given.sets:
        of = load(given.data / name)
        with tempfile.TemporaryDirectory() as place:
            index = Index.open(Path(place), workspace.embedder)
            index.update(of.documents)
            measure(of, index, judge, given.candidates, given.questions)


if __name__ == "__main__":
    main()
