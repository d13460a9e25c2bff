"""What tuning brings to a small multilingual E5, on Portuguese sets that it was not tuned on. Minutes on two cores.

    python benchmarks/tuning_encoders.py ../shared/data [documents] [questions] [assin] [toxic]

documents: an embedder tuned on pairs of help pages (no question was written), measured by recall@5 on FaQuAD and Pirá.
questions: on people's questions about half of FaQuAD's documents, measured on those about the other half; MiniLM, which
knows English only, and the E5.
assin: on ASSIN 2's graded training pairs, measured by Spearman on its test pairs.
toxic: a classifier of ToLD-Br, 80% tuned on, 10% held out to choose, 10% measured.
"""

from __future__ import annotations

import csv
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from lavra.corpus.pairs import read_pairs
from lavra.inference.embedder import Embedder
from lavra.training.vectors_evaluation import correlations
from lavra.workspace.encoders.classes import classes_page
from lavra.workspace.encoders.classifier import tune_classifier
from lavra.workspace.encoders.embedder import tune_embedder
from lavra.workspace.encoders.settings import EncoderSettings
from lavra.workspace.workspace import Workspace


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.open(encoding="utf-8")]


def asked(where: Path) -> list[dict]:
    """The questions that a passage answers."""
    return [question for question in rows(where / "queries.jsonl") if question["docs"]]


def retrieval(embedder: Embedder, where: Path, questions: list[dict]) -> tuple[float, float]:
    """Recall@5 and MRR@10 of the vectors alone."""
    documents = rows(where / "corpus.jsonl")
    vectors = embedder.documents([document["text"] for document in documents])
    names = np.array([document["_id"] for document in documents])
    recall = reciprocal = 0.0
    for question, vector in zip(questions, embedder.queries([q["text"] for q in questions]), strict=True):
        ranked = names[np.argsort(-(vectors @ vector), kind="stable")[:10]].tolist()
        rank = next((place for place, name in enumerate(ranked, 1) if name in question["docs"]), 0)
        recall += 0 < rank <= 5
        reciprocal += 1 / rank if rank else 0.0
    return recall / len(questions), reciprocal / len(questions)


def graded(embedder: Embedder, path: Path) -> float:
    pairs = read_pairs(path).pairs
    cosines = (embedder.queries([p.anchor for p in pairs]) * embedder.queries([p.positive for p in pairs])).sum(1)
    return correlations(cosines, np.array([p.score for p in pairs]))["spearman"]


def say(what: str, embedder: Embedder, shared: Path) -> None:
    for name in ("faquad-pt", "pira-pt"):
        print(
            f"{what:<8} {name}: recall@5 {{:.3f}}, MRR@10 {{:.3f}}".format(
                *retrieval(embedder, shared / "retrieval" / name, asked(shared / "retrieval" / name)[:400])
            )
        )


def documents(shared: Path, place: Path) -> None:
    rows = pq.read_table(shared / "corpus" / "corpus.parquet").to_pylist()
    pages = [row for row in rows if row["source"] == "libreoffice-help-pt-br" and 600 < len(row["text"]) < 20_000]
    (place / "help").mkdir()
    for number, row in enumerate(random.Random(0).sample(pages, 250)):
        lines = row["text"].split("\n", 1)
        text = f"# {lines[0].strip()}\n\n{lines[1] if len(lines) > 1 else ''}"
        (place / "help" / f"{number}.md").write_text(text, encoding="utf-8")
    workspace = Workspace.init(place / "workspace")
    workspace.ingest([place / "help"])
    say("before", workspace.embedder, shared)
    began = time.perf_counter()
    tuned = tune_embedder(workspace, settings=EncoderSettings(batch=64, window=128, epochs=1))
    print(f"tuned in {time.perf_counter() - began:.0f} s; held-out pairs: {dict(tuned.before)} -> {dict(tuned.after)}")
    say("after", Embedder.load(str(tuned.path)), shared)


def questions(shared: Path, place: Path) -> None:
    where = shared / "retrieval" / "faquad-pt"
    passages = {row["_id"]: row for row in rows(where / "corpus.jsonl")}

    def document(question: dict) -> str:
        return passages[question["docs"][0]]["title"]

    found = asked(where)
    titles = sorted({document(question) for question in found})
    random.Random(0).shuffle(titles)
    half = set(titles[: len(titles) // 2])
    held = [question for question in found if document(question) not in half]
    with (place / "pairs.jsonl").open("w", encoding="utf-8") as file:
        for question in found:
            if document(question) in half:
                pair = {"question": question["text"], "passage": passages[question["docs"][0]]["text"]}
                file.write(json.dumps({**pair, "document": document(question)}, ensure_ascii=False) + "\n")
    print(f"{len(found) - len(held)} questions to learn from, {len(held)} about other documents")
    workspace = Workspace.init(place / "asked")
    for model, rate in (("minilm-l6", 5e-5), ("e5-small-enpt", 2e-5)):
        settings = EncoderSettings(model=model, batch=32, window=192, epochs=2, learning_rate=rate)
        before, began = retrieval(Embedder.load(model), where, held), time.perf_counter()
        tuned = tune_embedder(workspace, pairs=place / "pairs.jsonl", settings=settings)
        seconds = time.perf_counter() - began
        after = retrieval(Embedder.load(str(tuned.path)), where, held)
        figures = f"recall@5 {before[0]:.3f} -> {after[0]:.3f}, MRR@10 {before[1]:.3f} -> {after[1]:.3f}"
        print(f"{model}: {figures}, tuned in {seconds:.0f} s", flush=True)


def assin(shared: Path, place: Path) -> None:
    where = shared / "eval" / "pt" / "assin2"
    workspace = Workspace.init(place / "assin")
    test = where / "assin2-test.xml"
    print(f"before   ASSIN 2 test: Spearman {graded(workspace.embedder, test):.3f}", flush=True)
    began = time.perf_counter()
    tuned = tune_embedder(workspace, pairs=where / "epochs" / "pt" / "train.tsv", settings=EncoderSettings(window=64))
    print(f"tuned in {time.perf_counter() - began:.0f} s; {list(tuned.notes)}")
    after = Embedder.load(str(tuned.path))
    print(f"after    ASSIN 2 test: Spearman {graded(after, test):.3f}", flush=True)


def toxic(shared: Path, place: Path) -> None:
    with (shared / "eval" / "pt" / "toldbr" / "ToLD-BR.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    random.Random(0).shuffle(rows)
    data = place / "toxic.csv"
    with data.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row in rows[:2000]:
            votes = max(float(value) for name, value in row.items() if name != "text")
            writer.writerow([row["text"], "toxic" if votes >= 1 else "fine"])
    workspace = Workspace.init(place / "toxic")
    began = time.perf_counter()
    settings = EncoderSettings(epochs=2, batch=32, learning_rate=1e-4, window=48)
    tuned = tune_classifier(workspace, data, settings=settings)
    print(f"tuned in {time.perf_counter() - began:.0f} s; {list(tuned.notes)}")
    print(classes_page(tuned.report))


PARTS = {"documents": documents, "questions": questions, "assin": assin, "toxic": toxic}

if __name__ == "__main__":
    given = Path(sys.argv[1]).resolve()
    for name in sys.argv[2:] or PARTS:
        with tempfile.TemporaryDirectory() as scratch:
            print(f"== {name}", flush=True)
            PARTS[name](given, Path(scratch))
