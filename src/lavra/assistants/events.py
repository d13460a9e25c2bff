"""What an assistant says while it answers: a stream of events, in this order.

``Retrieved`` once (absent where the assistant has no index), ``TextDelta`` many times, ``Answer`` once at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from lavra.inference.sampling import Sampling

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, as in the OpenAI API."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Citation:
    """A numbered source of an answer: a place a person can open, and what stands there."""

    number: int
    chunk_id: str
    document_id: str
    source: str
    title: str
    quote: str
    """The sentence or two of the source that support the answer, verbatim."""
    start: int
    end: int
    """Offsets of the quote in the document's text, in code points."""
    page: str | None = None
    headings: tuple[str, ...] = ()
    score: float = 0.0

    @property
    def place(self) -> str:
        """``manual.pdf, p. 3`` or ``guide.md, Install › Linux``."""
        return passage_place(self.source, self.page, self.headings)


def passage_place(source: str, page: str | None, headings: Sequence[str]) -> str:
    """Where something stands, as people say it."""
    where = f"p. {page}" if page else " › ".join(headings)
    return f"{source}, {where}" if where else source


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The sources offered to the model, numbered as the answer will number them."""

    citations: tuple[Citation, ...]
    confidence: float


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The whole answer, at the end of the stream."""

    text: str
    citations: tuple[Citation, ...] = ()
    """Only those the text cites, in order of their numbers."""
    finish_reason: FinishReason = "stop"
    answerable: bool = True
    """False: nothing good enough was found, and the text says so."""
    quoted: bool = False
    """True: the model said nothing that the sources support, so the text quotes them."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    timings: dict[str, float] = field(default_factory=dict)
    """Seconds: ``retrieve``, ``first_token`` (since the question came), ``total``."""


Event = Retrieved | TextDelta | Answer


class Answering(Protocol):
    """What the server serves: an assistant, or a bare model without documents."""

    @property
    def name(self) -> str: ...

    @property
    def context_length(self) -> int:
        """Tokens of the model's window."""
        ...

    def answer(
        self,
        messages: Sequence[Message],
        *,
        roles: frozenset[str],
        sampling: Sampling | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Event]:
        """Answer the last message. Raises ``LavraError`` for what the caller can repair."""
        ...
