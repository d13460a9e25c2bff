"""The OpenAI API's requests and responses, as far as they are honoured here.

What this server cannot do is refused by name and never silently ignored: a client that asks for a tool call or for log
probabilities must not believe that it got them. The neutral value of such a parameter is accepted.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, cast
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field

from lavra.assistants.events import Answer, Citation, Message
from lavra.inference.sampling import Sampling
from lavra.serving.errors import ApiError

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "best_of": (None, 1),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "functions": (None, []),
    "function_call": (None, "none", "auto"),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "prediction": (None,),
    "reasoning_effort": (None, "none"),
    "verbosity": (None, "medium"),
    "web_search_options": (None,),
    "store": (None, False),
    "service_tier": (None, "auto", "default"),
}
"""Parameters of the API that are not supported, and the values that ask for nothing."""


class TextPart(BaseModel):
    type: str
    text: str | None = None


class ChatMessage(BaseModel):
    """A turn. ``developer`` is the API's newer word for ``system``."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None

    def message(self, index: int) -> Message:
        role = "system" if self.role == "developer" else self.role
        if isinstance(self.content, str):
            return Message(role, self.content)
        texts = []
        for part in self.content:
            if part.type != "text" or part.text is None:
                raise ApiError(
                    f"A content part of type '{part.type}' is not supported: this server reads text only.",
                    code="unsupported_value",
                    param=f"messages.{index}.content",
                )
            texts.append(part.text)
        return Message(role, "".join(texts))


class StreamOptions(BaseModel):
    include_usage: bool = False
    include_obfuscation: bool = False


class ChatRequest(BaseModel):
    """``POST /v1/chat/completions``; ``top_k``, ``min_p`` and ``repetition_penalty`` are extensions."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    messages: list[ChatMessage] = Field(min_length=1, max_length=1000)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = None

    # Accepted and without effect on an answer.
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    metadata: dict[str, str] | None = None
    parallel_tool_calls: bool | None = None

    # Not supported: accepted only with their neutral value (``NEUTRAL``).
    n: Any = None
    best_of: Any = None
    frequency_penalty: Any = None
    presence_penalty: Any = None
    logit_bias: Any = None
    logprobs: Any = None
    top_logprobs: Any = None
    tools: Any = None
    tool_choice: Any = None
    functions: Any = None
    function_call: Any = None
    response_format: Any = None
    modalities: Any = None
    audio: Any = None
    prediction: Any = None
    reasoning_effort: Any = None
    verbosity: Any = None
    web_search_options: Any = None
    store: Any = None
    service_tier: Any = None

    def refuse_unsupported(self) -> None:
        """Raises ``ApiError`` for the first parameter that asks for something this server does not do."""
        for name, neutral in NEUTRAL.items():
            if getattr(self, name) not in neutral:
                raise ApiError(
                    f"'{name}' is not supported by this server: leave it out.",
                    code="unsupported_parameter",
                    param=name,
                )
        if self.stream_options is not None and not self.stream:
            raise ApiError(
                "'stream_options' is only allowed with 'stream': true.",
                code="invalid_value",
                param="stream_options",
            )

    def conversation(self) -> list[Message]:
        """The messages, the last of which must be the user's, with something in it."""
        messages = [message.message(index) for index, message in enumerate(self.messages)]
        if messages[-1].role != "user" or not messages[-1].content.strip():
            raise ApiError("The last message must be the user's question.", code="invalid_value", param="messages")
        return messages

    def sampling(self, default: Sampling | None) -> Sampling | None:
        """``default`` with what the request says; ``default`` itself, be it None, where it says nothing."""
        given: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed")
        }
        given["max_tokens"] = self.max_completion_tokens or self.max_tokens
        if self.stop is not None:
            stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
            given["stop"] = tuple(text for text in stop if text)
        said = {name: value for name, value in given.items() if value is not None}
        return replace(default or Sampling(), **said) if said else default


def source_url(citation: Citation) -> str:
    """The page that shows the document, opened at the quote."""
    place = urlencode({"start": citation.start, "end": citation.end})
    return f"/sources/{citation.document_id}?{place}#cite"


def citation_json(citation: Citation) -> dict[str, Any]:
    return {
        "number": citation.number,
        "source": citation.source,
        "title": citation.title,
        "page": citation.page,
        "headings": list(citation.headings),
        "quote": citation.quote,
        "document_id": citation.document_id,
        "chunk_id": citation.chunk_id,
        "start": citation.start,
        "end": citation.end,
        "url": source_url(citation),
    }


class Completion:
    """Builds the response objects of one answer: the whole, or its chunks."""

    def __init__(self, model: str) -> None:
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.model = model

    def whole(self, answer: Answer) -> dict[str, Any]:
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": finish_reason(answer),
            "logprobs": None,
        }
        return self._object("chat.completion", [choice]) | {"usage": usage(answer)} | grounds(answer)

    def chunk(self, delta: Mapping[str, Any], finish: str | None = None, **extensions: Any) -> dict[str, Any]:
        choice = {"index": 0, "delta": dict(delta), "finish_reason": finish, "logprobs": None}
        return self._object("chat.completion.chunk", [choice]) | extensions

    def usage_chunk(self, answer: Answer) -> dict[str, Any]:
        return self._object("chat.completion.chunk", []) | {"usage": usage(answer)}

    def _object(self, kind: str, choices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": list(choices),
        }


def finish_reason(answer: Answer) -> str:
    """The API knows no "cancelled": who cancelled does not read it."""
    return "length" if answer.finish_reason == "length" else "stop"


def usage(answer: Answer) -> dict[str, int]:
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
    }


def grounds(answer: Answer) -> dict[str, Any]:
    """What an answer stands on: our extension of the API."""
    return {
        "citations": [citation_json(citation) for citation in answer.citations],
        "answerable": answer.answerable,
    }


class EmbeddingRequest(BaseModel):
    """``POST /v1/embeddings``; ``input_type`` is an extension: E5 embeds questions and passages differently."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    input: Any
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: int | None = None
    user: str | None = None
    input_type: Literal["document", "query"] = "document"

    def texts(self) -> list[str]:
        """The texts to embed, 1 to 2,048 of them."""
        given = cast("list[Any]", [self.input] if isinstance(self.input, str) else self.input)
        problem = None
        if not isinstance(given, list) or not given:
            problem = "must be a text or a list of texts"
        elif any(isinstance(item, int | list) for item in given):
            problem = "holds token ids, which mean nothing to another model's tokenizer: send the text itself"
        elif not all(isinstance(item, str) and item for item in given):
            problem = "must be a text or a list of texts, none of them empty"
        elif len(given) > 2048:
            problem = f"holds {len(given)} texts; 2,048 are the most at one time"
        if problem:
            raise ApiError(f"'input' {problem}.", code="invalid_value", param="input")
        return given
