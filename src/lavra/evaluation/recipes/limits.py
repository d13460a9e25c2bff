"""Limits of form that can be checked without judgement (after Zhou et al. 2023, Instruction-Following Evaluation for
Large Language Models): what is asked, and whether an answer keeps to it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """``asked``: the sentence behind the question; ``kept``: whether an answer does so."""

    name: str
    asked: str
    kept: Callable[[str], bool]


def words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", text)


def sentences(text: str) -> int:
    """Ends of sentences; a number's point and a common abbreviation's are none."""
    plain = re.sub(r"\b(?:e\.g|i\.e|etc|Dr|Mr|Mrs|Ms|vs|St)\.", "x", text.strip())
    return len(re.findall(r"[.!?]+(?=[\s\"”’)]|$)", plain)) or (1 if words(plain) else 0)


def _json(text: str) -> bool:
    bare = re.sub(r"^```(?:json)?\s*\n|\n```$", "", text.strip())
    try:
        value = json.loads(bare)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and set(value) == {"answer", "reason"}


def _items(text: str) -> bool:
    lines = [line for line in text.strip().split("\n") if line.strip()]
    return len(lines) == 3 and all(re.match(r"- \S", line) for line in lines)


LIMITS = (
    Limit("one sentence", "Answer in exactly one sentence.", lambda text: sentences(text) == 1),
    Limit("30 words", "Answer in at most 30 words.", lambda text: 0 < len(words(text)) <= 30),
    Limit("JSON", 'Answer with a JSON object alone that has the keys "answer" and "reason".', _json),
    Limit("three items", 'Answer with exactly three lines, each of which begins with "- ".', _items),
    Limit("small letters", "Write the whole answer in small letters, without a capital.",
          lambda text: bool(words(text)) and text == text.lower()),
    Limit("no commas", "Write the answer without a comma.", lambda text: bool(words(text)) and "," not in text),
    Limit("last words", 'End the answer with the words "That is all."',
          lambda text: text.strip().rstrip('"”').endswith("That is all.")),
    Limit("capitals", "Write the whole answer in capital letters.",
          lambda text: bool(words(text)) and text == text.upper()),
)  # fmt: skip
BY_NAME = {limit.name: limit for limit in LIMITS}
