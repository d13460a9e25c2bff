"""Who is asked to write questions: a model of our own, or any server that speaks OpenAI's chat protocol."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lavra.assistants.server import Options, Refused, Server
from lavra.inference.engine import Engine
from lavra.inference.sampling import Sampling
from lavra.prompting import Turn

ANSWER_TOKENS = 700


class Writer(Protocol):
    """Somebody who answers a conversation. ``name`` goes into the recipe; ``counts`` into the report."""

    @property
    def name(self) -> str: ...

    counts: Counter[str]

    def write(self, turns: Sequence[Turn]) -> str: ...


@dataclass
class OwnModel:
    """A model on this machine."""

    engine: Engine
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        return self.engine.name

    def write(self, turns: Sequence[Turn]) -> str:
        ids = self.engine.tokenizer.encode_chat(list(turns))
        if len(ids) >= self.engine.context_length:
            self.counts["too long for the window"] += 1
            return ""
        self.counts["requests"] += 1
        return "".join(piece.text for piece in self.engine.stream(ids, Sampling(max_tokens=ANSWER_TOKENS)))


class Endpoint:
    """An OpenAI-compatible server; see ``assistants.server``. ``as_json``: it is asked for JSON, where it knows how."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_env: str | None = None,
        timeout: float = 120.0,
        sleep: Callable[[float], None] = time.sleep,
        options: Options = Options(),
        as_json: bool = True,
    ) -> None:
        self._server = Server(url, key_env=key_env, timeout=timeout, sleep=sleep, options=options)
        self.name, self.url, self.counts = model, self._server.url, self._server.counts
        self._json = as_json

    def write(self, turns: Sequence[Turn]) -> str:
        """The answer's text.

        Raises:
            LavraError: where the server refuses, or has not answered after the last attempt.
        """
        body: dict[str, Any] = {
            "model": self.name, "messages": list(turns), "temperature": 0, "max_tokens": ANSWER_TOKENS,
        }  # fmt: skip
        if self._json:
            try:
                return self._server.chat({**body, "response_format": {"type": "json_object"}}).text
            except Refused as refused:  # not every server knows response_format
                if refused.code not in (400, 422):
                    raise
            said = self._server.chat(body)  # refused again where the conversation is at fault, not the parameter
            self._json = False
            return said.text
        return self._server.chat(body).text
