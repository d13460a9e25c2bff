"""How often the answer holds what it should: grounded answers beside the bare model's text and beside quoting alone.

Questions of public sets (FaQuAD, Pirá, XQuAD) are asked of an assistant over all passages of the set, and of the same
set with the right passage taken away, where the only right answer is to say that nothing was found.

    python benchmarks/answers.py [--sets xquad-en,pira-pt] [--questions 60]

Columns: the share of questions whose gold answer stands in the text (containment, accents and case folded), the same
with the quotes that are shown below it, the share of the gold answer's words that stand in the text, answers with a
citation, answers that are quotes alone, seconds an answer, and the share refused.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from lavra.assistants.assistant import AnswerSettings, Assistant
from lavra.assistants.citing import SUPPORT
from lavra.assistants.events import Answer, Message
from lavra.corpus.document import Document
from lavra.inference.embedder import Embedder
from lavra.inference.engine import Engine
from lavra.inference.sampling import Sampling
from lavra.prompting import load_template
from lavra.retrieval.analysis import fold, words
from lavra.retrieval.index import Index

PUBLIC = frozenset({"public"})
MARKER = re.compile(r"\[\d+\]")


def recall(gold: str, text: str) -> float:
    """Share of the gold answer's words that stand in the text."""
    wanted = words(gold)
    there = set(words(text))
    return sum(word in there for word in wanted) / max(1, len(wanted))


def measure(assistant: Assistant, questions: list[dict]) -> str:
    """A line of figures."""
    contained, quoting, recalled, cited, seconds, refused, quoted = [], [], [], [], [], [], []
    for question in questions:
        started = time.perf_counter()
        *_, answer = assistant.answer([Message("user", question["text"])], roles=PUBLIC)
        seconds.append(time.perf_counter() - started)
        assert isinstance(answer, Answer)
        text = MARKER.sub("", answer.text)
        refused.append(not answer.answerable)
        shown = " ".join([text, *(citation.quote for citation in answer.citations)])
        contained.append(any(fold(gold.strip(" .")) in fold(text) for gold in question["answers"]))
        quoting.append(any(fold(gold.strip(" .")) in fold(shown) for gold in question["answers"]))
        recalled.append(max(recall(gold, text) for gold in question["answers"]))
        cited.append(bool(answer.citations))
        quoted.append(answer.quoted)
    mean = statistics.fmean
    return (
        f"{mean(contained):9.3f} {mean(quoting):11.3f} {mean(recalled):12.3f} {mean(cited):6.2f} {mean(quoted):7.2f} "
        f"{statistics.median(seconds):9.2f} {mean(refused):8.2f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/retrieval"))
    parser.add_argument("--sets", default="xquad-en,pira-pt,faquad-pt")
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--prompt", default="grounded")
    parser.add_argument("--passages", type=int, default=4)
    parser.add_argument("--support", type=float, default=SUPPORT)
    options = parser.parse_args()
    engine, embedder = Engine.load(options.model), Embedder.load("e5-small-enpt")
    prompt = load_template(options.prompt)
    columns = {
        "contained": 9,
        "with quotes": 11,
        "token recall": 12,
        "cited": 6,
        "quoted": 7,
        "s/answer": 9,
        "refused": 8,
    }
    header = " " * 34 + "".join(f" {name:>{width}}" for name, width in columns.items())
    for name in options.sets.split(","):
        language = name.rsplit("-", 1)[1]
        rows = [json.loads(line) for line in (options.data / name / "corpus.jsonl").open(encoding="utf-8")]
        asked = [json.loads(line) for line in (options.data / name / "queries.jsonl").open(encoding="utf-8")]
        asked = random.Random(1).sample([q for q in asked if q["answers"]], options.questions)
        documents = [Document(f"{name}/{r['_id']}", r["text"], r.get("title", ""), language=language) for r in rows]
        print(f"\n{name}: {len(asked)} questions, {len(documents)} documents, {options.model}\n{header}", flush=True)
        with tempfile.TemporaryDirectory() as place:
            index = Index.open(Path(place), embedder)
            index.update(documents)
            settings = AnswerSettings(
                passages=options.passages, support=options.support, sampling=Sampling(max_tokens=128)
            )
            for label, variant in (
                ("strict (ships)", settings),
                ("cite: the model's own text", replace(settings, grounding="cite")),
                ("quotes alone", replace(settings, support=2.0)),
            ):
                if label == "quotes alone":
                    variant = replace(variant, sampling=Sampling(max_tokens=1))
                assistant = Assistant("a", engine, index, prompt, variant, language=lambda _, code=language: code)
                print(f"{label:34} {measure(assistant, asked)}", flush=True)
            gone = {document for question in asked[:20] for document in question["docs"]}
            index.update([d for d in documents if d.source.split("/")[1] not in gone])
            assistant = Assistant("a", engine, index, prompt, settings, language=lambda _, code=language: code)
            print(f"{'strict, without the right passage':34} {measure(assistant, asked[:20])}", flush=True)


if __name__ == "__main__":
    main()
