# ruff: noqa: E501 — a pattern is read whole
"""Questions that the documents do not answer: what an assistant has to refuse.

Two kinds. *Swapped*: a good question whose year, code, name or subject is exchanged for one that no document has, in
the manner of the unanswerable questions of SQuAD 2.0 (Rajpurkar et al. 2018), so that its words look right. *Held
out*: a question about a document that is not in the corpus. Both are checked: the entity stands nowhere, the answer
stands in no document.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from lavra.assistants.questions.checks import stands
from lavra.assistants.questions.items import Item, plain_key
from lavra.retrieval.analysis import fold

_YEAR = re.compile(r"\b(?:1[5-9]|20)\d\d\b")
_CODE = re.compile(r"(?<![\w“])(?:--[a-z][\w-]+|\.?[a-z]\w*[_.][a-z][\w.]*\w)(?=[\s?,”])")
_NAME = re.compile(r"(?<=[a-zà-ÿ] )[A-ZÀ-Þ][a-zà-ÿ]{2,}\w*(?: (?:d[aeo]s? |del? )?[A-ZÀ-Þ][a-zà-ÿ]{2,})*(?=[\s?,”])")
_SUBJECT = {
    "en": re.compile(r"^(?P<before>What is |How (?:much|long) is |Where is )(?P<article>an? |the )(?P<term>[\w-]+(?: [\w-]+)?)(?P<after>\?| (?:for|located|kept)\b.*)"),
    "pt": re.compile(r"^(?P<before>(?:O que é|De quanto é|Qual é|Onde fica) )(?P<article>o |a |um |uma )(?P<term>[\w-]+)(?P<after>\?| (?:para|em|no|na)\b.*)"),
    "es": re.compile(r"^(?P<before>¿(?:Qué es|De cuánto es|Cuál es|Dónde se encuentra) )(?P<article>el |la |un |una )(?P<term>[\w-]+)(?P<after>\?| (?:para|en)\b.*)"),
}  # fmt: skip
_TERMS = {
    ("en", "a "): "parking permit|loyalty card|fire drill|vaccination card|company car|turnstile|guest badge|locker",
    ("en", "the "): "parking permit|cafeteria menu|loyalty programme|fire drill|dress code|company car|visitor badge|locker room",
    ("pt", "o "): "estacionamento|refeitório|crachá|bicicletário|uniforme|elevador|almoxarifado|ambulatório",
    ("pt", "um "): "crachá|bicicletário|uniforme|elevador|almoxarifado|ambulatório",
    ("pt", "a "): "catraca|garagem|lanchonete|recepção|vacina|creche|piscina|gincana",
    ("pt", "uma "): "catraca|garagem|lanchonete|vacina|creche|gincana",
    ("es", "el "): "estacionamiento|comedor|uniforme|ascensor|almacén|gimnasio",
    ("es", "un "): "uniforme|ascensor|almacén|gimnasio|torniquete",
    ("es", "la "): "cochera|cafetería|recepción|vacuna|guardería|piscina",
    ("es", "una "): "cochera|cafetería|vacuna|guardería|piscina",
}  # fmt: skip
_NAMES = ("Norvane", "Caldermoor", "Quillbeck", "Tavarena", "Ostrelle", "Merivanto", "Dunhallow", "Pellucida")
_PEOPLE = ("Abelard Thornquist", "Benícia Valdoso", "Casimiro Altenreich", "Dorotea Quintavalle", "Ernesto Wolmarans")
_CODES = ("quota", "beacon", "ferment", "lattice", "orchard", "plinth", "sundial", "tapestry")


class Texts:
    """All documents, for asking whether something stands anywhere."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._folded = [f" {plain_key(fold(text))} " for text in texts]

    def __contains__(self, phrase: object) -> bool:
        wanted = plain_key(fold(str(phrase)))
        return not wanted or any(f" {wanted} " in text for text in self._folded)


def swapped(items: Sequence[Item], texts: Texts, *, seed: int = 0) -> Iterator[Item]:
    """From good items, in an order that the seed shuffles, questions about what no document has."""
    draw = random.Random(seed)
    for item in draw.sample(list(items), len(items)):
        found = _exchange(item, texts, draw)
        if found and found[1] not in texts:
            yield _unanswered(item, found[0], "swapped")


def held_out(items: Sequence[Item], texts: Texts, documents: Sequence[tuple[str, str]]) -> Iterator[Item]:
    """Those items of other documents whose answer and quote stand in none of ours: ``documents``, text and language."""
    for item in items:
        if item.quote in texts or (len(item.answer.split()) > 2 and item.answer in texts):
            continue
        alike = (text for text, language in documents if language == item.language)
        if not any(stands(item.quote, text, item.language) for text in alike):
            yield _unanswered(item, item.question, "held out")


def _unanswered(item: Item, question: str, kind: str) -> Item:
    """No answer, no quote; the document stays, since its split is its questions'."""
    return replace(
        item, question=question, answer="", answers=(), quote="", chunk="", start=0, end=0, kind=kind,
        answerable=False, id="",
    ).named()  # fmt: skip


def _exchange(item: Item, texts: Texts, draw: random.Random) -> tuple[str, str] | None:
    """The question about something else, and what that is."""
    question = item.question
    if match := _CODE.search(question):
        old = match[0]
        word = draw.choice(_CODES)
        new = f"--{word}" if old.startswith("--") else re.sub(r"[a-z]\w*?(?=[_.]|$)", word, old, count=1)
        return _put(question, match, new), new
    if match := _YEAR.search(question):
        years = [str(year) for year in range(int(match[0]) - 40, int(match[0]) + 41) if str(year) not in texts]
        return (_put(question, match, year), year) if years and (year := draw.choice(years)) else None
    if match := _NAME.search(question):
        new = draw.choice(_PEOPLE if " " in match[0] else _NAMES)
        return _put(question, match, new), new
    pattern = _SUBJECT.get(item.language)
    if pattern and (match := pattern.match(question)):
        article = "a " if item.language == "en" and match["article"] == "an " else match["article"]
        terms = [term for term in _TERMS.get((item.language, article), "").split("|") if term and term not in texts]
        if terms:
            term = draw.choice(terms)
            return f"{match['before']}{article}{term}{match['after']}", term
    return None


def _put(question: str, match: re.Match[str], new: str) -> str:
    return question[: match.start()] + new + question[match.end() :]
