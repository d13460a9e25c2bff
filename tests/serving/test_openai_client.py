"""The official OpenAI client, over a real port, takes this server for the API it knows."""

from __future__ import annotations

import base64
import struct
from typing import Any

import numpy as np
import openai
import pytest
from house import House

QUESTION = "How high is the daily allowance abroad?"
EXPECTED = "The daily allowance is 62 euros in the country and 94 euros abroad."


@pytest.fixture(scope="module")
def client(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


def ask(client: openai.OpenAI, question: Any = QUESTION, model: str = "handbook", **parameters: Any) -> Any:
    messages = [{"role": "user", "content": question}]
    return client.chat.completions.create(model=model, messages=messages, **parameters)  # type: ignore[call-overload]


def test_an_answer_comes_whole_with_usage_finish_reason_and_citations(client: openai.OpenAI) -> None:
    completion = ask(client)
    choice = completion.choices[0]
    assert choice.message.role == "assistant"
    assert choice.message.content.startswith(EXPECTED + " [1]")
    assert choice.finish_reason == "stop"
    assert completion.object == "chat.completion"
    assert completion.usage.prompt_tokens == 7
    assert completion.usage.total_tokens == 7 + completion.usage.completion_tokens
    assert completion.answerable is True
    first = completion.citations[0]
    assert first["number"] == 1
    assert first["source"] == "handbook/travel.md"
    assert first["quote"] == EXPECTED
    assert first["url"].startswith(f"/sources/{first['document_id']}?start={first['start']}&end={first['end']}")
    assert set(first) >= {"title", "page", "headings", "chunk_id"}


def test_a_stream_adds_up_to_the_whole_answer(client: openai.OpenAI) -> None:
    whole = ask(client).choices[0].message.content
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].retrieved[0]["quote"] == EXPECTED
    finished = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
    assert [chunk.choices[0].finish_reason for chunk in finished] == ["stop"]
    assert finished[0].citations[0]["number"] == 1
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 5


def test_a_stream_says_nothing_of_usage_unless_asked(client: openai.OpenAI) -> None:
    assert all(chunk.usage is None for chunk in ask(client, stream=True))


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_length_limit_is_kept_and_said(client: openai.OpenAI, name: str) -> None:
    completion = ask(client, **{name: 3})
    assert completion.choices[0].message.content == "The daily allowance "
    assert completion.choices[0].finish_reason == "length"
    assert completion.usage.completion_tokens == 3


def test_an_answer_without_a_source_says_so(client: openai.OpenAI) -> None:
    completion = ask(client, "Who won the cup?")
    assert completion.answerable is False
    assert completion.citations == []
    assert completion.choices[0].message.content == "Nothing in the documents answers this."
    streamed = list(ask(client, "Who won the cup?", stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in streamed) == "Nothing in the documents answers this."


def test_decoding_settings_reach_the_assistant(client: openai.OpenAI, house: House) -> None:
    extra = {"top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1}
    ask(client, temperature=0.7, top_p=0.9, seed=5, stop=["\n\n"], max_tokens=9, extra_body=extra)
    sampling = house.quoting.asked[-1][2]
    assert sampling is not None
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0.7, 0.9, 40, 0.05)
    assert (sampling.repetition_penalty, sampling.seed, sampling.stop, sampling.max_tokens) == (1.1, 5, ("\n\n",), 9)


def test_half_of_the_window_stays_for_the_sources(client: openai.OpenAI, house: House) -> None:
    ask(client, max_tokens=100_000)
    sampling = house.quoting.asked[-1][2]
    assert sampling is not None
    assert sampling.max_tokens == house.quoting.context_length // 2


def test_a_request_that_says_nothing_leaves_decoding_to_the_assistant(client: openai.OpenAI, house: House) -> None:
    ask(client)
    assert house.quoting.asked[-1][2] is None


def test_content_parts_of_text_are_joined_and_developer_is_system(client: openai.OpenAI, house: House) -> None:
    parts = [{"type": "text", "text": "How high is the "}, {"type": "text", "text": "daily allowance?"}]
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    client.chat.completions.create(model="handbook", messages=messages)  # type: ignore[arg-type]
    system, user = house.quoting.asked[-1][0]
    assert (system.role, system.content) == ("system", "Be brief.")
    assert user.content == "How high is the daily allowance?"


@pytest.mark.parametrize(
    ("parameters", "param", "code"),
    [
        ({"n": 2}, "n", "unsupported_parameter"),
        ({"frequency_penalty": 0.5}, "frequency_penalty", "unsupported_parameter"),
        ({"presence_penalty": -1}, "presence_penalty", "unsupported_parameter"),
        ({"logprobs": True}, "logprobs", "unsupported_parameter"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "unsupported_parameter"),
        ({"response_format": {"type": "json_object"}}, "response_format", "unsupported_parameter"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools", "unsupported_parameter"),
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"top_p": 0}, "top_p", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"extra_body": {"colour": "blue"}}, "colour", "unknown_parameter"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    client: openai.OpenAI, parameters: dict[str, Any], param: str, code: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, **parameters)
    assert (refused.value.param, refused.value.code) == (param, code)
    assert param in refused.value.message


def test_neutral_values_of_unsupported_parameters_are_fine(client: openai.OpenAI) -> None:
    ask(client, n=1, frequency_penalty=0, presence_penalty=0.0, logprobs=False, tools=[], user="me",
        response_format={"type": "text"}, store=False)  # fmt: skip


def test_an_image_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="image_url"):
        ask(client, [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}])


def test_the_last_message_must_be_a_question(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="last message"):
        client.chat.completions.create(model="handbook", messages=[{"role": "assistant", "content": "Hello"}])
    with pytest.raises(openai.BadRequestError, match="messages"):
        client.chat.completions.create(model="handbook", messages=[])


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_caller_can_repair_has_its_status_also_when_streaming(client: openai.OpenAI, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError, match="2048 tokens"):
        ask(client, "too long", stream=stream)


@pytest.mark.parametrize("stream", [False, True])
def test_a_fault_is_a_500_without_its_innards(client: openai.OpenAI, stream: bool) -> None:
    with pytest.raises(openai.InternalServerError) as fault:
        ask(client, "break", stream=stream)
    assert "assistant's" not in str(fault.value)


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["handbook", "endless", "words-32"]
    assert client.models.retrieve("handbook").owned_by == "lavra"
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve("gpt-9")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError, match="gpt-9"):
        ask(client, model="gpt-9")


def test_embeddings_agree_with_the_embedder_in_both_encodings(client: openai.OpenAI, house: House) -> None:
    texts = ["daily allowance", "lost receipt"] * 40
    expected = house.embedder.documents(texts)
    floats = client.embeddings.create(model="words-32", input=texts, encoding_format="float")
    np.testing.assert_allclose([row.embedding for row in floats.data], expected, rtol=1e-6)
    assert [row.index for row in floats.data] == list(range(80))
    assert floats.usage.prompt_tokens == floats.usage.total_tokens == 160
    default = client.embeddings.create(model="words-32", input="daily allowance")  # the client asks for base64
    np.testing.assert_allclose(default.data[0].embedding, expected[0], rtol=1e-6)
    raw = client.embeddings.with_raw_response.create(model="words-32", input="x", encoding_format="base64")
    encoded = raw.http_response.json()["data"][0]["embedding"]
    assert len(struct.unpack("<32f", base64.b64decode(encoded))) == 32


def test_questions_are_embedded_as_such_when_asked(client: openai.OpenAI, house: House) -> None:
    response = client.embeddings.create(model="words-32", input="x", extra_body={"input_type": "query"})
    np.testing.assert_allclose(response.data[0].embedding, house.embedder.queries(["x"])[0], rtol=1e-6)


@pytest.mark.parametrize("given", [[1, 2, 3], [[1, 2], [3]], "", [], ["a", ""]])
def test_token_arrays_and_nothing_are_refused_clearly(client: openai.OpenAI, given: Any) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model="words-32", input=given)
    assert refused.value.param == "input"


def test_an_unknown_embedding_model_or_dimension_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="ada", input="x")
    with pytest.raises(openai.BadRequestError, match="32"):
        client.embeddings.create(model="words-32", input="x", dimensions=8)
