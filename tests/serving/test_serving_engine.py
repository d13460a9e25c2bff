"""The server over a real model: what the client asks for is what the engine does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from live import eventually, serving

QUESTION = [{"role": "user", "content": "Name three fruits."}]
MODEL = "smollm2-135m"


class Counting:
    """An assistant that counts the tokens made through it."""

    def __init__(self, assistant: Any) -> None:
        self.assistant = assistant
        self.name = assistant.name
        self.context_length = assistant.context_length
        self.steps = 0
        self.cancelled_at: float | None = None

    def answer(self, messages: Any, *, roles: Any, sampling: Any = None, cancelled: Any = None) -> Iterator[Any]:
        def looked() -> bool:
            self.steps += 1
            return bool(cancelled())

        return self.assistant.answer(messages, roles=roles, sampling=sampling, cancelled=looked)


@pytest.fixture(scope="module")
def bare(pulled: Callable[[str], Path]) -> Any:
    from lavra.assistants.assistant import BareModel
    from lavra.inference.engine import Engine

    pulled(MODEL)
    return Counting(BareModel(MODEL, Engine.load(MODEL)))


class RealServices:
    def __init__(self, assistant: Any, pulled: Callable[[str], Path]) -> None:
        self.assistants = {MODEL: assistant}
        self.pulled = pulled

    @cached_property
    def embedder(self) -> Any:
        from lavra.inference.embedder import Embedder

        self.pulled("e5-small-enpt")
        return Embedder.load("e5-small-enpt")

    def status(self) -> dict[str, int]:
        return {}

    def example_questions(self) -> list[str]:
        return []


@pytest.fixture(scope="module")
def services(bare: Any, pulled: Callable[[str], Path]) -> RealServices:
    return RealServices(bare, pulled)


@pytest.fixture(scope="module")
def real(services: RealServices) -> Iterator[str]:
    with serving(services) as address:
        yield address


@pytest.fixture(scope="module")
def client(real: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{real}/v1", api_key="none", max_retries=0)


def ask(client: openai.OpenAI, **parameters: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=QUESTION, **parameters)  # type: ignore[call-overload]


def test_streamed_and_whole_greedy_answers_are_the_same(client: openai.OpenAI) -> None:
    whole = ask(client, max_tokens=10)
    chunks = list(ask(client, max_tokens=10, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.strip() == whole.choices[0].message.content.strip() != ""
    assert len(chunks) > 6  # it came in pieces
    assert chunks[-1].usage == whole.usage
    assert whole.usage.completion_tokens == 10
    assert whole.choices[0].finish_reason == "length"


def test_prompt_tokens_are_those_of_the_chat_template(client: openai.OpenAI, bare: Any) -> None:
    ids = bare.assistant.engine.tokenizer.encode_chat(QUESTION)
    assert ask(client, max_tokens=2).usage.prompt_tokens == len(ids)


def test_a_stop_string_ends_the_answer_and_is_not_in_it(client: openai.OpenAI) -> None:
    free = ask(client, max_tokens=40).choices[0].message.content
    word = free.split()[3]
    stopped = ask(client, max_tokens=40, stop=word).choices[0]
    assert stopped.finish_reason == "stop"
    assert word not in stopped.message.content
    assert free.startswith(stopped.message.content.strip())


def test_a_seed_repeats_a_sampled_answer(client: openai.OpenAI) -> None:
    settings = {"temperature": 1.0, "top_p": 0.95, "max_tokens": 16}
    first, again, other = (ask(client, seed=seed, **settings).choices[0].message.content for seed in (1, 1, 2))
    assert first == again != other


def test_the_engine_stops_soon_after_the_client_has_left(real: str, bare: Any) -> None:
    question = {"messages": [{"role": "user", "content": "Count from 1 to 1000."}], "max_tokens": 1500, "stream": True}
    with httpx.stream("POST", f"{real}/v1/chat/completions", json=question, timeout=60) as response:
        lines = response.iter_lines()
        for _ in range(6):
            next(line for line in lines if '"content"' in line)
        before = bare.steps
    left = time.monotonic()
    assert eventually(lambda: "lavra_answers_in_flight 0.0" in httpx.get(f"{real}/metrics").text)
    assert time.monotonic() - left < 2
    assert bare.steps - before < 40
    assert 'end="cancelled"' in httpx.get(f"{real}/metrics").text


def test_a_prompt_beyond_the_window_is_refused(client: openai.OpenAI) -> None:
    question = [{"role": "user", "content": "word " * 20_000}]
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=MODEL, messages=question)  # type: ignore[call-overload]
    assert "token" in refused.value.message


def test_embeddings_are_those_of_the_embedder(client: openai.OpenAI, services: RealServices) -> None:
    embedder = services.embedder
    texts = ["A licitação foi aberta.", "The tender was opened."]
    response = client.embeddings.create(model=embedder.name, input=texts)
    served = np.array([row.embedding for row in response.data], np.float32)
    np.testing.assert_allclose(served, embedder.documents(texts), atol=1e-6)
    assert np.linalg.norm(served, axis=1) == pytest.approx(1, abs=1e-3)
    assert response.usage.prompt_tokens == sum(embedder.count_tokens(texts)) > 8
    query = client.embeddings.create(model=embedder.name, input=texts, extra_body={"input_type": "query"})
    np.testing.assert_allclose([row.embedding for row in query.data], embedder.queries(texts), atol=1e-6)
