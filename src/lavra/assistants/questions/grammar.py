"""What the grammars of the languages share: what they make, and shapes that are the same in each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from lavra.assistants.questions.blocks import Names

NAME = r"[A-ZÀ-Þ][\w’'-]+(?: (?:(?:d[aeo]s?|del?|van|von|y|e|of|la) )?[A-ZÀ-Þ][\w’'.-]*){1,5}"
"""Two to six words with capitals: a person, an organisation."""
DIGITS = r"\d{1,3}(?:[.,\u00a0 ]\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d+)?"
LONGEST = 12
"""Words of a subject, or of what follows a verb, beyond which a question made of it reads badly."""


@dataclass(frozen=True, slots=True)
class Made:
    """A question made of a sentence, and the words of the sentence that answer it ("": all of it)."""

    kind: str
    question: str
    answer: str = ""


class Grammar(Protocol):
    """The rules of one language (a module)."""

    CODE: str
    DANGLING: re.Pattern[str]
    """Questions that say "it" or "this" of something that they do not name."""

    def sentence(self, text: str, names: Names) -> Iterator[Made]:
        """Questions that a whole sentence, cleaned, answers."""
        ...

    def heading(self, text: str, names: Names) -> str:
        """How to …, of a heading that says so; else ""."""
        ...

    def introduced(self, text: str, names: Names) -> str:
        """The question that a list answers, of the line with the colon above it; else ""."""
        ...

    def means(self, term: str) -> str:
        """What does the term mean?"""
        ...

    def cell(self, header: str, key_header: str, key: str) -> str:
        """What is the ``header`` of the row called ``key``? "" where it cannot be said well."""
        ...

    def is_definition(self, text: str) -> bool:
        """Whether what follows a term and a colon says what the term is."""
        ...


def short(*phrases: str) -> bool:
    """Whether each phrase is short, and neither interrupted nor a clause of its own."""
    return all(len(phrase.split()) <= LONGEST and not re.search(r"[;:()“”\"?!—]|\.\s", phrase) for phrase in phrases)


def asked(text: str, opening: str = "") -> str:
    """A sentence as a question, beginning with a capital."""
    text = " ".join(text.split()).strip(" ,.;:")
    return f"{opening}{text[:1].upper()}{text[1:]}?"
