"""Questions to begin with, made from the documents' own headings and checked against the index.

An example that the assistant would refuse is worse than none, so only questions that it finds an answer to are shown.
They are made from documents that everybody may read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from itertools import islice

from lavra.corpus.document import PUBLIC, Document
from lavra.workspace.workspace import Workspace

_FORMS = {
    "en": "What does the document say about “{heading}”?",
    "pt": "O que o documento diz sobre “{heading}”?",
    "es": "¿Qué dice el documento sobre “{heading}”?",
}
_TRIED = 24


def examples(workspace: Workspace, count: int = 3) -> list[str]:
    """Up to ``count`` questions that the index answers with confidence, of different documents."""
    from lavra.corpus.ingest import load_documents

    corpus = workspace.corpus()
    if corpus is None:
        return []
    chosen: list[str] = []
    for question in islice(_candidates(load_documents(corpus.path)), _TRIED):
        if len(chosen) == count:
            break
        if workspace.live_index.search(question, roles=frozenset({PUBLIC}), k=1).answerable:
            chosen.append(question)
    return chosen


def _candidates(documents: Iterator[Document]) -> Iterator[str]:
    """The manual's own questions where the corpus is the manual; else one question a document."""
    manual = manual_questions()
    for document in documents:
        if PUBLIC not in document.roles:
            continue
        if question := manual.get("/".join(document.source.split("/")[-2:])):
            yield question
            continue
        headings = [span.label.strip() for span in document.spans if span.kind == "heading" and span.level > 1]
        for heading in headings:
            if 3 <= len(heading.split()) <= 9:
                yield _FORMS.get(document.language, _FORMS["en"]).format(heading=heading.rstrip(".:?!"))
                break


def manual_questions() -> dict[str, str]:
    """One question for each page of Lavra's manual, by the end of its path (``en/search.md``)."""
    values: dict[str, str] = json.loads(files("lavra.workspace").joinpath("manual.json").read_text(encoding="utf-8"))
    return values
