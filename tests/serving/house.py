"""A small workspace for the server's tests: real documents, and an assistant that answers by quoting them.

It stands in for the model where a test is about the protocol or the page, and must know each token beforehand; the
tests with a real model are in ``test_serving_engine.py``.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from lavra.assistants.events import Answer, Citation, Event, Message, Retrieved, TextDelta
from lavra.corpus.document import Document, Span
from lavra.errors import LavraError
from lavra.inference.sampling import Sampling
from lavra.retrieval.passage import Passage
from lavra.serving.services import Added

HANDBOOK = """# Travel and expenses

This handbook says how the institute pays for journeys. It holds for everybody who travels on its behalf.

## Daily allowance

The daily allowance is 62 euros in the country and 94 euros abroad. Half of it is paid for days on which the journey \
lasts less than six hours. Breakfast included in the hotel's price takes 20% off the allowance of that day.

## Trains and flights

Trains come first: a flight is paid only where the train takes longer than six hours. Tickets are booked in second \
class; first class is paid on journeys above three hours.

## Receipts

Receipts are handed in within 30 days after the journey. A lost receipt can be replaced, once a year, by a signed \
statement that says what was bought, where, and why no copy can be had.

| Allowance | Inland | Abroad |
| --- | --- | --- |
| Full day | 62 | 94 |
| Half day | 31 | 47 |
"""

MINUTES = """Minutes of the works council

The council agreed on 4 March that salaries rise by 3.1 percent. The negotiation with the ministry goes on in May.
"""


def spans(text: str) -> tuple[Span, ...]:
    headings = [
        Span("heading", m.start(), m.end(), label=m[2], level=len(m[1]))
        for m in re.finditer(r"^(#+) (.*)$", text, re.M)
    ]
    table, turn = text.find("| Allowance"), text.find("## Receipts")
    pages = (Span("page", 0, turn, "1"), Span("page", turn, len(text), "2")) if turn >= 0 else ()
    tables = (Span("table", table, len(text)),) if table >= 0 else ()
    return (*headings, *pages, *tables)


def document(source: str, text: str, **fields: object) -> Document:
    title = text.strip().splitlines()[0].lstrip("# ")
    return Document(source, text, title=title, language="en", format="markdown", spans=spans(text), **fields)  # type: ignore[arg-type]


class Quoting:
    """Answers with the sentences that share most words with the question, one word a delta."""

    context_length = 2048

    def __init__(self, house: House, name: str, *, delay: float = 0.0, endless: bool = False) -> None:
        self.house = house
        self.name = name
        self.delay = delay
        self.endless = endless
        self.produced = 0
        """Words made so far, over all answers: what a test of cancelling looks at."""
        self.asked: list[tuple[list[Message], frozenset[str], Sampling | None]] = []
        self.lock = threading.Lock()

    def answer(
        self,
        messages: Sequence[Message],
        *,
        roles: frozenset[str],
        sampling: Sampling | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Event]:
        self.asked.append((list(messages), roles, sampling))
        question = messages[-1].content
        if question == "too long":
            raise LavraError("The question is longer than the model's window of 2048 tokens: shorten it.")
        if question == "break":
            raise RuntimeError("a fault of the assistant's")
        with self.lock:
            citations = self.house.search(question, roles)
            yield Retrieved(citations, 0.9 if citations else 0.1)
            if question.startswith("say "):
                text = question[4:]
            elif citations:
                text = " ".join(f"{citation.quote} [{citation.number}]" for citation in citations[:2])
            else:
                yield Answer("Nothing in the documents answers this.", answerable=False, prompt_tokens=7)
                return
            sampling = sampling or Sampling()
            words = re.findall(r"\S+\s*|\s+", text)
            if self.endless:
                words = words * 10_000
            said = ""
            for n, word in enumerate(words):
                if cancelled() or n == sampling.max_tokens:
                    break
                time.sleep(self.delay)
                self.produced += 1
                said += word
                yield TextDelta(word)
            finish = "cancelled" if cancelled() else "length" if len(words) > sampling.max_tokens else "stop"
            cited = tuple(c for c in citations if f"[{c.number}]" in said)
            yield Answer(said, cited, finish, prompt_tokens=7, completion_tokens=min(len(words), sampling.max_tokens))


class WordEmbedder:
    """Directions by hash of the words: deterministic, of length 1, and alike for texts that share words."""

    name = "words-32"
    dimension = 32

    def documents(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in text.lower().split():
                row[sum(word.encode()) % self.dimension] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def queries(self, texts: Sequence[str]) -> np.ndarray:
        return -self.documents(texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


class NotRead:
    def __init__(self, source: str, reason: str) -> None:
        self.source, self.kind, self.reason = source, "unreadable", reason


class House:
    """``lavra.serving.services.Services`` over documents in memory."""

    def __init__(self, *, delay: float = 0.0) -> None:
        self.documents = [
            document("handbook/travel.md", HANDBOOK, licence="CC-BY-4.0", owner="Administration"),
            document("council/minutes.txt", MINUTES, roles=("council",)),
        ]
        self.quoting = Quoting(self, "handbook", delay=delay)
        self.endless = Quoting(self, "endless", delay=0.01, endless=True)
        self.assistants = {"handbook": self.quoting, "endless": self.endless}
        self.embedder = WordEmbedder()
        self.uploaded: list[tuple[str, bytes, frozenset[str]]] = []

    def readable(self, roles: frozenset[str]) -> list[Document]:
        return [found for found in self.documents if roles & set(found.roles)]

    def search(self, question: str, roles: frozenset[str]) -> tuple[Citation, ...]:
        asked = {word for word in re.findall(r"\w+", question.lower()) if len(word) > 3}
        found = []
        for held in self.readable(roles):
            for match in re.finditer(r"\S(?:[^\n.]|\.\d){20,}\.", held.text):
                words = set(re.findall(r"\w+", match[0].lower()))
                if common := len(asked & words):
                    headings = tuple(
                        s.label for s in held.spans if s.kind == "heading" and s.level > 1 and s.start < match.start()
                    )
                    start = match.start()
                    found.append((-common, len(found), held, start, match.end(), headings[-1:]))
        return tuple(
            Citation(n, f"{held.id}-{start}", held.id, held.source, held.title, held.text[start:end], start, end,
                     page="1" if "## Receipts" in held.text else None, headings=headings)
            for n, (_, _, held, start, end, headings) in enumerate(sorted(found, key=lambda f: f[:2])[:3], start=1)
        )  # fmt: skip

    def document(self, document_id: str, roles: frozenset[str]) -> Document | None:
        return next((held for held in self.readable(roles) if held.id == document_id), None)

    def passage(self, chunk_id: str, roles: frozenset[str]) -> Passage | None:
        return None

    def add_document(self, filename: str, data: bytes, *, roles: frozenset[str]) -> list[Added | NotRead]:
        self.uploaded.append((filename, data, roles))
        if data.startswith(b"PK"):
            return [NotRead(filename, "it is a zip archive, whatever its name says")]
        added = document(f"uploads/{filename}", data.decode(), roles=tuple(roles))
        self.documents.append(added)
        return [Added(added.id, added.source, added.title, 1)]

    def status(self) -> dict[str, int]:
        return {"documents": len(self.documents), "passages": 3 * len(self.documents)}

    def example_questions(self) -> list[str]:
        return [
            "How high is the daily allowance abroad?",
            "When is a flight paid instead of a train?",
            "What happens when a receipt is lost?",
        ]
