"""Wrong labels found by confident learning, where it is known which are wrong: flips planted in real sets.

Of 5, 10 and 20% of the rows, drawn by a seed, the label is exchanged for another drawn alike. Precision: of the
suggestions, those on a planted flip; recall: of the flips, those suggested; corrected: of these, those whose suggestion
is the label that was there. Beside them: as many rows drawn by lot, and every row whose label is not the likeliest (no
confident learning). What a set has of wrong labels of its own counts against the precision.

    python benchmarks/labels.py ../shared/data
"""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lavra.corpus.labels.confident import by_class, by_rate, confident_joint, estimate_joint, find_wrong, thresholds
from lavra.corpus.labels.entry import Entry
from lavra.corpus.labels.predicting import out_of_fold
from lavra.corpus.labels.reading import LeftOut, read_set
from lavra.corpus.labels.repeats import drop_exact
from lavra.corpus.labels.settings import Taking
from lavra.corpus.labels.signals import SIGNALS

SHARES = (0.05, 0.1, 0.2)
SUBJECTS = 12


def toxic_tweets(data: Path, votes: int) -> list[Entry]:
    """ToLD-Br: toxic by ``votes`` of three annotators or more, in one kind at least; else by none."""
    with (data / "eval/pt/toldbr/ToLD-BR.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = []
    for number, row in enumerate(rows):
        most = max(float(value) for name, value in row.items() if name != "text")
        if most >= votes or most == 0:
            found.append(Entry({"text": row["text"], "label": "toxic" if most else "ok"}, f"told:{number}"))
    return found


def subjects(data: Path) -> list[Entry]:
    """MMLU: which of the twelve largest subjects a question is of."""
    files = sorted((data / "eval/mmlu/test").glob("*.csv"), key=lambda path: (-path.stat().st_size, path.name))
    found = []
    for path in files[:SUBJECTS]:
        with path.open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                text = " ".join([row["question"], *(row[f"choice{number}"] for number in range(4))])
                found.append(Entry({"text": text, "label": path.stem.removesuffix("_test")}, path.stem))
    return found


def documents(data: Path) -> list[Entry]:
    """Portuguese documents of programs: which of the twelve packages with the most a paragraph is of."""
    import pyarrow.parquet as parquet

    table = parquet.read_table(data / "corpus/corpus.parquet", columns=["source", "lang", "text"]).to_pylist()
    rows = [row for row in table if row["lang"] == "pt" and len(row["text"]) >= 200]
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["source"]] = counts.get(row["source"], 0) + 1
    chosen = sorted(counts, key=lambda name: (-counts[name], name))[:SUBJECTS]
    taken = dict.fromkeys(chosen, 0)
    found = []
    for number, row in enumerate(rows):
        if row["source"] in taken and taken[row["source"]] < 400:
            taken[row["source"]] += 1
            found.append(Entry({"text": row["text"][:600], "label": row["source"]}, f"pt:{number}"))
    return found


def planted(true: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    """(N,) labels with ``share`` of them exchanged."""
    random = np.random.default_rng(seed)
    classes = int(true.max()) + 1
    given = true.copy()
    flipped = random.random(len(true)) < share
    given[flipped] = (true[flipped] + random.integers(1, classes, flipped.sum())) % classes
    return given


def measure(name: str, entries: Sequence[Entry]) -> None:
    kept: tuple[list[Entry], list[LeftOut]] = drop_exact(entries, "classes")
    texts = [entry.asked for entry in kept[0]]
    names = sorted({entry.said for entry in kept[0]})
    true = np.array([names.index(entry.said) for entry in kept[0]])
    majority = np.bincount(true).max() / len(true)
    print(f"\n{name}: {len(texts):,} rows, {len(names)} labels, the commonest {majority:.0%}")
    print(
        f"  {'planted':>8} {'rows':20} {'suggested':>9} {'precision':>9} {'recall':>7} {'corrected':>9} "
        f"{'first 100':>9}"
    )
    for share in SHARES:
        given = planted(true, share)
        wrong = given != true
        began = time.process_time()
        believed = out_of_fold(texts, given)
        seconds = time.process_time() - began
        found = find_wrong(given, believed)
        joint = estimate_joint(confident_joint(given, believed, thresholds(given, believed)), given)
        random = np.random.default_rng(1).permutation(len(true))[: int(found.wrong.sum())]
        lot = np.isin(np.arange(len(true)), random)
        for method, chosen in (
            ("both", found.wrong),
            ("prune by class", by_class(given, believed, joint)),
            ("prune by noise rate", by_rate(given, believed, joint)),
            ("not the likeliest", believed.argmax(1) != given),
            ("drawn by lot", lot),
        ):
            hit = chosen & wrong
            suggested = found.suggested[hit] == true[hit]
            order = np.argsort(found.margin, kind="stable") if method != "drawn by lot" else random
            first = wrong[order[chosen[order]][:100]].mean()
            print(
                f"  {share:>8.0%} {method:20} {chosen.sum():>9,} {hit.sum() / max(1, chosen.sum()):>9.3f} "
                f"{hit.sum() / wrong.sum():>7.3f} {suggested.mean():>9.3f} {first:>9.2f}"
            )
        agree = (believed.argmax(1) == true).mean()
        print(f"  {'':8} right without the flips {agree:.3f}; noise estimated {found.noise:.3f}; {seconds:.1f} CPU s")


def meaning(name: str, entries: Sequence[Entry]) -> None:
    """The same with the default embedder's judgement averaged in, on the first 3,000 rows."""
    from lavra.inference.embedder import Embedder

    kept, _ = drop_exact(entries[:3_000], "classes")
    names = sorted({entry.said for entry in kept})
    true = np.array([names.index(entry.said) for entry in kept])
    texts = [entry.asked for entry in kept]
    began = time.perf_counter()
    vectors = Embedder.load("e5-small-enpt").documents(texts)
    print(f"\n{name}: {len(texts):,} rows, read in {time.perf_counter() - began:.0f} s")
    for share in SHARES:
        given = planted(true, share)
        wrong = given != true
        for said, seen in (("words", None), ("words and meaning", vectors)):
            found = find_wrong(given, out_of_fold(texts, given, vectors=seen))
            hit = found.wrong & wrong
            first = wrong[np.argsort(found.margin, kind="stable")[:100]].mean()
            print(
                f"  {share:>8.0%} {said:20} {found.wrong.sum():>9,} {hit.sum() / found.wrong.sum():>9.3f} "
                f"{hit.sum() / wrong.sum():>7.3f} {'':9} {first:>9.2f}"
            )


def gain(name: str, entries: Sequence[Entry], share: float = 0.2) -> None:
    """What a classifier is worth that learned from four fifths with flips: as they are, with the suggestions taken,
    with their rows left out, and without flips; on the other fifth, whose labels are as they were."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    kept, _ = drop_exact(entries, "classes")
    names = sorted({entry.said for entry in kept})
    true = np.array([names.index(entry.said) for entry in kept])
    held = np.random.default_rng(2).random(len(true)) < 0.2
    texts = [entry.asked for entry in kept]
    learned = [text for text, out in zip(texts, held, strict=True) if not out]
    given = planted(true, share)[~held]
    found = find_wrong(given, out_of_fold(learned, given))
    matrix = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, dtype=np.float32).fit_transform(texts)
    everything = np.ones(len(given), bool)
    print(f"\n{name}, {share:.0%} of the labels flipped: accuracy on {held.sum():,} rows held out")
    for said, labels, rows in (
        ("as they are", given, everything),
        ("suggestions taken", np.where(found.wrong, found.suggested, given), everything),
        ("their rows dropped", given, ~found.wrong),
        ("as many dropped by lot", given, ~np.random.default_rng(3).permutation(found.wrong)),
        ("without flips", true[~held], everything),
    ):
        model = LogisticRegression(C=10.0, max_iter=300).fit(matrix[~held][rows], labels[rows])
        print(f"  {said:24} {(model.predict(matrix[held]) == true[held]).mean():.3f}")


def signs(data: Path, share: float = 0.05) -> None:
    """Answers of GPTeacher's role plays spoiled in three ways, each in 5% of the rows: cut behind a word of their
    second half, their last sentence said ten times more, a passage of FaQuAD (Portuguese) in their place. What the
    signals find of them, and how many others."""
    place = data / "eval/instruct/gpteacher/Roleplay/roleplay-simple-deduped-roleplay-dataset.json"
    entries = read_set([place], Taking()).entries
    passages = (data / "retrieval/faquad-pt/corpus.jsonl").read_text("utf-8").splitlines()
    portuguese = [json.loads(line)["text"] for line in passages]
    random = np.random.default_rng(0)
    print(f"\nGPTeacher's role plays: {len(entries):,} answers, {share:.0%} of them spoiled")
    for signal in ("cut", "loop", "language"):
        spoiled = [replace(entry, language="en") for entry in entries]
        rows = set(random.permutation(len(entries))[: round(share * len(entries))].tolist())
        for row in rows:
            turns = [dict(turn) for turn in entries[row].row["messages"]]
            turns[-1]["content"] = _spoil(turns[-1]["content"], signal, portuguese, random)
            spoiled[row] = replace(spoiled[row], row={"messages": turns})
        found = {row for row, _ in SIGNALS[signal](spoiled)}
        print(f"  {signal:10} {len(found & rows) / len(rows):.3f} found, {len(found - rows):,} others")


def _spoil(said: str, signal: str, portuguese: Sequence[str], random: np.random.Generator) -> str:
    words = said.split(" ")
    if signal == "cut":
        return " ".join(words[: int(random.integers(len(words) // 2, max(len(words) // 2 + 1, len(words) - 1)))])
    if signal == "loop":
        return said + " " + " ".join([said.rstrip().rsplit(". ", 1)[-1]] * 10)
    return portuguese[int(random.integers(len(portuguese)))]


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")
    measure("ToLD-Br, toxic by two of three (Portuguese)", toxic_tweets(place, 2))
    measure("ToLD-Br, toxic by one of three (Portuguese)", toxic_tweets(place, 1))
    measure("Packages of documents (Portuguese)", documents(place))
    measure("MMLU's subjects (English)", subjects(place))
    signs(place)
    meaning("ToLD-Br, toxic by two of three", toxic_tweets(place, 2)[1_500:])
    gain("ToLD-Br, toxic by two of three", toxic_tweets(place, 2))
    gain("MMLU's subjects", subjects(place))
