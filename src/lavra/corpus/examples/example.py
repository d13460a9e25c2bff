"""The kinds of examples. ``source`` is where one stands, ``file:line``, for sentences that a person acts on;
``document``, where a row names one, is what it was made from: examples of one document are held out together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Message = Mapping[str, Any]
"""As OpenAI's: ``role``, ``content``, and where there are ``tool_calls``, ``tool_call_id``, ``name``; ``weight`` of an
assistant's, 0 where it is context and not to be learned."""


@dataclass(frozen=True)
class Conversation:
    """Turns between a user and an assistant; ``tools``: the functions that it may call, as JSON schemas."""

    messages: tuple[Message, ...]
    source: str
    tools: tuple[Mapping[str, Any], ...] = ()
    document: str = ""

    @property
    def answers(self) -> list[int]:
        """Which messages are the assistant's."""
        return [number for number, message in enumerate(self.messages) if message["role"] == "assistant"]


@dataclass(frozen=True)
class Pair:
    """A prompt and what is to follow it; ``system``: what the assistant was told beforehand."""

    prompt: str
    answer: str
    source: str
    system: str = ""
    document: str = ""

    def as_conversation(self) -> Conversation:
        """The same for a model that talks."""
        told = ({"role": "system", "content": self.system},) if self.system else ()
        turns = ({"role": "user", "content": self.prompt}, {"role": "assistant", "content": self.answer})
        return Conversation((*told, *turns), self.source, document=self.document)


@dataclass(frozen=True)
class Text:
    """Plain text, all of it to be learned."""

    text: str
    source: str
    document: str = ""


Example = Conversation | Pair | Text


@dataclass(frozen=True)
class Problem:
    """Why a row was left out, and what to do about it."""

    source: str
    what: str

    def __str__(self) -> str:
        return f"{self.source}: {self.what}"
