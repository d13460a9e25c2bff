"""Beginnings of texts that a model learned from, and of texts that it did not: does it go on word by word?

Extraction with prefixes (Carlini et al. 2021, 2023): of an answer that was learned, its question and its first half are
given; of a document, ``PREFIX`` tokens. A model that writes the rest by itself, greedily, has it by heart, unless the
rest can be guessed: hence the same of texts that nobody learned from, and of the model before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lavra.assistants.questions.items import Item
from lavra.store.files import digest
from lavra.workspace.studying.asking import answer_of
from lavra.workspace.studying.way import Given

if TYPE_CHECKING:
    from lavra.prompting import Turn
    from lavra.tokens.tokenizer import Tokenizer
    from lavra.workspace.studying.exam import Exam

PREFIX, REST = 32, 16
"""Tokens of a document that are given, and that are to be written."""
MOST = 40
"""Probes of a kind."""
_SHORTEST = 8
"""Words of an answer: half of a shorter one leaves nothing that could not be guessed."""


@dataclass(frozen=True)
class Probe:
    """A ``text`` of which the beginning is given, after the conversation of ``turns`` if there are any."""

    turns: tuple[tuple[str, str], ...]
    text: str

    def ids(self, tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What is given, and what is to be written."""
        ids = tuple(tokenizer.encode(self.text, add_special_tokens=False, parse_special=False))
        if not self.turns:
            start = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id
            begun = () if start is None else (start,)
            return (*begun, *ids[:PREFIX]), ids[PREFIX : PREFIX + REST]
        turns: list[Turn] = [{"role": role, "content": content} for role, content in self.turns]
        half = max(1, len(ids) // 2)
        return (*tokenizer.encode_chat(turns), *ids[:half]), ids[half : half + REST]


def probes_of(exam: Exam, given: Given, general: Sequence[str]) -> dict[str, list[Probe]]:
    """By kind: answers that ways learn from and that none does, documents, and general text; a kind without long
    enough texts is left out."""
    learned = [_answer(item, given) for item in exam.training]
    held = [_answer(item, given) for item in map(_item, exam.asked)]
    found = {
        "answers_learned": _drawn(learned),
        "answers_held": _drawn(held),
        "documents": _drawn(_documents(given)),
        "general": _drawn([Probe((), text) for text in general if _long(text)]),
    }
    return {kind: probes for kind, probes in found.items() if probes}


def _answer(item: Item, given: Given) -> Probe | None:
    from lavra.assistants.prompted import direct

    if not item.answerable or len(item.answer.split()) < _SHORTEST:
        return None
    template = direct()
    turns = template.turns(item.question, (), language=template.language(item.language))
    return Probe(tuple((turn["role"], turn["content"]) for turn in turns), answer_of(item, given))


def _item(question: Any) -> Item:
    answer = max(question.answers, key=len, default="")
    return Item(question.text, answer, answerable=question.answerable, language=question.language)


def _documents(given: Given) -> list[Probe]:
    """A place of each document, and more of the longer ones."""
    from lavra.workspace.studying.exam import readable_documents

    found = []
    for document in readable_documents(given.workspace, given.roles):
        words = document.text.split(" ")
        for start in range(0, len(words), 2000):
            if _long(text := " ".join(words[start : start + 3 * (PREFIX + REST)])):
                found.append(Probe((), text))
    return found


def _long(text: str) -> bool:
    """Surely of more tokens than are asked for, whatever the tokenizer: a token has rarely more than a word."""
    return len(text.split()) > PREFIX + REST


def _drawn(probes: Sequence[Probe | None]) -> list[Probe]:
    """Always the same ones, in no order of the file."""
    kept = {digest([probe.turns, probe.text]): probe for probe in probes if probe is not None}
    return [kept[name] for name in sorted(kept)[:MOST]]
