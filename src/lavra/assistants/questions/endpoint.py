"""Who is asked to write questions: a model of our own, or any server that speaks OpenAI's chat protocol.

An endpoint is asked again, later each time, where it has too much to do (429, with its ``Retry-After``), where it
fails (5xx) and where it is silent. Its key comes from an environment variable and goes into one header, nowhere else.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from lavra.errors import LavraError
from lavra.inference.engine import Engine
from lavra.inference.sampling import Sampling
from lavra.prompting import Turn

ANSWER_TOKENS = 700
ATTEMPTS = 6
LONGEST_WAIT = 60.0
"""Seconds; 1, 2, 4 … between attempts, or what the server asks for."""


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
    """An OpenAI-compatible server: ``url`` as its clients take it, ending in ``/v1`` mostly."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_env: str | None = None,
        timeout: float = 120.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise LavraError(f"the endpoint {url!r} is no address: give one such as http://localhost:8000/v1.")
        if parts.username or parts.password or parts.query:
            raise LavraError("the endpoint's address holds a key: name an environment variable by --key-env instead.")
        key = os.environ.get(key_env, "") if key_env else ""
        if key_env and not key:
            raise LavraError(f"the environment variable {key_env} is empty: put the endpoint's key there.")
        self.name, self.url = model, url.rstrip("/")
        self.counts: Counter[str] = Counter()
        self._sleep = sleep
        self._plain_json = True
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(timeout=timeout, headers=headers, follow_redirects=False)

    def write(self, turns: Sequence[Turn]) -> str:
        """The answer's text.

        Raises:
            LavraError: where the server refuses, or has not answered after the last attempt.
        """
        reason = ""
        for attempt in range(ATTEMPTS):
            wait = min(2.0**attempt, LONGEST_WAIT)
            body: dict[str, Any] = {
                "model": self.name, "messages": list(turns), "temperature": 0, "max_tokens": ANSWER_TOKENS,
            }  # fmt: skip
            if self._plain_json:
                body["response_format"] = {"type": "json_object"}
            self.counts["requests"] += 1
            try:
                response = self._client.post(f"{self.url}/chat/completions", json=body)
            except httpx.TimeoutException:
                self.counts["timeouts"] += 1
                reason = "it did not answer in time"
            except httpx.HTTPError as error:
                self.counts["connections failed"] += 1
                reason = f"{type(error).__name__}"
            else:
                status = response.status_code
                if status == 200:
                    return self._text(response)
                reason = f"it answered {status}"
                if status in (400, 422) and self._plain_json:  # not every server knows response_format
                    self._plain_json = False
                    continue
                if status == 429:
                    self.counts["rate limits"] += 1
                    wait = _retry_after(response.headers.get("retry-after"), wait)
                elif status in (408, 409) or status >= 500:
                    self.counts["server errors"] += 1
                else:
                    raise LavraError(f"the endpoint {self.url} refuses ({status}): {_hint(status)}.")
            if attempt < ATTEMPTS - 1:
                self._sleep(wait)
        raise LavraError(
            f"the endpoint {self.url} was asked {ATTEMPTS} times ({reason}): run the same command later, it continues."
        )

    def _text(self, response: httpx.Response) -> str:
        try:
            content = response.json()["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError):
            self.counts["answers of another form"] += 1
            return ""
        return content if isinstance(content, str) else ""


def _retry_after(value: str | None, otherwise: float) -> float:
    try:
        return min(max(float(value or otherwise), 0.0), LONGEST_WAIT)
    except ValueError:  # a date
        return otherwise


def _hint(status: int) -> str:
    if status in (401, 403):
        return "name the variable that holds its key by --key-env"
    return "check --endpoint and --endpoint-model" if status == 404 else "check its log"
