"""RAFT (Zhang et al. 2024) on the manual: does a model that was tuned to answer from passages answer better?

    python benchmarks/raft.py [--docs docs/guide/en] [--steps 60] [--questions 400] [--language en]

Questions are made of the documents by rules, four fifths of the documents for training. The adapter learns from their
RAFT conversations; what is measured are questions about documents it learned nothing from, asked of the whole
assistant (search, prompt, model, citations) with the base model and with the adapter. Columns as in ``answers.py``;
``own words``: the gold answer stands in what the model wrote, not only in the quotes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from lavra.assistants.events import Answer, Message
from lavra.retrieval.analysis import fold
from lavra.workspace.questioning import Item, QuestionSettings, questions, write_raft
from lavra.workspace.tuning.run import plan_job, tune
from lavra.workspace.tuning.settings import Sources, TuneSettings
from lavra.workspace.workspace import Workspace


def measure(workspace: Workspace, items: list[Item]) -> str:
    """A line of figures over the assistant's answers."""
    right = shown = refused = cited = 0
    began = time.perf_counter()
    for item in items:
        answer = list(workspace.ask([Message("user", item.question)]))[-1]
        assert isinstance(answer, Answer)
        golds = [fold(gold.strip(" .")) for gold in (item.answers or (item.answer,))]
        quotes = " ".join([answer.text, *(citation.quote for citation in answer.citations)])
        right += any(gold in fold(answer.text) for gold in golds)
        shown += any(gold in fold(quotes) for gold in golds)
        cited += bool(answer.citations)
        refused += not answer.answerable
    count, seconds = len(items), time.perf_counter() - began
    figures = (right / count, shown / count, cited / count, refused / count)
    return "".join(f"{figure:>12.3f}" for figure in figures) + f"{seconds / count:>12.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, default=Path("docs/guide/en"))
    parser.add_argument("--language", default="en")
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--asked", type=int, default=40, help="test questions at most")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rank", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        workspace = Workspace.init(Path(place) / "workspace")
        workspace.ingest([options.docs])
        workspace.index()
        made = questions(workspace, QuestionSettings(count=options.questions, language=options.language))
        file = Path(place) / "raft.jsonl"
        print(f"{len(made.items)} questions; RAFT: {dict(write_raft(workspace, made.items, file))}", flush=True)
        test = [item for item in made.items if item.split == "test" and item.answerable][: options.asked]
        print(f"{len(test)} questions about documents that nothing is learned from")
        print(" " * 10 + "".join(f"{name:>12}" for name in ("own words", "with quotes", "cited", "refused", "seconds")))
        print("base      " + measure(workspace, test), flush=True)
        began = time.perf_counter()
        settings = TuneSettings(method="lora", rank=options.rank, steps=options.steps, validation=0.1)
        done = tune(plan_job(workspace, Sources(data=(file,)), settings))
        before = done.metrics.get("held_out_before", float("nan"))
        print(f"tuned in {time.perf_counter() - began:.0f} s: held-out loss {before:.3f} → {done.held_out:.3f}")
        print("adapter   " + measure(workspace.writing_with(done.artifact.id), test), flush=True)


if __name__ == "__main__":
    main()
