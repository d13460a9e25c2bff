"""A server that speaks OpenAI's chat protocol, asked with patience.

It is asked again, later each time, where it has too much to do (429, with its ``Retry-After``), where it fails (5xx),
where it is silent and where the line breaks, also in the middle of an answer; all of that is counted. Its key comes
from an environment variable and goes into one header, nowhere else.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from lavra.errors import LavraError

ATTEMPTS = 6
LONGEST_WAIT = 60.0
"""Seconds; 1, 2, 4 … between attempts, or what the server asks for."""


class Refused(LavraError):
    """The server will not, however often it is asked; ``code`` is HTTP's."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Said:
    """What a model on a server wrote. ``first``: seconds from the question to its first words; tokens are the
    server's own counts, 0 where it gives none; ``well_formed``: False for a reply in another form."""

    text: str
    first: float
    finish: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    well_formed: bool = True


class _BrokenOff(Exception):
    """An answer that ended before its end, for a reason that may pass."""


@dataclass(frozen=True)
class Options:
    """What a user calls a server's address, its model and its key's variable: said where one of them is wrong."""

    address: str = "--endpoint"
    model: str = "--endpoint-model"
    key: str = "--key-env"


class Server:
    """``url`` as its clients take it, ending in ``/v1`` mostly."""

    def __init__(
        self,
        url: str,
        *,
        key_env: str | None = None,
        timeout: float = 120.0,
        sleep: Callable[[float], None] = time.sleep,
        options: Options = Options(),
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise LavraError(f"the endpoint {url!r} is no address: give one such as http://localhost:8000/v1.")
        if parts.username or parts.password or parts.query:
            raise LavraError(
                f"the endpoint's address holds a key: name an environment variable by {options.key} instead."
            )
        key = os.environ.get(key_env, "") if key_env else ""
        if key_env and not key:
            raise LavraError(f"the environment variable {key_env} is empty: put the endpoint's key there.")
        self.url = url.rstrip("/")
        self.counts: Counter[str] = Counter()
        self._sleep, self._options, self._key = sleep, options, key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(timeout=timeout, headers=headers, follow_redirects=False)

    def chat(self, body: Mapping[str, Any]) -> Said:
        """The answer to a chat completion's ``body``.

        Raises:
            Refused: where asking again would not help.
            LavraError: where the server has not answered after the last attempt.
        """
        reason = ""
        for attempt in range(ATTEMPTS):
            wait = min(2.0**attempt, LONGEST_WAIT)
            self.counts["requests"] += 1
            began = time.perf_counter()
            try:
                with self._client.stream("POST", f"{self.url}/chat/completions", json=dict(body)) as response:
                    if response.status_code == 200:
                        return self._read(response, began)
                    reason = f"it answered {response.status_code}"
                    wait = self._failed(response, wait)
            except httpx.TimeoutException:
                self.counts["timeouts"] += 1
                reason = "it did not answer in time"
            except httpx.HTTPError as error:
                self.counts["connections failed"] += 1
                reason = f"{type(error).__name__}"
            except _BrokenOff as error:
                self.counts["answers broken off"] += 1
                reason = str(error)
            if attempt < ATTEMPTS - 1:
                self._sleep(wait)
        raise LavraError(
            f"the endpoint {self.url} was asked {ATTEMPTS} times ({reason}): run the same command later, it continues."
        )

    def _failed(self, response: httpx.Response, wait: float) -> float:
        """Seconds to wait after an answer that is none. Raises Refused where waiting would not help."""
        status = response.status_code
        if status == 429:
            self.counts["rate limits"] += 1
            return _retry_after(response.headers.get("retry-after"), wait)
        if status in (408, 409) or status >= 500:
            self.counts["server errors"] += 1
            return wait
        response.read()
        raise self._refused(status, _message(response.content))

    def _refused(self, status: int, message: str) -> Refused:
        """With the server's own reason, which may quote what it was sent, but never the key."""
        given = self._options
        hint = "check its log"
        if status in (401, 403):
            message, hint = "", f"name the variable that holds its key by {given.key}"
        elif status == 404:
            hint = f"check {given.address} and {given.model}"
        if self._key:
            message = message.replace(self._key, "…")
        said = f"it says “{message}”; " if message else ""
        return Refused(f"the endpoint {self.url} refuses ({status}): {said}{hint}.", status)

    def _read(self, response: httpx.Response, began: float) -> Said:
        """A stream of events, or one JSON object from a server that does not stream."""
        if "event-stream" in response.headers.get("content-type", ""):
            try:
                return _streamed(response.iter_lines(), began)
            except Refused as refused:
                raise self._refused(refused.code, str(refused)) from None
        response.read()
        said = _whole(response, began)
        if not said.well_formed:
            self.counts["answers of another form"] += 1
        return said


def _whole(response: httpx.Response, began: float) -> Said:
    passed = time.perf_counter() - began
    try:
        value = response.json()
        choice = value["choices"][0]
        content = choice["message"]["content"]
        if not isinstance(content, str):
            raise TypeError
    except (ValueError, KeyError, IndexError, TypeError):
        return Said("", passed, well_formed=False)
    return Said(content, passed, str(choice.get("finish_reason") or "stop"), *_usage(value))


def _streamed(lines: Iterator[str], began: float) -> Said:
    """Server-sent events: pieces of the answer, the usage perhaps, and ``[DONE]``.

    Raises:
        Refused: where an error stands in the stream that is the question's fault.
        _BrokenOff: where it is another error, or the stream ends before the answer does.
    """
    text, first, finish, usage, ended = "", 0.0, "", (0, 0), False
    for line in lines:
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:"):
            continue
        if data == "[DONE]":
            ended = True
            continue
        try:
            value = json.loads(data)
            choices = value.get("choices") or [{}]
            piece = (choices[0].get("delta") or {}).get("content") or ""
        except (ValueError, AttributeError, TypeError):
            continue
        if value.get("error"):
            _raise_streamed(value["error"])
        finish = str(choices[0].get("finish_reason") or finish)
        usage = _usage(value) if value.get("usage") else usage
        if piece and not first:
            first = time.perf_counter() - began
        text += str(piece)
    if not (ended or finish):
        raise _BrokenOff("its answer broke off")
    return Said(text, first or time.perf_counter() - began, finish or "stop", *usage)


def _raise_streamed(error: object) -> None:
    """Headers are sent by then, so that the error's type says whose fault it is."""
    values = error if isinstance(error, Mapping) else {}
    message = _short(values.get("message"))
    if values.get("type") == "invalid_request_error":
        raise Refused(message, 400)
    raise _BrokenOff(f"its answer ended in an error{f': {message}' if message else ''}")


def _message(content: bytes) -> str:
    """Of an error's body in OpenAI's shape; "" where there is none."""
    try:
        error = json.loads(content)["error"]
        return _short(error if isinstance(error, str) else error["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _short(message: object) -> str:
    """A server's words in a sentence of ours: one line, not too long, nothing that a terminal obeys."""
    words = " ".join(message.split()) if isinstance(message, str) else ""
    return "".join(letter for letter in words if letter.isprintable())[:200].rstrip(" .")


def _usage(value: Mapping[str, Any]) -> tuple[int, int]:
    """Tokens of prompt and answer, by the server's count."""
    usage = value.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    asked, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
    return asked if isinstance(asked, int) else 0, written if isinstance(written, int) else 0


def _retry_after(value: str | None, otherwise: float) -> float:
    """Seconds, given as a number or as a date (RFC 9110, section 10.2.3)."""
    try:
        seconds = float(value or otherwise)
    except ValueError:
        try:
            then = parsedate_to_datetime(value or "")
        except ValueError:
            return otherwise
        seconds = (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_WAIT)
