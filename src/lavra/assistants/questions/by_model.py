"""Questions by a model: asked passage by passage with a versioned prompt, answered in JSON, read with suspicion.

What was answered is kept line by line beside the store, so that a killed run continues where it was and pays for no
passage twice. Nothing that a model writes is believed: the quote is looked up in the passage, the answer has to be
supported by it, and ``checks`` judges the rest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lavra.assistants.citing import SUPPORT, Sources, best_window
from lavra.assistants.questions.endpoint import Writer
from lavra.assistants.questions.items import Item, find_quote
from lavra.corpus.document import Document
from lavra.prompting import PromptTemplate, Turn, load_template, plain
from lavra.retrieval.chunking import Chunk

PER_PASSAGE = 3
TEXTS = ("system", "user", "repair")
FEWEST_WORDS = 25
"""Words of a passage below which there is nothing to ask three questions about."""


def prompt() -> PromptTemplate:
    """The prompt that asks for questions."""
    return load_template("questions", TEXTS)


def ask(
    writer: Writer, passages: Sequence[tuple[Document, Chunk]], language: str, kept: Path
) -> Iterator[tuple[int, list[Item]]]:
    """How many passages are done, and the items of each, those of an earlier run first.

    ``language``: of the questions; ``auto`` is each document's own. ``kept``: the file of what was answered.
    """
    template = prompt()
    answered = _read(kept)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with kept.open("ab") as file:
        for done, (document, chunk) in enumerate(passages, start=1):
            if chunk.id not in answered:
                spoken = template.language(document.language if language == "auto" else language)
                answers = _ask(writer, template, document, chunk, spoken)
                answered[chunk.id] = answers
                line = json.dumps({"chunk": chunk.id, "answers": answers}, ensure_ascii=False)
                file.write(line.encode("utf-8", "replace") + b"\n")
                file.flush()
                os.fsync(file.fileno())
            spoken = template.language(document.language if language == "auto" else language)
            items = (_item(answer, document, chunk, spoken) for answer in answered[chunk.id])
            yield done, [item for item in items if item]


def _read(path: Path) -> dict[str, list[dict[str, Any]]]:
    """What an earlier run kept; a line that a kill cut short is cut off."""
    if not path.exists():
        return {}
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    rows = [json.loads(line) for line in whole.splitlines()]
    return {row["chunk"]: row["answers"] for row in rows}


def _ask(
    writer: Writer, template: PromptTemplate, document: Document, chunk: Chunk, language: str
) -> list[dict[str, Any]]:
    values = {"count": PER_PASSAGE, "title": document.title, "passage": plain(chunk.text)}
    turns: list[Turn] = [
        {"role": role, "content": template.render(text, language, **values)}
        for role, text in (("system", "system"), ("user", "user"))
    ]
    said = writer.write(turns)
    answers = parse(said)
    if not answers and said:
        writer.counts["repairs"] += 1
        turns += [
            {"role": "assistant", "content": said},
            {"role": "user", "content": template.render("repair", language)},
        ]
        answers = parse(writer.write(turns))
    if not answers:
        writer.counts["passages without questions"] += 1
    return answers


def parse(said: str) -> list[dict[str, Any]]:
    """The question objects of an answer: JSON anywhere in it, between fences or words, whole or cut short."""
    decoder, at, found = json.JSONDecoder(), 0, []
    while (start := min((p for p in (said.find("{", at), said.find("[", at)) if p >= 0), default=-1)) >= 0:
        try:
            value, at = decoder.raw_decode(said, start)
        except (ValueError, RecursionError):
            at = start + 1
            continue
        found += _objects(value)
    return found


def _objects(value: Any) -> list[dict[str, Any]]:
    """``{"question", "answer"}`` objects inside a value, as plain texts."""
    if isinstance(value, list):
        return [entry for each in value for entry in _objects(each)]
    if not isinstance(value, dict):
        return []
    if isinstance(value.get("question"), str) and isinstance(value.get("answer"), (str, int, float)):
        quote = value.get("quote")
        return [
            {
                "question": value["question"],
                "answer": str(value["answer"]),
                "quote": quote if isinstance(quote, str) else "",
            }
        ]
    return [entry for each in value.values() for entry in _objects(each)]


def _item(answer: dict[str, Any], document: Document, chunk: Chunk, language: str) -> Item | None:
    """An item whose quote stands in the passage: the model's own, else what supports its answer there."""
    question, said = " ".join(answer["question"].split()), " ".join(answer["answer"].split())
    place = find_quote(chunk.text, answer["quote"])
    if place is None:
        support = best_window(Sources([chunk.text], document.language), 0, said)
        if support.score < SUPPORT:
            return None
        place = support.start, support.end
    if not question or not said:
        return None
    start, end = chunk.start + place[0], chunk.start + place[1]
    return Item(
        question, said, (said,), document.source, chunk.id, document.text[start:end], start, end, language,
        kind="asked", by="model",
    ).named()  # fmt: skip
