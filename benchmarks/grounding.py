"""How often the groundedness measure errs: `lavra.evaluation.grounding` against people's judgement.

- BEGIN (Dziri et al. 2022): replies of four dialogue models, which people found fully attributable to a passage or not
  ("generic" ones left out). The threshold was chosen on Wizard of Wikipedia's development set; the other three judge.
- HaluEval (Li et al. 2023), its seeds for questions: the right answer and two hallucinated ones for each of 500
  questions, with the passages. The right ones are far shorter, so that *length alone* tells them apart; the AUC among
  answers of equal length is the honest one.
- Pirá: Portuguese answers by people against the English passage they were written from and the nearest other one, for
  the embedder's part. The threshold was chosen on the even questions; the odd ones judge.

Intervals are of 95%, by bootstrap over passages (replies to one passage are not independent). A constant answer has a
balanced accuracy of .5 everywhere.

    python benchmarks/grounding.py [--data ../shared/data] [--no-embedder]
    python benchmarks/grounding.py --entailment FOLDER   # a cross-encoder beside words, and nothing else
    python benchmarks/grounding.py --entailment FOLDER --most 300 --set HaluEval
"""

from __future__ import annotations

import argparse
import csv
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from rank_bm25 import BM25Okapi
from scipy.stats import rankdata

from lavra.assistants.citing import Sources, content_words
from lavra.assistants.sentences import sentences
from lavra.evaluation import grounding
from lavra.evaluation.answers import rouge_l, token_f1
from lavra.evaluation.grounding import MEANING, SUPPORTED, Grounds, split
from lavra.evaluation.items import read_questions
from lavra.inference.classifier import Reranker
from lavra.inference.embedder import Embedder
from lavra.model.hub import resolve
from lavra.retrieval.analysis import analyse

RESAMPLES = 500


@dataclass(frozen=True)
class Row:
    """A reply, the passage it should rest on, and whether it does, by people."""

    reply: str
    passage: str
    grounded: bool


def begin(path: Path) -> list[Row]:
    """A file of BEGIN without what says nothing to attribute."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [
        Row(row["response"], row["knowledge"], row["begin_label"] == "Fully attributable")
        for row in rows
        if row["begin_label"] != "Generic" and row["response"].strip()
    ]


def halueval(folder: Path) -> list[Row]:
    """Each question's right answer once and its hallucinated ones."""
    found: dict[Row, None] = {}
    for name in ("qa_one-turn_data.json", "qa_multi-turn_data.json"):
        for row in map(json.loads, (folder / name).open(encoding="utf-8")):
            found[Row(row["right_answer"], row["knowledge"], True)] = None
            found[Row(row["hallucinated_answer"], row["knowledge"], False)] = None
    return list(found)


Score = Callable[[Row], float]


def share(row: Row) -> float:
    """Ours: the mean support of the reply's sentences; in the middle where it says nothing that could be checked."""
    supports = [one.support for one in Grounds([row.passage], "en").check(split(row.reply)) if one.checkable]
    return float(np.mean(supports)) if supports else SUPPORTED


def counted(row: Row) -> float:
    """Ours as ``measuring`` has it: the share of sentences that are supported."""
    checked = [one.supported for one in Grounds([row.passage], "en").check(split(row.reply)) if one.checkable]
    return float(np.mean(checked)) if checked else 0.5


def without_rules(row: Row) -> float:
    """Ours without the rules for numbers and denials."""
    kept, grounding.DOUBTED = grounding.DOUBTED, 1.0
    try:
        return share(row)
    finally:
        grounding.DOUBTED = kept


def all_words(row: Row) -> float:
    """The share of content words that stand anywhere in the passage."""
    said = content_words(row.reply, "en")
    return len(said & content_words(row.passage, "en")) / len(said) if said else SUPPORTED


def citing(row: Row) -> float:
    """What the assistant cites by: the share weighted by rarity, with stricter rules."""
    sources = Sources([row.passage], "en")
    supports = [
        found[0].score for start, end in sentences(row.reply) if (found := sources.support(row.reply[start:end]))
    ]
    return float(np.mean(supports)) if supports else 0.45


def entailed(judge: Reranker) -> Score:
    """By a model of textual entailment in place of words: the mean over sentences of what it says of the best place."""

    def score(row: Row) -> float:
        checked = Grounds([row.passage], "en", entailment=judge).check(split(row.reply))
        supports = [one.support for one in checked if one.checkable]
        return float(np.mean(supports)) if supports else 0.5

    return score


def both(first: Score, second: Score) -> Score:
    return lambda row: first(row) + second(row)


def decides(row: Row) -> bool:
    """Ours as `measuring` counts: every sentence is supported."""
    checked = [one for one in Grounds([row.passage], "en").check(split(row.reply)) if one.checkable]
    return all(one.supported for one in checked)


def cosines(rows: Sequence[Row], embedder: Embedder) -> np.ndarray:
    """(N,) the mean over sentences of the cosine with the nearest one or two sentences of the passage."""
    texts: dict[str, int] = {}
    places = []
    for row in rows:
        said = [one.text for one in split(row.reply)] or [row.reply]
        windows = [row.passage[a:b] for a, b in grounding._spans(row.passage)]
        places.append([[texts.setdefault(text, len(texts)) for text in part] for part in (said, windows)])
    vectors = embedder.documents(list(texts))
    return np.array([(vectors[said] @ vectors[windows].T).max(1).mean() for said, windows in places])


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve, ties counting half."""
    positive = int(labels.sum())
    negative = len(labels) - positive
    if not positive or not negative:
        return np.nan
    return float((rankdata(scores)[labels].sum() - positive * (positive + 1) / 2) / (positive * negative))


def auc_of_equal_length(scores: np.ndarray, labels: np.ndarray, lengths: np.ndarray) -> float:
    """The mean AUC within groups of as many words, weighted by their pairs."""
    total = pairs = 0.0
    for length in np.unique(lengths):
        group = lengths == length
        weight = float(labels[group].sum() * (~labels[group]).sum())
        if weight:
            total += weight * auc(scores[group], labels[group])
            pairs += weight
    return total / pairs if pairs else np.nan


def balanced(said: np.ndarray, labels: np.ndarray) -> float:
    """Mean of the shares recognised of either kind."""
    if labels.all() or not labels.any():
        return np.nan
    return float((said[labels].mean() + (~said[~labels]).mean()) / 2)


def interval(value: Callable[..., float], groups: Sequence[str], *columns: np.ndarray) -> str:
    """``value(*columns)`` over all rows, and over resamples of the groups."""
    numbers = np.unique(groups, return_inverse=True)[1]
    members = [np.flatnonzero(numbers == group) for group in range(numbers.max() + 1)]
    draw = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        kept = np.concatenate([members[group] for group in draw.integers(0, len(members), len(members))])
        drawn.append(value(*(column[kept] for column in columns)))
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return f"{value(*columns):.3f} [{low:.3f}, {high:.3f}]"


def english(
    data: Path, embedder: Embedder | None, judge: Reranker | None = None, most: int = 0, only: Sequence[str] = ()
) -> None:
    """BEGIN and HaluEval; ``only`` those whose name holds one of these."""
    folder = data / "eval" / "hallucination"
    sets = {
        "BEGIN, Wizard of Wikipedia, development (chosen on)": begin(folder / "begin/wow/begin_dev_wow.tsv"),
        "BEGIN, Wizard of Wikipedia, test": begin(folder / "begin/wow/begin_test_wow.tsv"),
        "BEGIN, CMU DoG": begin(folder / "begin/cmu-dog/begin_dev_cmu.tsv"),
        "BEGIN, Topical Chat": begin(folder / "begin/topicalchat/begin_dev_tc.tsv"),
        "HaluEval, questions": halueval(folder / "halueval/generation/qa"),
    }
    methods: dict[str, Score] = {
        "`grounded`: share of sentences supported": counted,
        "  mean of their support": share,
        "  without the rules for numbers and denials": without_rules,
        "  anywhere in the passage": all_words,
        "what the assistant cites by": citing,
        "ROUGE-L with the passage": lambda row: rouge_l(row.reply, row.passage),
        "token F1 with the passage": lambda row: token_f1(row.reply, row.passage, "en"),
        "shorter is better": lambda row: -len(row.reply),
    }
    if judge is not None:
        known = lru_cache(maxsize=None)(entailed(judge))
        methods = {
            "`grounded`'s words: mean of their support": share,
            "the entailment model in their place": known,
            "the sum of both": both(share, known),
        }
    for name, rows in sets.items():
        if only and not any(part in name for part in only):
            continue
        rows = random.Random(0).sample(rows, most) if 0 < most < len(rows) else rows
        labels = np.array([row.grounded for row in rows])
        lengths = np.array([len(row.reply.split()) for row in rows])
        groups = [row.passage for row in rows]
        print(f"\n## {name}: {len(rows)} replies, {labels.mean():.0%} grounded, {len(set(groups))} passages\n")
        print("| method | AUC | AUC among replies of as many words |\n| --- | --- | --- |")
        scored = {method: np.array([score(row) for row in rows]) for method, score in methods.items()}
        if embedder:
            scored["cosine of E5 with the nearest two sentences"] = cosines(rows, embedder)
        for method, values in scored.items():
            whole = interval(auc, groups, values, labels)
            equal = interval(auc_of_equal_length, groups, values, labels, lengths) if "HaluEval" in name else "–"
            print(f"| {method} | {whole} | {equal} |", flush=True)
        if judge is not None:
            continue
        said = np.array([decides(row) for row in rows])
        found = interval(balanced, groups, said, labels)
        right, wrong = said[labels].mean(), (~said[~labels]).mean()
        print(f"\nDecision (every sentence ≥ {SUPPORTED}): balanced accuracy {found}; of the grounded {right:.1%} are")
        print(f"recognised, of the others {wrong:.1%}.")
        grid = np.arange(0.4, 0.96, 0.05)
        best = [balanced(scored["  mean of their support"] >= threshold, labels) for threshold in grid]
        print("By threshold of the mean: " + ", ".join(f"{t:.2f} {b:.3f}" for t, b in zip(grid, best, strict=True)))


def across_languages(data: Path, embedder: Embedder) -> None:
    """Portuguese answers, English passages."""
    portuguese, english = (
        {question.id[:-2]: question for question in read_questions(data / "retrieval" / name)}
        for name in ("pira-pt", "pira-en")
    )
    ids = [
        name
        for name, question in portuguese.items()
        if name in english and len(max(question.answers, key=len).split()) >= 4
    ]
    passages = sorted({english[name].sources[0].text for name in ids})
    bm25 = BM25Okapi([analyse(passage, "en").split() for passage in passages])
    rows = []
    for name in ids:
        right = english[name].sources[0].text
        ranked = np.argsort(-bm25.get_scores(analyse(english[name].text, "en").split()))
        wrong = next(passages[number] for number in ranked if passages[number] != right)
        answer = max(portuguese[name].answers, key=len)
        rows += [Row(answer, right, True), Row(answer, wrong, False)]
    labels = np.array([row.grounded for row in rows])
    values, words = cosines(rows, embedder), np.array([share(row) for row in rows])
    even = np.arange(len(rows)) // 2 % 2 == 0
    print(f"\n## Pirá: {len(ids)} Portuguese answers against English passages\n")
    youden = {t: 2 * balanced(values[even] >= t, labels[even]) - 1 for t in np.arange(0.78, 0.88, 0.01)}
    print("Youden's J on the even questions: " + ", ".join(f"{t:.2f} {j:.3f}" for t, j in youden.items()))
    odd = np.flatnonzero(~even)
    groups = [rows[number].reply for number in odd]
    for name, scored in (("cosine", values), ("words", words)):
        found = interval(auc, groups, scored[odd], labels[odd])
        print(f"Odd questions, AUC by {name}: {found}")
    said = values >= MEANING
    found = interval(balanced, groups, said[odd], labels[odd])
    right, wrong = said[odd][labels[odd]].mean(), (~said[odd][~labels[odd]]).mean()
    print(f"At {MEANING}: balanced accuracy {found}; right passages recognised {right:.1%}, wrong ones {wrong:.1%}.")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--no-embedder", action="store_true", help="leave out what needs E5 (four minutes of two cores)"
    )
    parser.add_argument("--entailment", type=Path, help="a reranker's folder, tuned on entailment")
    parser.add_argument("--most", type=int, default=0, help="so many replies of a set, by lot; 0: all")
    parser.add_argument("--set", action="append", default=[], help="only sets whose name holds this; repeat")
    options = parser.parse_args()
    if options.entailment:
        english(options.data, None, Reranker.load(resolve(str(options.entailment))), options.most, options.set)
        return
    embedder = None if options.no_embedder else Embedder.load(resolve("e5-small-enpt", pull=True))
    english(options.data, embedder, only=options.set)
    if embedder and not options.set:
        across_languages(options.data, embedder)


if __name__ == "__main__":
    main()
