"""Whether sources say what a reply says, sentence by sentence, and whether it cites them.

A sentence is *supported* by a passage if enough of its content words stand in at most two neighbouring sentences of
the passage, and no number is missing there and no "not" stands on one side alone. This is a measure of words, not of
understanding: who did what to whom may be exchanged unseen. ``benchmarks/grounding.py`` measures how often it errs
against people's judgement on BEGIN and HaluEval, beside simpler methods; what was tried and did not help there
(embeddings within one language, word pairs, weights by rarity, six features in a logistic model) is not here.

Where the reply and the passage are in different languages words cannot meet, and the embedder's cosine with the
nearest two sentences decides instead, if there is an embedder; it knows what is spoken of, not whether it is true.

A model of textual entailment takes the place of words where one is given; whether it is better has to be measured (one
tuned on ASSIN 2 is not: ``benchmarks/grounding.py --entailment``).

Citation precision and recall follow ALCE (Gao et al. 2023): a citation is right if the place it cites supports its
sentence; a sentence is covered if what it cites supports it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Protocol

import numpy as np

from lavra.assistants.citing import MARKER, content_words, denies
from lavra.assistants.sentences import sentences
from lavra.corpus.language import detect_language
from lavra.evaluation.items import Evidence, Question, Reply
from lavra.retrieval.scale import measure as scale_of
from lavra.retrieval.updating import TextEmbedder

SUPPORTED = 0.7
"""Share of a sentence's content words from which it is supported: best on BEGIN's development set, in steps of a tenth.
Its sets with long passages would want .5 and HaluEval's short answers .9; no one value is best everywhere."""
DOUBTED = 0.65
"""What remains of the share where a number is missing or a "not" stands on one side alone: never supported. Costs up to
.01 of AUC, for what is worth more: those are the errors that matter."""
MEANING = 0.82
"""Cosine, on E5's scale, from which a passage in another language supports a sentence: best Youden's J on Pirá's even
questions, Portuguese answers against English passages."""
ENTAILED = 0.5
"""Probability from which an entailment model supports a sentence: where its training drew the line."""
READ = 8
"""Places of the passages that it reads for a sentence."""

_YES_OR_NO = frozenset({"yes", "no", "sim", "nao", "si"})
_ITEM = re.compile(r"^(?:\d{1,2}[.)]|[-*•])\s+")
_AFTER_STOP = re.compile(r"([.!?…]+[\"'”’»)\]]*)((?:\s?\[\d{1,2}(?:\s*[,;]\s*\d{1,2})*\])+)(?=\s|$)")


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of a reply, without its markers, and what supports it."""

    text: str
    markers: tuple[int, ...] = ()
    """The numbers that it cites."""
    support: float = math.nan
    """By words, of the best passage; NaN where it says nothing that could be checked."""
    supported: bool = False
    passage: int = -1
    """Which of the passages supports it best; -1: none."""
    by_meaning: bool = False
    """The passage is in another language, and the embedder decided."""

    @property
    def checkable(self) -> bool:
        """Whether it says something: no heading, no "Yes." alone, no "I found this:". A question counts as any other:
        a reply in questions is no answer."""
        return not math.isnan(self.support)


def split(text: str) -> list[Sentence]:
    """The sentences of a reply with the markers that belong to them, also where they stand behind the full stop."""
    text = _AFTER_STOP.sub(r"\2\1", text)
    found = []
    for start, end in sentences(text):
        piece = text[start:end]
        numbers = [int(number) for match in MARKER.finditer(piece) for number in re.findall(r"\d+", match.group(1))]
        if said := _ITEM.sub("", MARKER.sub("", piece).strip()):
            found.append(Sentence(said, tuple(dict.fromkeys(numbers))))
        elif found and numbers:  # a marker on a line of its own belongs to what it follows
            found[-1] = replace(found[-1], markers=tuple(dict.fromkeys((*found[-1].markers, *numbers))))
    return found


class Entailment(Protocol):
    """A model of textual entailment; ``lavra.inference.classifier.Reranker``, tuned on it, is one."""

    def scores(self, question: str, passages: Sequence[str]) -> np.ndarray:
        """(N,) from 0 to 1: whether each passage says what the sentence says."""
        ...


class Grounds:
    """Passages, prepared for asking what they support."""

    def __init__(
        self,
        texts: Sequence[str],
        language: str = "und",
        embedder: TextEmbedder | None = None,
        entailment: Entailment | None = None,
    ) -> None:
        """``language``: of the replies; ``embedder``: for passages in another language; ``entailment``: who decides in
        place of words."""
        self._entailment = entailment
        self.texts, self.language = tuple(texts), language
        self._windows = [_windows(text, language) for text in texts]
        self._embedder = embedder
        self._foreign = [
            number for number, text in enumerate(texts) if embedder and _language(text) not in ("und", language)
        ]

    def check(self, said: Sequence[Sentence]) -> list[Sentence]:
        """The sentences, each with its support."""
        checked = [self._by_words(sentence) for sentence in said]
        if self._entailment is not None:
            return [self._by_entailment(one) if one.checkable else one for one in checked]
        unsure = [number for number, one in enumerate(checked) if one.checkable and not one.supported]
        if unsure and self._foreign and self._embedder and self.language != "und":
            for number, passage in self._by_meaning([checked[number].text for number in unsure]).items():
                place = unsure[number]
                checked[place] = replace(checked[place], supported=True, passage=passage, by_meaning=True)
        return checked

    def _by_words(self, sentence: Sentence) -> Sentence:
        words = content_words(sentence.text, self.language)
        if words <= _YES_OR_NO or sentence.text.endswith(":") or sentence.text.startswith("#"):
            return sentence
        numbers = {word for word in words if any(character.isdigit() for character in word)}
        denied = denies(sentence.text, self.language)
        best, where = 0.0, -1
        for passage, windows in enumerate(self._windows):
            for own, denying in windows:
                share = len(words & own) / len(words)
                if share > best and (not numbers <= own or denying != denied):
                    share *= DOUBTED
                if share > best:
                    best, where = share, passage
        return replace(sentence, support=best, supported=best >= SUPPORTED, passage=where)

    def _by_entailment(self, sentence: Sentence) -> Sentence:
        """What the model says of the ``READ`` places that share the most words with the sentence."""
        assert self._entailment is not None
        words = content_words(sentence.text, self.language)
        places = [
            (-len(words & own), number, text[a:b])
            for number, (text, windows) in enumerate(zip(self.texts, self._windows, strict=True))
            for (a, b), (own, _) in zip(_spans(text), windows, strict=True)
        ]
        places = sorted(places, key=lambda place: place[0])[:READ]
        if not places:
            return replace(sentence, support=0.0, supported=False, passage=-1)
        scores = self._entailment.scores(sentence.text, [text for _, _, text in places])
        best = int(scores.argmax())
        supported = bool(scores[best] >= ENTAILED)
        return replace(sentence, support=float(scores[best]), supported=supported, passage=places[best][1])

    def _by_meaning(self, texts: Sequence[str]) -> dict[int, int]:
        """By the number of a text, the passage in another language that speaks of the same."""
        assert self._embedder is not None
        places = [(number, self.texts[number][a:b]) for number in self._foreign for a, b in _spans(self.texts[number])]
        if not places:
            return {}
        cosines = self._embedder.documents([text for _, text in places]) @ self._embedder.documents(list(texts)).T
        cosines = scale_of(self._embedder).as_reference(cosines)
        best = cosines.argmax(axis=0)
        return {n: places[row][0] for n, row in enumerate(best) if cosines[row, n] >= MEANING}


@dataclass(frozen=True, slots=True)
class Grounded:
    """What a reply's sentences rest on."""

    sentences: tuple[Sentence, ...]
    """Against what was retrieved or cited."""
    in_source: tuple[Sentence, ...]
    """The same sentences against the question's own sources."""
    cited: tuple[tuple[bool, ...], ...]
    """For each sentence, whether each place it cites supports it."""

    def values(self, *, evidence: bool, cites: bool) -> dict[str, float]:
        """The measures of ``measuring``; ``evidence``: there is something to rest on; ``cites``: the way can cite."""
        told = [number for number, sentence in enumerate(self.sentences) if sentence.checkable]
        resting = [self.sentences[n].supported for n in told]
        in_source = [self.in_source[n].supported for n in told] if self.in_source else []
        given = [right for n in told for right in self.cited[n]]
        both = zip(resting, in_source or [False] * len(told), strict=True)
        return {
            "grounded": _share(resting) if evidence else math.nan,
            "grounded_in_source": _share(in_source),
            "citation_precision": _share(given),
            "citation_recall": _share([any(self.cited[n]) for n in told]) if cites else math.nan,
            "hallucinated": float(not all(one or other for one, other in both)) if told else math.nan,
        }


def _share(right: Sequence[bool]) -> float:
    return sum(right) / len(right) if right else math.nan


def ground(
    question: Question, reply: Reply, embedder: TextEmbedder | None = None, entailment: Entailment | None = None
) -> Grounded:
    """Check each sentence of a reply against what was retrieved, what it cites, and where the answer stands."""
    said = split(reply.text)
    language = question.language
    numbers = reply.numbers or tuple(range(1, len(reply.cited) + 1))
    places = dict(zip(numbers, reply.cited, strict=False))
    checked = Grounds([place.text for place in (*reply.passages, *reply.cited)], language, embedder, entailment).check(
        said
    )
    sources = [source.text for source in question.sources if source.text]
    cited = [
        tuple(_supports(places.get(number), sentence, language, embedder, entailment) for number in sentence.markers)
        if sentence.checkable
        else ()
        for sentence in checked
    ]
    in_source = Grounds(sources, language, embedder, entailment).check(said) if sources else ()
    return Grounded(tuple(checked), tuple(in_source), tuple(cited))


def _supports(
    place: Evidence | None,
    sentence: Sentence,
    language: str,
    embedder: TextEmbedder | None,
    entailment: Entailment | None,
) -> bool:
    if place is None:  # a number that stands for nothing
        return False
    return Grounds([place.text], language, embedder, entailment).check([Sentence(sentence.text)])[0].supported


def _spans(text: str) -> list[tuple[int, int]]:
    """Offsets of each sentence and of each two neighbours."""
    single = sentences(text)
    return single + [(first[0], second[1]) for first, second in pairwise(single)]


@lru_cache(maxsize=8192)
def _windows(text: str, language: str) -> list[tuple[frozenset[str], bool]]:
    """Content words, and whether there is a "not"; kept, since all ways retrieve the same passages."""
    return [(content_words(text[a:b], language), denies(text, language, a, b)) for a, b in _spans(text)]


@lru_cache(maxsize=8192)
def _language(text: str) -> str:
    return detect_language(text)
