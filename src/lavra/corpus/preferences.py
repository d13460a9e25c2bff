"""Preferences out of people's files: which of two answers is better, or whether one is good.

- *pairs*: ``prompt``, ``chosen``, ``rejected``; ``margin`` beside them where it is known.
- *messages*: ``chosen`` and ``rejected`` as lists of messages, whole conversations or what follows ``prompt``.
- *transcripts*: ``chosen`` and ``rejected`` as whole texts of ``Human:`` and ``Assistant:`` turns (Bai et al. 2022,
  hh-rlhf), which agree up to the last answer.
- *judgements*: ``prompt``, ``completion``, ``label`` (true, good … or false, bad …).

A row that teaches nothing is a problem with its line, never dropped in silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from lavra.corpus.examples.example import Message, Problem
from lavra.corpus.examples.rows import rows
from lavra.errors import LavraError

Messages = tuple[Message, ...]
_TURN = re.compile(r"(?:\A|\n\n)\s*(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}
_GOOD = {"true": True, "1": True, "good": True, "yes": True, "up": True}
_BAD = {"false": False, "0": False, "bad": False, "no": False, "down": False}


@dataclass(frozen=True)
class Preference:
    """``chosen`` is the better answer to ``prompt``, by ``margin`` where that is known."""

    prompt: Messages
    chosen: str
    rejected: str
    source: str
    margin: float = 0.0


@dataclass(frozen=True)
class Judgement:
    """``answer`` to ``prompt`` was ``good``, or not."""

    prompt: Messages
    answer: str
    good: bool
    source: str


@dataclass(frozen=True)
class Asked:
    """A prompt to which the model itself shall answer; ``row``: all its fields, for whoever checks the answer."""

    prompt: Messages
    row: Mapping[str, Any]
    source: str


Found = TypeVar("Found")


@dataclass(frozen=True)
class Readings(Generic[Found]):
    """What was read, and what was left out and why."""

    examples: Sequence[Found]
    problems: Sequence[Problem]


class Unusable(ValueError):
    """Why a row is left out, in a clause."""


def read_preferences(path: Path) -> Readings[Preference]:
    """Pairs of answers. Raises LavraError for a file without any."""
    return _read(path, to_preferences)


def read_judgements(path: Path) -> Readings[Judgement]:
    """Single answers that were good or bad; a pair is one of each. Raises LavraError for a file without any."""
    return _read(path, to_judgements)


def read_prompts(path: Path) -> Readings[Asked]:
    """Prompts alone. Raises LavraError for a file without any."""
    return _read(path, lambda row, where: [Asked(_prompt(row), row, where)])


def _read(path: Path, convert: Callable[[Mapping[str, Any], str], Sequence[Found]]) -> Readings[Found]:
    found: list[Found] = []
    problems: list[Problem] = []
    for row in rows(path):
        if isinstance(row, Problem):
            problems.append(row)
            continue
        where, fields = row
        try:
            found += convert(fields, where)
        except Unusable as refused:
            problems.append(Problem(where, str(refused)))
    if not found:
        reason = f": {problems[0]}" if problems else ", it is empty"
        raise LavraError(f"nothing in {path} can be aligned to{reason}.")
    return Readings(found, problems)


def to_preferences(row: Mapping[str, Any], where: str) -> list[Preference]:
    """The pair that a row holds. Raises Unusable."""
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if chosen is None or rejected is None:
        raise Unusable("there is no chosen and rejected answer; write both")
    margin = row.get("margin", 0.0)
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not abs(margin) < 1e9:
        raise Unusable(f"margin is {margin!r}; write a number")
    if isinstance(chosen, list) and isinstance(rejected, list):
        before = _messages(row["prompt"]) if isinstance(row.get("prompt"), list) else ()
        if isinstance(row.get("prompt"), str):
            before = (*_told(row), {"role": "user", "content": row["prompt"]})
        sides = [
            before + given if not _begins(given, before) else given for given in map(_messages, (chosen, rejected))
        ]
        prompt, first, second = _split(*sides)
    elif isinstance(chosen, str) and isinstance(rejected, str):
        if row.get("prompt"):
            prompt, first, second = _prompt(row), chosen, rejected
        else:
            prompt, first, second = _split(_transcript(chosen), _transcript(rejected))
    else:
        raise Unusable("chosen and rejected are of two kinds; write both as text or both as messages")
    if not first.strip() or not second.strip():
        raise Unusable("an answer is empty; write one, or delete the row")
    if first.strip() == second.strip():
        raise Unusable("both answers are the same, which prefers nothing; delete the row")
    return [Preference(prompt, first, second, where, float(margin))]


def to_judgements(row: Mapping[str, Any], where: str) -> list[Judgement]:
    """The judged answers that a row holds: one, or of a pair two. Raises Unusable."""
    if "chosen" in row and "rejected" in row:
        pair = to_preferences(row, where)[0]
        return [
            Judgement(pair.prompt, pair.chosen, True, where),
            Judgement(pair.prompt, pair.rejected, False, where),
        ]
    given = row.get("completion", row.get("answer", row.get("response")))
    if isinstance(given, list):
        said = _messages(given)
        given = said[-1]["content"] if said and said[-1]["role"] == "assistant" else ""
    if not isinstance(given, str) or not given.strip():
        raise Unusable("there is no completion, or it is empty; write one, or delete the row")
    label = str(row.get("label", "")).strip().lower()
    if label not in _GOOD and label not in _BAD:
        raise Unusable(f"the label is {row.get('label')!r}; write true or false")
    return [Judgement(_prompt(row), given, label in _GOOD, where)]


def _prompt(row: Mapping[str, Any]) -> Messages:
    prompt = row.get("prompt", row.get("question", row.get("messages")))
    if isinstance(prompt, list):
        messages = _messages(prompt)
        if not messages or messages[-1]["role"] != "user":
            raise Unusable("the prompt does not end with the user; the answers come after it")
        return messages
    if not isinstance(prompt, str) or not prompt.strip():
        raise Unusable("there is no prompt, or it is empty; write one")
    if _TURN.match(prompt):
        return _transcript(prompt, open_end=True)
    return (*_told(row), {"role": "user", "content": prompt})


def _told(row: Mapping[str, Any]) -> Messages:
    system = row.get("system")
    return ({"role": "system", "content": system},) if isinstance(system, str) and system.strip() else ()


def _messages(given: Sequence[Any]) -> Messages:
    for message in given:
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise Unusable("a message has no role and content; write both")
        if message.get("role") not in ("system", "user", "assistant"):
            raise Unusable(f"the role {message.get('role')!r} is none of system, user, assistant")
    return tuple({"role": message["role"], "content": message["content"]} for message in given)


def is_judgement(row: Mapping[str, Any]) -> bool:
    """Whether a row says of one answer that it was good, or not."""
    answer = any(name in row for name in ("completion", "answer", "response"))
    asked = any(name in row for name in ("prompt", "question", "messages"))
    return answer and asked and str(row.get("label", "")).strip().lower() in {*_GOOD, *_BAD}


def _transcript(text: str, *, open_end: bool = False) -> Messages:
    """Turns of ``Human:`` and ``Assistant:``. ``open_end``: it ends before an answer."""
    pieces = _TURN.split(text)
    if pieces[0].strip() or len(pieces) < 3:
        raise Unusable("there is no prompt, and the answers are no transcripts of Human: and Assistant: turns")
    turns = [
        {"role": _ROLES[who], "content": said.strip()} for who, said in zip(pieces[1::2], pieces[2::2], strict=True)
    ]
    if open_end and turns[-1] == {"role": "assistant", "content": ""}:
        turns.pop()
    if any(not turn["content"] for turn in turns[:-1]):
        raise Unusable("a turn before the last answer is empty; delete the row")
    return tuple(turns)


def _begins(messages: Messages, before: Messages) -> bool:
    return bool(before) and messages[: len(before)] == before


def _split(one: Messages, other: Messages) -> tuple[Messages, str, str]:
    """What both conversations begin with, and the answer of each."""
    common = 0
    while common < min(len(one), len(other)) and one[common] == other[common]:
        common += 1
    if one == other:
        raise Unusable("both answers are the same, which prefers nothing; delete the row")
    if (
        common != len(one) - 1
        or common != len(other) - 1
        or one[-1]["role"] != "assistant"
        or other[-1]["role"] != "assistant"
    ):
        raise Unusable("the two conversations differ before the last answer; only that one can be compared")
    if not common or one[common - 1]["role"] != "user":
        raise Unusable("nobody asks what is answered; begin with what the user says")
    return one[:common], one[-1]["content"], other[-1]["content"]
