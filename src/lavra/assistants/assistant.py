"""The assistant: a model, a prompt and (for the ways that retrieve) an index, answering with checked citations.

This is the thing that is compared, released and served. One question goes: retrieve with the reader's roles → refuse
if nothing found is good enough → fit the sources into the window → generate → show the sentences that a source
supports, with the source's number → where there is none, quote the sources.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from lavra.assistants.citing import QUOTE, SUPPORT, Citer, Sources, Support, best_window, overlap
from lavra.assistants.events import (
    Answer,
    Citation,
    Event,
    FinishReason,
    Message,
    Retrieved,
    TextDelta,
    passage_place,
)
from lavra.assistants.examples import Examples
from lavra.assistants.quoting import NEAR, best_quotes
from lavra.assistants.sentences import together
from lavra.errors import LavraError
from lavra.inference.engine import Engine
from lavra.inference.sampling import Sampling
from lavra.prompting import PromptTemplate, Source, Turn, plain
from lavra.retrieval.analysis import words
from lavra.retrieval.index import Index
from lavra.retrieval.passage import Passage

FOLLOW_UP = 4
"""A question of fewer words than this ("and in 2023?") is searched for together with the one before."""


Locate = Callable[[str, int], tuple[str | None, tuple[str, ...]] | None]
Grounding = Literal["strict", "cite"]


@dataclass(frozen=True)
class AnswerSettings:
    """How an assistant answers; part of its recipe."""

    passages: int = 4
    """Passages found: what an answer may cite, and quote."""
    read: int = 2
    """How many of these, the best, the model reads before it answers. More confuse a small model: of English questions
    (XQuAD) a 135M model answered 40% rightly with two, 15% with four."""
    threshold: float | None = None
    """Confidence below which it refuses; ``None`` takes the one measured for the index's fusion."""
    support: float = SUPPORT
    """Share of a sentence that must stand in a source for the source to be cited."""
    grounding: Grounding = "strict"
    """``strict``: only sentences that a source supports are shown; the sentence of the sources that is nearest to the
    question is quoted where they do not rest on it, and the nearest two where there is none.
    ``cite``: everything is shown as it comes, and what is supported is cited."""
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=256))


class Assistant:
    """Answers from an index. Thread-safe as far as its engine and index are."""

    def __init__(
        self,
        name: str,
        engine: Engine,
        index: Index,
        prompt: PromptTemplate,
        settings: AnswerSettings | None = None,
        *,
        language: Callable[[str], str] = lambda text: "und",
        locate: Locate | None = None,
        examples: Examples = lambda question: (),
    ) -> None:
        """``language`` tells a question's; ``locate`` the page and headings of an offset in a document, where a
        citation can be more exact than its passage (which may begin on the page before); ``examples`` stand before a
        question, as the prompt says."""
        self.name = name
        self.engine = engine
        self.index = index
        self.prompt = prompt
        self.settings = settings or AnswerSettings()
        self._language = language
        self._locate = locate
        self._examples = examples

    @property
    def context_length(self) -> int:
        return self.engine.context_length

    @property
    def sampling(self) -> Sampling:
        """The decoding settings of a request that names none."""
        return self.settings.sampling

    def answer(
        self,
        messages: Sequence[Message],
        *,
        roles: frozenset[str],
        sampling: Sampling | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Event]:
        """Answer the last message, from documents that one of ``roles`` may read (see ``events``)."""
        started = time.perf_counter()
        question, history = last_question(messages)
        sampling = sampling or self.settings.sampling
        found = self.index.search(search_text(question, history), roles=roles, k=self.settings.passages)
        retrieved = time.perf_counter() - started
        language = self._language(question)
        if language == "und" and found.passages:
            language = found.passages[0].language
        language = self.prompt.language(language)
        sources = Sources([passage.text for passage in found.passages], language)
        offered = tuple(
            self._cite(passage, best_window(sources, number, question)) for number, passage in enumerate(found.passages)
        )
        yield Retrieved(offered, found.confidence)
        answerable = (
            found.answerable if self.settings.threshold is None else found.confidence >= self.settings.threshold
        )
        if not (answerable and found.passages):
            text = self.prompt.refusal(language)
            yield TextDelta(text)
            yield Answer(text, answerable=False, timings=_timings(started, retrieved))
            return
        prompt = self._fit(question, found.passages, history, language, sampling.max_tokens)
        if self.settings.grounding == "cite":
            citer = Citer(sources, self.settings.support)
            for event in stream(self.engine, prompt, sampling, cancelled, started, citer, retrieved):
                if isinstance(event, Answer):
                    event = replace(event, citations=self._places(citer.cited, found.passages))
                yield event
            return
        quotes = best_quotes(question, sources, [passage.score for passage in found.passages], self.index.embedder)
        near = [quote for quote in quotes if quote.score > quotes[0].score - NEAR]
        citer = Citer(sources, self.settings.support, strict=True, question=question, expected=near)
        for event in stream(self.engine, prompt, sampling, cancelled, started, citer, retrieved):
            if isinstance(event, Answer):
                said = citer.cited
                if event.finish_reason != "cancelled":
                    more = (
                        [quote for quote in quotes[:1] if not any(overlap(quote, s) for s in said)] if said else quotes
                    )
                    if len(near) == len(quotes):  # equally good ones read best in the order of the document
                        more = sorted(more, key=lambda quote: (quote.source, quote.start))
                    lines = [_quote(sources, quote) for quote in more]
                    if not said:
                        lines.insert(0, self.prompt.quoting(language))
                    if more:
                        addition = ("\n\n" if said else "") + "\n\n".join(lines)
                        yield TextDelta(addition)
                        event = replace(event, text=event.text + addition, finish_reason="stop", quoted=not said)
                        if not said:
                            event = replace(event, timings=_timings(started, retrieved))
                    said = [*said, *more]
                event = replace(event, citations=self._places(said, found.passages))
            yield event

    def _fit(
        self, question: str, passages: Sequence[Passage], history: list[Turn], language: str, reserve: int
    ) -> list[int]:
        """The prompt's ids: as much of the history and of the sources, best first, as the window leaves room for.

        Raises:
            LavraError: if the question alone leaves no room for an answer.
        """
        room = self.context_length - reserve
        sources = as_sources(passages[: self.settings.read])
        examples = list(self._examples(question))
        while True:
            shown = [turn for asked, answer in examples for turn in exchange(asked, answer)]
            turns = self.prompt.turns(question, sources, language=language, history=[*shown, *history])
            ids = self.engine.tokenizer.encode_chat(turns)
            if len(ids) <= room:
                return ids
            if examples:
                examples = examples[1:]
            elif history:
                history = history[2:]  # a question and its answer leave together
            elif len(sources) > 1:
                sources = sources[:-1]
            elif sources and len(sources[0].text) > 200:
                sources = [replace(sources[0], text=sources[0].text[: len(sources[0].text) * 3 // 4])]
            else:
                raise LavraError(
                    f"the question takes {len(ids)} tokens and the answer may take {reserve}, but the window of "
                    f"{self.engine.name} has {self.context_length}: ask a shorter question or lower max_tokens."
                )

    def _places(self, supports: Iterable[Support], passages: Sequence[Passage]) -> tuple[Citation, ...]:
        """A citation for each source, in the order of their numbers.

        It quotes what supports all its sentences where that is short and one paragraph, else what supports the first.
        """
        by_source: dict[int, list[Support]] = {}
        for support in supports:
            by_source.setdefault(support.source, []).append(support)
        citations = []
        for source, places in sorted(by_source.items()):
            start, end = min(place.start for place in places), max(place.end for place in places)
            whole = Support(source, places[0].score, start, end)
            one = end - start <= QUOTE and together(passages[source].text, start, end)
            citations.append(self._cite(passages[source], whole if one else places[0]))
        return tuple(citations)

    def _cite(self, passage: Passage, support: Support) -> Citation:
        """The numbered source that quotes what ``support`` points at in a passage."""
        start = passage.start + support.start
        place = self._locate(passage.document_id, start) if self._locate else None
        page, headings = place or (passage.page, passage.headings)
        return Citation(
            number=support.source + 1,
            chunk_id=passage.chunk_id,
            document_id=passage.document_id,
            source=passage.source,
            title=passage.title,
            quote=passage.text[support.start : support.end],
            start=start,
            end=passage.start + support.end,
            page=page,
            headings=headings,
            score=passage.score,
        )


class BareModel:
    """A model without documents, with the same interface: what the ``prompt`` way serves."""

    def __init__(self, name: str, engine: Engine, sampling: Sampling | None = None) -> None:
        self.name = name
        self.engine = engine
        self.sampling = sampling or Sampling(max_tokens=256)

    @property
    def context_length(self) -> int:
        return self.engine.context_length

    def answer(
        self,
        messages: Sequence[Message],
        *,
        roles: frozenset[str],
        sampling: Sampling | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Event]:
        """Continue the conversation. ``roles`` are ignored: a bare model has no documents to guard."""
        started = time.perf_counter()
        ids = self.engine.tokenizer.encode_chat([{"role": m.role, "content": m.content} for m in messages])
        yield from stream(self.engine, ids, sampling or self.sampling, cancelled, started)


def stream(
    engine: Engine,
    prompt: Sequence[int],
    sampling: Sampling,
    cancelled: Callable[[], bool],
    started: float,
    citer: Citer | None = None,
    retrieve: float = 0.0,
) -> Iterator[Event]:
    """Generate, cite on the way, and end with the whole answer."""
    text, tokens, first = "", 0, 0.0
    finish: FinishReason = "stop"
    for piece in engine.stream(prompt, sampling, cancelled=cancelled):
        tokens += piece.token_id >= 0
        if delta := "".join(citer.push(piece.text)) if citer else piece.text:
            first = first or time.perf_counter() - started
            text += delta
            yield TextDelta(delta)
        if piece.finish_reason:
            finish = piece.finish_reason
        elif citer and citer.stuck:
            break
    if citer and (delta := "".join(citer.close(cut=finish == "length"))):
        first = first or time.perf_counter() - started
        text += delta
        yield TextDelta(delta)
    timings = {"retrieve": retrieve, "first_token": first, "total": time.perf_counter() - started}
    yield Answer(
        text.strip(),
        finish_reason=finish,
        prompt_tokens=len(prompt),
        completion_tokens=tokens,
        timings=timings,
    )


def as_sources(passages: Sequence[Passage]) -> list[Source]:
    """Passages as a prompt shows them, numbered: in use, and in what a model is trained on (``questions.raft``)."""
    return [
        Source(number, passage_place(passage.source, passage.page, passage.headings), plain(passage.text))
        for number, passage in enumerate(passages, start=1)
    ]


def _quote(sources: Sources, place: Support) -> str:
    """``“The sentence as it stands there.” [2]``"""
    return f"“{' '.join(sources.texts[place.source][place.start : place.end].split())}” [{place.source + 1}]"


def _timings(started: float, retrieved: float) -> dict[str, float]:
    """Of an answer that came all at once."""
    total = time.perf_counter() - started
    return {"retrieve": retrieved, "first_token": total, "total": total}


def exchange(question: str, answer: str) -> list[Turn]:
    """A question and its answer, as turns."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def last_question(messages: Sequence[Message]) -> tuple[str, list[Turn]]:
    """The question to answer and the turns before it, without the caller's system messages.

    Raises:
        LavraError: if the last message is not a user's or says nothing.
    """
    if not messages or messages[-1].role != "user" or not messages[-1].content.strip():
        raise LavraError("the last message has to be the user's question, and not empty.")
    history: list[Turn] = [{"role": m.role, "content": m.content} for m in messages[:-1] if m.role != "system"]
    return messages[-1].content.strip(), history


def search_text(question: str, history: Sequence[Turn]) -> str:
    """What to search for: a short follow-up means little without the question before it."""
    if len(words(question)) < FOLLOW_UP:
        for turn in reversed(history):
            if turn["role"] == "user":
                return f"{turn['content']} {question}"
    return question
