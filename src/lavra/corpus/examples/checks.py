"""What is wrong with an example: the mistakes in instruction sets that trainers pass over in silence."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from lavra.corpus.examples.example import Conversation, Example, Pair, Problem, Text
from lavra.store.files import digest

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_DAMAGED = 0.05
"""Share of replacement characters above which a text was decoded wrongly."""


def fault(example: Example) -> str | None:
    """Why ``example`` cannot be learned from and what to do; None where it can."""
    for text in _texts(example):
        if _CONTROL.search(text) or text.count("\ufffd") > _DAMAGED * len(text):
            return "holds bytes that are not text; decode it again, or delete the row"
    if isinstance(example, Text):
        return None if example.text.strip() else "the text is empty; delete the row"
    if isinstance(example, Pair):
        if not example.prompt.strip():
            return "the prompt is empty; write one, or give the text alone as `text`"
        return None if example.answer.strip() else "the answer is empty; write one, or delete the row"
    return _turns(example)


def _turns(example: Conversation) -> str | None:
    messages = example.messages
    if not messages:
        return "there are no messages; delete the row"
    turns = messages[1:] if messages[0]["role"] == "system" else messages
    roles = [message["role"] for message in turns]
    if "system" in roles:
        return "a system message stands after the beginning; put it first"
    if "assistant" not in roles:
        return "nobody answers: there is no assistant message; add one"
    if roles[0] == "assistant" and roles[-1] == "user":
        return "the roles are swapped: the assistant begins and the user has the last word; exchange them"
    if roles[0] != "user":
        return f"it begins with the {roles[0]}; begin with what the user says"
    for number, (before, message) in enumerate(pairwise(turns), 2):
        role = message["role"]
        if role == before["role"] and role != "tool":
            return f"turns {number - 1} and {number} are both the {role}'s; join them, or add what is missing between"
        if role == "tool" and not (before["role"] == "tool" or before.get("tool_calls")):
            return f"turn {number} is a tool's, and nothing called one; write the call as tool_calls"
        if role == "user" and before["role"] == "tool":
            return f"turn {number} is the user's where the assistant answers to its tool; add that answer"
    if roles[-1] != "assistant":
        return f"the last turn is the {roles[-1]}'s and nobody answers it; add the answer, or delete that turn"
    for number, message in enumerate(turns, 1):
        if not message["content"].strip() and not message.get("tool_calls"):
            if message["role"] == "assistant":
                return f"the answer in turn {number} is empty; write one, or delete the row"
            if message["role"] == "user":
                return f"turn {number} is empty; write what the user says, or delete the row"
    if all(message.get("weight") == 0 for message in turns if message["role"] == "assistant"):
        return "every answer has weight 0, so nothing is learned; delete the row, or a weight"
    return None


def _texts(example: Example) -> Sequence[str]:
    if isinstance(example, Text):
        return (example.text,)
    if isinstance(example, Pair):
        return example.system, example.prompt, example.answer
    return [message["content"] for message in example.messages]


class Duplicates:
    """Remembers what was asked and answered, by hash: a million examples take some dozen megabytes."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, str]] = {}

    def check(self, example: Example) -> Problem | None:
        """A problem where the same stood before, or the same question with another answer."""
        question, answer = _halves(example)
        key, said = digest(question)[:32], digest(answer)[:32]
        if key not in self._seen:
            self._seen[key] = said, example.source
            return None
        before, where = self._seen[key]
        if before == said:
            return Problem(example.source, f"the same stands in {where}; left out")
        return Problem(
            example.source, f"asks what {where} asks and answers otherwise; left out: keep the one that is right"
        )


def _halves(example: Example) -> tuple[Any, Any]:
    """What is given and what follows, as far as they are told apart: case, white space and spelling aside."""
    if isinstance(example, Text):
        return _plain(example.text), None
    conversation = example.as_conversation() if isinstance(example, Pair) else example
    said = [_spoken(message) for message in conversation.messages]
    return [said[:-1], list(conversation.tools)], said[-1]


def _spoken(message: Mapping[str, Any]) -> list[Any]:
    return [message["role"], _plain(message["content"]), message.get("tool_calls")]


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
