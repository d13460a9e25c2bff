"""What makes an item fit to be asked: each check says why not, in a word or two that are counted in the report.

- *self-contained*: it names what it is about ("What does it do?" does not);
- *supported*: the answer stands in its quote, or its words do as far as a citation needs (``assistants.citing``);
- *found*: the question alone retrieves its source (among the first ``within`` passages), where there is an index;
- *new*: it is not asked already, in these words or nearly.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from lavra.assistants.citing import SUPPORT, Sources
from lavra.assistants.questions.blocks import clean, listed
from lavra.assistants.questions.items import Item, plain_key
from lavra.assistants.questions.rules import GRAMMARS
from lavra.prompting import plain
from lavra.retrieval.analysis import analyse, fold, words
from lavra.retrieval.function_words import FUNCTION_WORDS
from lavra.retrieval.index import Index
from lavra.retrieval.passage import Passage
from lavra.retrieval.updating import TextEmbedder

WITHIN = 5
"""Passages among which a question has to find its source."""
SAME = 0.8
"""Share of stems that two questions have in common from which they are one (Jaccard)."""
NEAR, NEAR_STEMS = 0.97, 0.6
"""Cosine, and share of stems, from which they are one; cosines of E5 lie close together."""
LONGEST = 300
"""Characters of a question."""

_GENERIC = listed(
    """erro error
    padrao limite arquivo dois duas tres coisa exemplo resposta resultado texto pagina linha pasta comando opcao
    valor nome numero palavra lista tabela coluna documento pergunta ponto motivo objetivo lugar passo total file
    thing example answer result text page line folder command option value name number word list table column
    document question point reason goal place default limit step two three archivo cosa ejemplo respuesta linea
    carpeta opcion nombre pregunta punto significa mean means usar use serve fica ficam fazer faz faço make does
    work works funciona funcionar acontece happen happens hacer hace sirve queda people pessoas personas years anos
    años dias days"""
)


def self_contained(question: str, language: str) -> str:
    """Why a question is not one that can be asked by itself; "" where it is."""
    text = " ".join(question.split())
    if not text.endswith("?") or len(text) > LONGEST:
        return "no question"
    if len(text.split()) < 3 or text.count("?") > 1:
        return "no question"
    grammar = GRAMMARS.get(language)
    if grammar and grammar.DANGLING.search(re.sub(r"[“«\"].*?[”»\"]", "“”", text)):
        return "not self-contained"
    named = [
        word
        for word in words(text)
        if word not in _function_words(language) and not {word, word.removesuffix("s")} & _GENERIC
    ]
    return "" if named else "not self-contained"


def _function_words(language: str) -> frozenset[str]:
    known = FUNCTION_WORDS.get(language, frozenset())
    return known | frozenset(fold(word) for word in known)


def supported(item: Item) -> bool:
    """Whether the answer stands in the quote, word for word, or is supported by it as a citation has to be."""
    quote = plain_key(clean(item.quote))
    if f" {plain_key(clean(item.answer))} " in f" {quote} ":
        return True
    # Of a list, the bullets and what is between its parts may differ.
    return all(stands(sentence, item.quote, item.language) for sentence in re.split(r"(?<=[.!?]) +|; ", item.answer))


def stands(sentence: str, text: str, language: str) -> bool:
    """Whether a text says a sentence: word for word, or by the support that a citation needs."""
    if f" {plain_key(sentence)} " in f" {plain_key(clean(text))} ":
        return True
    best = Sources([plain(text)], language).support(sentence)
    return bool(best) and best[0].score >= SUPPORT


def finds(index: Index, item: Item, document_id: str, *, roles: Collection[str], within: int = WITHIN) -> bool:
    """Whether the question alone retrieves a passage that holds (part of) the quote."""
    found = index.search(item.question, roles=roles, k=within).passages
    return any(holds(passage, item, document_id) for passage in found)


def holds(passage: Passage, item: Item, document_id: str) -> bool:
    """Whether a passage has the quote, or the beginning of it."""
    return passage.document_id == document_id and passage.start <= item.start < passage.end


def says(passage: Passage, item: Item) -> bool:
    """Whether a passage answers the item as well, wherever it comes from: it is no distractor then."""
    text = f" {plain_key(clean(passage.text))} "
    if any(f" {plain_key(answer)} " in text for answer in item.answers if len(answer) >= 4):
        return True
    return stands(clean(item.quote), passage.text, item.language)


@dataclass
class Seen:
    """The questions so far: exact ones by their words, near ones by stems, and by the embedder where there is one."""

    embedder: TextEmbedder | None = None
    _keys: dict[str, str] = field(default_factory=dict)
    _stems: dict[str, list[frozenset[str]]] = field(default_factory=dict)
    _by_stem: dict[str, list[int]] = field(default_factory=dict)
    _all: list[frozenset[str]] = field(default_factory=list)
    _vectors: list[np.ndarray] = field(default_factory=list)

    def new(self, items: Sequence[Item]) -> list[Item]:
        """Those not asked before, in order; they count as asked from now on."""
        vectors = self.embedder.queries([item.question for item in items]) if self.embedder and items else None
        return [
            item for number, item in enumerate(items) if self._add(item, None if vectors is None else vectors[number])
        ]

    def _add(self, item: Item, vector: np.ndarray | None) -> bool:
        key = plain_key(item.question)
        if key in self._keys:
            return False
        stems = _stems(item)
        # Codes and numbers tell questions apart that are otherwise the same: rows of a table.
        marks = frozenset(re.findall(r"[\w.-]*[\d_/.-][\w./-]*\w|\b\w*\d\w*", item.question))
        near = {number for stem in stems for number in self._by_stem.get(stem, ())}
        for number in near:
            other = self._all[number]
            shared = len(stems & other) / max(1, len(stems | other))
            same = shared >= SAME
            if not same and vector is not None and shared >= NEAR_STEMS:
                same = float(vector @ self._vectors[number]) >= NEAR
            if same and marks == self._marks[number]:
                return False
        self._keys[key] = item.id
        for stem in stems:
            self._by_stem.setdefault(stem, []).append(len(self._all))
        self._all.append(stems)
        self._marks.append(marks)
        if vector is not None:
            self._vectors.append(vector)
        return True

    _marks: list[frozenset[str]] = field(default_factory=list)


def _stems(item: Item) -> frozenset[str]:
    dropped = _function_words(item.language)
    kept = " ".join(word for word in words(item.question) if word not in dropped)
    return frozenset(analyse(kept, item.language).split())
