"""Train the fusion's coefficients: the ones that ship with Lavra, or your own.

    python benchmarks/train_fusion.py --data DIR --out fusion.json
    python benchmarks/train_fusion.py --data DIR --out own.json --prior shipped    # a hundred questions are enough

``DIR`` holds question sets, each a directory ``<name>-<language>`` with ``corpus.jsonl``, ``queries.jsonl`` (see
``question_sets.py``) and, if wanted, ``about.json`` with ``source`` and ``licence``, which are written into the
coefficients. Passages of one title are one document; give passages that stand alone (no title) as well, if your
index will hold both kinds. A third of the questions are asked a second time with their answer taken out of the
corpus, so that the coefficients learn what a question without an answer looks like; and all are asked of small corpora
(``small_corpora.py``), from which the acceptance learns when few passages are enough.

The shipped coefficients were trained on public sets that share no passage with any set measured in
``benchmarks/retrieval.py``; ``src/lavra/retrieval/fusion.json`` names them with their licences:

- SQuAD 1.1 in Portuguese (nunorc/squad-v1.1-pt, machine-translated; MIT, after SQuAD, CC-BY-SA-4.0): the
  development set without the 240 paragraphs that are also in XQuAD, and the published sample of the training set;
- SQuAD 1.1 in Spanish (ccasimiro88/TranslateAlignRetrieve, CC-BY-4.0): the development set, likewise;
- COVID-QA (deepset-ai, Apache-2.0): questions of biomedical experts about whole papers, in English.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lavra.inference.embedder import Embedder
from lavra.retrieval.acceptance import EVIDENCE, Acceptance
from lavra.retrieval.features import FEATURES
from lavra.retrieval.fusion import RANKING, REFUSED, Fusion
from question_sets import (
    CachedEmbedder,
    Question,
    QuestionSet,
    Searched,
    load,
    open_index,
    search,
    training_rows,
    without_answers,
)
from small_corpora import evidence, small, whole


@dataclass(frozen=True)
class Trained:
    """A set's questions searched, and a third of them once more without their answers."""

    of: QuestionSet
    questions: list[Question]
    searched: Searched
    without: Searched


def searches_of(directory: Path, embedder: CachedEmbedder | Embedder, *, limit: int = 0, seed: int = 0) -> Trained:
    """The searches to train on."""
    of = load(directory)
    questions = list(of.questions)
    random.Random(seed).shuffle(questions)
    questions = questions[:limit] if limit else questions
    with tempfile.TemporaryDirectory() as place:
        index = open_index(Path(place), embedder, of)
        searched = search(index, questions, of)
    return Trained(of, questions, searched, without_answers(searched, questions[: len(questions) // 3], of))


def accepting(fusion: Fusion, sets: Sequence[Trained], *, seed: int = 0) -> Fusion:
    """The fusion with an acceptance learned from these sets asked whole and in small corpora, and its threshold."""
    large = [
        asked
        for one in sets
        for asked in (*whole(one.of, one.questions, one.searched), *whole(one.of, one.questions, one.without))
    ]
    few = list(small([(one.of, one.questions, one.searched) for one in sets], seed=seed))
    seen = [evidence(asked, fusion) for asked in (*large, *few)]
    acceptance = Acceptance.fit(seen, [asked.answered for asked in (*large, *few)])
    good = [one for one, asked in zip(seen, large, strict=False) if asked.answered]
    threshold = float(np.quantile([acceptance.confidence(one) for one in good], REFUSED))
    alone = float(np.quantile([one.log_odds for one in good], REFUSED))
    acceptance = replace(acceptance, elsewhere=math.log(threshold / (1 - threshold)) - alone)
    return replace(fusion, acceptance=acceptance, threshold=threshold)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--embedder", default="e5-small-enpt")
    parser.add_argument("--prior", help="'shipped' or a file: start from these coefficients")
    parser.add_argument("--strength", type=float, default=1.0, help="of the normal prior (default 1)")
    parser.add_argument("--limit", type=int, default=0, help="questions of each set at most (default all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="directory for vectors, to run again quickly")
    arguments = parser.parse_args()

    embedder: Embedder | CachedEmbedder = Embedder.load(arguments.embedder)
    if arguments.cache:
        embedder = CachedEmbedder(embedder, arguments.cache)
    trained: list[Trained] = []
    sets = []
    for directory in sorted(path for path in arguments.data.iterdir() if (path / "queries.jsonl").is_file()):
        found = searches_of(directory, embedder, limit=arguments.limit, seed=arguments.seed)
        trained.append(found)
        about = directory / "about.json"
        described = json.loads(about.read_text(encoding="utf-8")) if about.exists() else {}
        sets.append({"name": directory.name, "questions": len(found.questions), **described})
        print(f"{directory.name}: {len(found.questions)} questions", flush=True)
    if not trained:
        raise SystemExit(f"There is no question set in {arguments.data}: a set has corpus.jsonl and queries.jsonl.")

    prior = None
    if arguments.prior:
        prior = Fusion.load(None if arguments.prior == "shipped" else Path(arguments.prior))
    X, y, groups = training_rows([searched for one in trained for searched in (one.searched, one.without)])
    training = {
        "sets": sets,
        "embedder": embedder.name,
        "candidates": len(y),
        "strength": arguments.strength,
        "ranking": RANKING,
        "seed": arguments.seed,
        "threshold": f"refuses {REFUSED:.0%} of the answerable questions of these sets",
    }
    fusion = Fusion.fit(X, y, groups, strength=arguments.strength, prior=prior, training=training)
    fusion = accepting(fusion, trained, seed=arguments.seed)
    fusion.save(arguments.out)

    p = fusion.predict(X)
    loss = -np.mean(np.where(y > 0, np.log(p), np.log1p(-p)))
    print(f"{len(y)} candidates of {groups.max() + 1} searches; log-loss {loss:.4f}; threshold {fusion.threshold:.3f}")
    for name, weight in zip(FEATURES, fusion.weights, strict=True):
        print(f"  {name:24} {weight:+.3f}")
    assert fusion.acceptance is not None
    print("acceptance")
    for name, weight in zip(EVIDENCE, fusion.acceptance.weights, strict=True):
        print(f"  {name:24} {weight:+.3f}")


if __name__ == "__main__":
    main()
