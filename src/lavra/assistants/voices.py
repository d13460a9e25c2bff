"""Who speaks for an assistant without documents: a model on this machine, or one on somebody's server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from lavra.assistants.assistant import stream
from lavra.assistants.events import Answer, Event, FinishReason, TextDelta
from lavra.assistants.server import Refused, Said, Server
from lavra.inference.engine import Engine
from lavra.inference.sampling import Sampling
from lavra.prompting import Turn

UNKNOWN_WINDOW = 8192
"""Tokens that a server's model is taken to read: it does not say."""
_CHARACTERS = 3
"""Of a token, at least, in European languages: by which a prompt for a server is measured."""


class Voice(Protocol):
    """Somebody who continues a conversation."""

    @property
    def name(self) -> str: ...

    @property
    def context_length(self) -> int: ...

    def tokens(self, turns: Sequence[Turn]) -> int:
        """How long the conversation is, as this model reads it."""
        ...

    def say(
        self, turns: Sequence[Turn], sampling: Sampling, cancelled: Callable[[], bool], started: float
    ) -> Iterator[Event]:
        """Its answer, as ``events`` says; ``started``: when the question came, by ``time.perf_counter``."""
        ...


class Local:
    """A model on this machine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def name(self) -> str:
        return self.engine.name

    @property
    def context_length(self) -> int:
        return self.engine.context_length

    def tokens(self, turns: Sequence[Turn]) -> int:
        return len(self.engine.tokenizer.encode_chat(list(turns)))

    def say(
        self, turns: Sequence[Turn], sampling: Sampling, cancelled: Callable[[], bool], started: float
    ) -> Iterator[Event]:
        ids = self.engine.tokenizer.encode_chat(list(turns))
        yield from stream(self.engine, ids, sampling, cancelled, started)


class Remote:
    """A model on a server. Its answer is shown when it is whole, since what broke off is asked for again."""

    def __init__(self, server: Server, model: str, *, context_length: int = UNKNOWN_WINDOW) -> None:
        self.server, self.name, self.context_length = server, model, context_length
        self._streams = True

    def tokens(self, turns: Sequence[Turn]) -> int:
        return sum(len(turn["content"]) for turn in turns) // _CHARACTERS

    def say(
        self, turns: Sequence[Turn], sampling: Sampling, cancelled: Callable[[], bool], started: float
    ) -> Iterator[Event]:
        said = self._ask(self._body(turns, sampling))
        if said.text:
            yield TextDelta(said.text)
        finish: FinishReason = "length" if said.finish == "length" else "stop"
        timings = {"retrieve": 0.0, "first_token": said.first, "total": time.perf_counter() - started}
        yield Answer(
            said.text.strip(),
            finish_reason=finish,
            prompt_tokens=said.prompt_tokens,
            completion_tokens=said.completion_tokens,
            timings=timings,
        )

    def _ask(self, body: dict[str, Any]) -> Said:
        """Streamed, for the time of the first words; not every server can."""
        if self._streams:
            try:
                return self.server.chat({**body, "stream": True, "stream_options": {"include_usage": True}})
            except Refused as refused:
                if refused.code not in (400, 422):
                    raise
            said = self.server.chat(body)  # refused again where the conversation is at fault, not the stream
            self._streams = False
            return said
        return self.server.chat(body)

    def _body(self, turns: Sequence[Turn], sampling: Sampling) -> dict[str, Any]:
        """Only what differs from what a server does anyway, since not every server knows every name."""
        body: dict[str, Any] = {
            "model": self.name,
            "messages": list(turns),
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_tokens,
        }
        if sampling.top_p < 1:
            body["top_p"] = sampling.top_p
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        return body
