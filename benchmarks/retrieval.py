"""Retrieval, part by part: does the learned fusion find more than either half, or than fixed rank fusion?

    python benchmarks/retrieval.py [--data ../shared/data/retrieval] [--cache DIR]

Everything runs through Lavra's own index (chunking, embedder, LanceDB's two searches, features, coefficients).
Recall@5 / MRR@10 of passages, on FaQuAD (Portuguese), Pirá (the same questions in Portuguese and English; and
Portuguese questions over the English documents), and XQuAD (English, Spanish):

- ``BM25 raw``: rank-bm25's Okapi over lower-cased words, the peer that most tutorials use;
- ``BM25 analysed``: LanceDB's BM25 over the analysed column;
- ``dense``: the embedder alone;  ``RRF``: reciprocal-rank fusion of the two, k = 60 (Cormack et al. 2009);
- ``shipped``: the fusion with the coefficients that ship, trained on none of these sets;
- ``left out``: the fusion trained on the other *families* of these sets (never on Pirá for Pirá, in any language);
- ``no accents``: the shipped fusion, questions typed without accents.

Then when to refuse: questions of the other sets of the same language asked of this corpus (foreign), and questions
whose right passage was taken out of the corpus (removed; other passages may still answer some of them). Last, the
questions asked of small corpora (``small_corpora.py``).
"""

from __future__ import annotations

import argparse
import platform
import re
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from rank_bm25 import BM25Okapi

from lavra.inference.embedder import Embedder
from lavra.retrieval.chunking import embedding_text, split
from lavra.retrieval.fusion import Fusion
from question_sets import (
    CachedEmbedder,
    Question,
    QuestionSet,
    Searched,
    load,
    open_index,
    passage_rank,
    recall_and_mrr,
    search,
    training_rows,
    without_answers,
)
from small_corpora import Asked, evidence, small, whole

SETS = ("faquad-pt", "pira-pt", "pira-en", "xquad-en", "xquad-es")
TARGETS = {"faquad-pt": (0.986, 0.935), "pira-pt": (0.940, 0.853), "pira-en": (0.958, 0.885)}
METHODS = ("BM25 raw", "BM25 analysed", "dense", "RRF", "shipped", "left out", "no accents")


def family(name: str) -> str:
    return name.split("-")[0]


def without_accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))


def okapi(of: QuestionSet) -> Callable[[str], list[str]]:
    """The chunks by rank-bm25 over lower-cased words."""
    chunks = [(chunk.id, embedding_text(chunk, d.title)) for d in of.documents for chunk in split(d)]
    model = BM25Okapi([re.findall(r"\w+", text.lower()) for _, text in chunks])

    def ranked(question: str) -> list[str]:
        scores = model.get_scores(re.findall(r"\w+", question.lower()))
        return [chunks[i][0] for i in np.argsort(-scores, kind="stable")[:50]]

    return ranked


def ranks(of: QuestionSet, questions: Sequence[Question], searched: Searched, score: Callable) -> list[float]:
    """The right passage's rank when candidates are sorted by ``score(candidates, features) -> (N,)``."""
    found = []
    for question, candidates, x in zip(questions, searched.candidates, searched.features, strict=True):
        order = np.argsort(-np.asarray(score(candidates, x)), kind="stable")
        found.append(passage_rank(question, (candidates[i].chunk_id for i in order), of))
    return found


def reciprocal_ranks(candidates: list, _: np.ndarray) -> list[float]:
    return [sum(1 / (60 + r) for r in (c.lexical_rank, c.dense_rank) if r is not None) for c in candidates]


def confidences(fusion: Fusion, asked: Iterable[Asked], *, other_language: bool = False) -> np.ndarray:
    return np.array([fusion.confidence(evidence(one, fusion), other_language=other_language) for one in asked])


def area(positive: np.ndarray, negative: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative."""
    merged = np.concatenate([positive, negative])
    order = np.searchsorted(np.sort(merged), merged, "left") + np.searchsorted(np.sort(merged), merged, "right")
    rank_sum = (order[: len(positive)] + 1).sum() / 2
    return float((rank_sum - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative)))


def expected_calibration_error(p: np.ndarray, right: np.ndarray) -> float:
    """Over ten equally full bins."""
    bins = np.array_split(np.argsort(p), 10)
    return float(sum(len(b) / len(p) * abs(p[b].mean() - right[b].mean()) for b in bins))


SMALL = {
    "answer": "the answer is among them",
    "mixed": "so it is, the rest on other subjects or in another language",
    "none": "on the subject, without the answer",
    "foreign": "on other subjects",
}


def refusing(
    fusion: Fusion,
    sets: dict[str, QuestionSet],
    searched: dict[str, Searched],
    foreign: dict[str, list[Asked]],
    removed: dict[str, list[Asked]],
    crossed: Searched,
) -> None:
    """Print when the fusion refuses."""
    print(f"\nRefusing below the shipped threshold {fusion.threshold:.3f}")
    print("set                 refused: answerable   foreign   removed    AUC foreign  removed    calibration error")
    refusals: dict[str, list[np.ndarray]] = {}
    for name, of in sets.items():
        whole_set = list(whole(of, of.questions, searched[name]))
        refusals[name] = [confidences(fusion, s) for s in (whole_set, foreign[name], removed[name])]
        good, strange, gone = refusals[name]
        first = np.array(ranks(of, of.questions, searched[name], lambda _, x: fusion.predict(x))) == 1
        error = expected_calibration_error(good, first)
        print(
            name.ljust(28)
            + "".join(f"{(p < fusion.threshold).mean():>11.3f}" for p in (good, strange, gone))
            + f"{area(good, strange):>13.3f}{area(good, gone):>9.3f}{error:>15.3f}"
        )
    print("\nOther thresholds, mean over the sets: refused answerable / foreign / removed")
    for threshold in (fusion.threshold, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7):
        means = [np.mean([(refusals[name][kind] < threshold).mean() for name in sets]) for kind in range(3)]
        print(f"{threshold:9.3f}  " + " / ".join(f"{mean:.3f}" for mean in means))
    crossing = list(whole(sets["pira-en"], sets["pira-pt"].questions, crossed))
    found_there = np.array([one.answered for one in crossing])
    below = confidences(fusion, crossing, other_language=True) < fusion.threshold
    print(f"pira pt→en: refused {below[found_there].mean():.3f} of those whose passage was found")
    print("\nAsked of 1 to 40 passages, share answered")
    of_small = [
        (sets[name], sets[name].questions, searched[name]) for name in ("faquad-pt", "pira-pt", "pira-en", "xquad-es")
    ]
    few = list(small(of_small))
    accepted = confidences(fusion, few) >= fusion.threshold
    for kind, meaning in SMALL.items():
        of_kind = np.array([one.kind == kind for one in few])
        print(f"  {meaning:60}{accepted[of_kind].mean():.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/retrieval"))
    parser.add_argument("--embedder", default="e5-small-enpt")
    parser.add_argument("--fusion", type=Path, help="coefficients to measure in place of the shipped ones")
    parser.add_argument("--cache", type=Path, help="directory for vectors, to run again quickly")
    arguments = parser.parse_args()

    embedder: Embedder | CachedEmbedder = Embedder.load(arguments.embedder)
    if arguments.cache:
        embedder = CachedEmbedder(embedder, arguments.cache)
    fusion = Fusion.load(arguments.fusion)
    started = time.perf_counter()

    sets = {name: load(arguments.data / name) for name in SETS}
    searched: dict[str, Searched] = {}
    plain: dict[str, Searched] = {}
    foreign: dict[str, list[Asked]] = {}
    removed: dict[str, list[Asked]] = {}
    crossed: Searched | None = None
    for name, of in sets.items():
        with tempfile.TemporaryDirectory() as place:
            index = open_index(Path(place), embedder, of)
            searched[name] = search(index, of.questions, of)
            typed = [Question(without_accents(q.text), q.passages, q.answers) for q in of.questions]
            plain[name] = search(index, typed, of)
            others = [
                question
                for other, s in sets.items()
                if family(other) != family(name) and (s.language == of.language or of.language == "es")
                for question in s.questions
            ]
            strange = others[:: max(1, len(others) // 300)]
            foreign[name] = list(whole(of, strange, search(index, strange, of)))
            removed[name] = list(whole(of, of.questions, without_answers(searched[name], of.questions, of)))
            if name == "pira-en":
                crossed = search(index, sets["pira-pt"].questions, of)

    print(f"\n{platform.processor() or platform.machine()}, Python {platform.python_version()}, {embedder.name}")
    print("recall@5/MRR@10".ljust(20) + "".join(f"{method:>15}" for method in METHODS) + "      target")
    rows: list[tuple[str, QuestionSet, Sequence[Question], Searched]] = [
        (name, of, of.questions, searched[name]) for name, of in sets.items()
    ]
    assert crossed is not None
    rows.append(("pira pt→en", sets["pira-en"], sets["pira-pt"].questions, crossed))
    for name, of, questions, found in rows:
        left_out = Fusion.fit(*training_rows([s for n, s in searched.items() if family(n) != family(name.split()[0])]))
        raw = okapi(of)
        measured = {
            "BM25 raw": [passage_rank(q, raw(q.text), of) for q in questions],
            "BM25 analysed": ranks(of, questions, found, lambda c, _: [x.bm25 for x in c]),
            "dense": ranks(of, questions, found, lambda c, _: [x.cosine for x in c]),
            "RRF": ranks(of, questions, found, reciprocal_ranks),
            "shipped": ranks(of, questions, found, lambda _, x: fusion.predict(x)),
            "left out": ranks(of, questions, found, lambda _, x, f=left_out: f.predict(x)),
        }
        if name in plain:
            measured["no accents"] = ranks(of, questions, plain[name], lambda _, x: fusion.predict(x))
        cells = [f"{'{:.3f}/{:.3f}'.format(*recall_and_mrr(measured[m]))}" if m in measured else "" for m in METHODS]
        target = "{:.3f}/{:.3f}".format(*TARGETS[name]) if name in TARGETS else ""
        print(name.ljust(20) + "".join(f"{cell:>15}" for cell in cells) + f"{target:>14}", flush=True)

    refusing(fusion, sets, searched, foreign, removed, crossed)
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
