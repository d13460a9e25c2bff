"""How well the support of a sentence tells its source: the threshold of ``assistants/citing.py``, measured.

For each question of Pirá (answers written by people in their own words) the human answer is compared with the passage
it was written from and with the passages of four other questions of the same subject, found by BM25. A useful
threshold accepts the first and rejects the others. Both languages; the threshold that ships was chosen on the
validation half (even questions) and is judged on the other.

    python benchmarks/citations.py [--data ../shared/data/retrieval]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from rank_bm25 import BM25Okapi

from lavra.assistants.citing import SUPPORT, Sources
from lavra.retrieval.analysis import analyse


def load(folder: Path) -> tuple[dict[str, str], list[dict]]:
    """Passages by id, and questions."""
    corpus = {r["_id"]: r["text"] for r in map(json.loads, (folder / "corpus.jsonl").open(encoding="utf-8"))}
    return corpus, [json.loads(line) for line in (folder / "queries.jsonl").open(encoding="utf-8")]


def scores(folder: Path, language: str) -> tuple[np.ndarray, np.ndarray]:
    """(Q,) support by the right passage, and by the best of the four nearest wrong ones."""
    corpus, questions = load(folder)
    ids = list(corpus)
    bm25 = BM25Okapi([analyse(corpus[id], language).split() for id in ids])
    right, wrong = [], []
    for question in questions:
        answer = max(question["answers"], key=len)
        if len(answer.split()) < 5:
            continue
        ranked = np.argsort(-bm25.get_scores(analyse(question["text"], language).split()))
        others = [ids[i] for i in ranked[:8] if ids[i] not in question["docs"]][:4]
        sources = Sources([corpus[question["docs"][0]], *(corpus[other] for other in others)], language)
        supports = {support.source: support.score for support in sources.support(answer)}
        if supports:
            right.append(supports.get(0, 0.0))
            wrong.append(max((score for source, score in supports.items() if source), default=0.0))
    return np.array(right), np.array(wrong)


def main() -> None:
    """Print accepted shares by threshold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/retrieval"))
    data = parser.parse_args().data
    for name, language in (("pira-pt", "pt"), ("pira-en", "en")):
        right, wrong = scores(data / name, language)
        best = (right > wrong).mean()
        print(f"\n{name}: {len(right)} answers written by people; the right passage supports most in {best:.3f}")
        print("threshold   accepts right   accepts a wrong one   Youden's J   (odd questions)")
        for threshold in (0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7):
            hit, slip = (right[1::2] >= threshold).mean(), (wrong[1::2] >= threshold).mean()
            chosen = "  ← ships" if threshold == SUPPORT else ""
            print(f"{threshold:9.2f}   {hit:13.3f}   {slip:19.3f}   {hit - slip:10.3f}{chosen}")
        grid = np.linspace(0.1, 0.9, 81)
        youden = [(right[::2] >= t).mean() - (wrong[::2] >= t).mean() for t in grid]
        print(f"best on the even questions: {grid[int(np.argmax(youden))]:.2f} (J {max(youden):.3f})")


if __name__ == "__main__":
    main()
