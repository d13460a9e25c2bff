"""Citations that are checked, not believed: each sentence of an answer is cited by what supports it.

A small model seldom writes ``[2]`` where it should, and a large one sometimes writes it where it should not. So the
model's own markers are hints. For each sentence the support of every source is computed — the share of the sentence's
content words (by ``retrieval.analysis``, weighted by how few sources have them) that stand in at most two neighbouring
sentences of the source — and the best source is cited if its support reaches a threshold that was measured
(``benchmarks/citations.py``). A sentence with a number that is not there is not supported, nor one that denies what is
there, or the other way round; both were measured to cost next to nothing.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lavra.assistants.sentences import ends_sentence, prose, sentences, together
from lavra.retrieval.analysis import LANGUAGES, analyse

SUPPORT = 0.45
"""Support from which a source is cited; measured by ``benchmarks/citations.py``."""
VAIN = 3
"""Sentences in a row that were repeated or unsupported, after which a strict answer ends."""
QUOTE = 320
"""Characters of a quote beyond which only one sentence of a source is quoted, not two."""

CONTRADICTED = 0.4
"""What remains of the support where one of the two texts has a "not" and the other has none."""
ENOUGH = 3
"""Supported sentences after which a strict answer ends: the prompt asks for one to three."""

_DENIAL = {
    language: re.compile(rf"\b(?:{words})\b|n['’]t\b", re.IGNORECASE)
    for language, words in {
        "en": "not|no|never|cannot",
        "pt": "não|nao|nunca|jamais",
        "es": "no|nunca|jamás",
        "und": "not|never|cannot|não|nunca|jamais|jamás",  # "no" is Portuguese for "in the"
    }.items()
}
MARKER = re.compile(r"\s?\[(\d{1,2}(?:\s*[,;]\s*\d{1,2})*)\]")
_UNFINISHED_MARKER = re.compile(r"\s?\[?[\d,;\s]*$")
_COMMONEST = (
    "a o as os um uma uns umas de do da dos das e ou em no na nos nas por para com sem que se ao aos é são foi ser "
    "estar está como mais não sua seu suas seus pelo pela este esta isso the an of and or in on at to for with without "
    "that this it its is are was were be been by from not el la los las un unos unas y u del al lo es son fue con sin "
    "su sus answer source sources resposta fonte fontes respuesta fuente fuentes"
)
_STOP = frozenset(word for language in LANGUAGES for word in analyse(_COMMONEST, language).split())
"""What is left of the commonest words of the three languages after analysis: they carry no evidence."""


def content_words(text: str, language: str) -> frozenset[str]:
    """The stems of a text without the commonest words."""
    return frozenset(analyse(text, language).split()) - _STOP


def denies(text: str, language: str, start: int = 0, end: int | None = None) -> bool:
    """Whether there is a "not" in ``text[start:end]``."""
    return bool(_DENIAL.get(language, _DENIAL["und"]).search(text, start, len(text) if end is None else end))


@dataclass(frozen=True, slots=True)
class Support:
    """How much of a sentence stands in a source, and where: offsets in the source's text."""

    source: int
    score: float
    start: int
    end: int


class Sources:
    """The passages of one answer, prepared for comparing sentences with them."""

    def __init__(self, texts: Sequence[str], language: str = "und") -> None:
        self.texts = texts
        self.language = language
        self._windows: list[list[tuple[int, int, frozenset[str]]]] = []
        frequency: Counter[str] = Counter()
        for text in texts:
            spans = sentences(text)
            prosaic = set(prose(text))
            words = [self.words(text[start:end]) for start, end in spans]
            windows = [(start, end, own) for (start, end), own in zip(spans, words, strict=True)]
            windows += [
                (spans[i][0], spans[i + 1][1], words[i] | words[i + 1])
                for i in range(len(spans) - 1)
                if spans[i + 1][1] - spans[i][0] <= QUOTE
                and spans[i] in prosaic
                and together(text, spans[i][1], spans[i + 1][0])
            ]
            self._windows.append(windows)
            frequency.update(frozenset().union(*words) if words else ())
        self._weight = {word: math.log(1 + (len(texts) + 0.5) / (count + 0.5)) for word, count in frequency.items()}
        self._unseen = math.log(1 + (len(texts) + 0.5) / 0.5)

    def words(self, text: str) -> frozenset[str]:
        """The content words of a text, as they are compared."""
        return content_words(text, self.language)

    def support(self, sentence: str) -> list[Support]:
        """Each source's best support for a sentence, best first; empty where the sentence says nothing checkable."""
        words = self.words(MARKER.sub("", sentence))
        if len(words) < 2:
            return []
        numbers = {word for word in words if any(character.isdigit() for character in word)}
        denied = denies(sentence, self.language)
        total = sum(self._weight.get(word, self._unseen) for word in words)
        found = []
        for source, windows in enumerate(self._windows):
            best = Support(source, 0.0, 0, 0)
            for start, end, own in windows:
                # Two sentences are quoted only if the second adds something: hence the small price of length.
                score = sum(self._weight[word] for word in words & own) / total - (end - start) * 1e-5
                if score > best.score and numbers <= own:
                    if denies(self.texts[source], self.language, start, end) != denied:
                        score *= CONTRADICTED
                    if score > best.score:
                        best = Support(source, score, start, end)
            found.append(best)
        return sorted(found, key=lambda support: -support.score)


def best_window(sources: Sources, source: int, sentence: str) -> Support:
    """Where in one source a sentence (or a question) is best answered: what to quote before anything is written."""
    for support in sources.support(sentence):
        if support.source == source and support.end:
            return support
    spans = sentences(sources.texts[source]) or [(0, len(sources.texts[source]))]
    return Support(source, 0.0, *spans[0])


class Citer:
    """Puts citations into an answer while it streams, and in ``strict`` mode keeps out what nothing supports.

    ``push`` takes the model's text as it comes and yields what to show. Not strict: every character as it comes, and a
    marker ``[n]`` after each supported sentence as soon as it has ended. Strict: a sentence is shown when it has ended
    and only if a source supports it, if it says something that the question did not, and if it was not said before.
    ``cited`` holds the support of every sentence cited; ``stuck`` tells that going on is pointless.
    """

    def __init__(
        self,
        sources: Sources,
        threshold: float = SUPPORT,
        *,
        strict: bool = False,
        question: str = "",
        expected: Sequence[Support] = (),
    ) -> None:
        """``expected``: where the sources speak of the question. Strict, what is not from there is left out."""
        self._expected = expected
        self._sources = sources
        self._threshold = threshold
        self._strict = strict
        self._question = sources.words(question)
        self._gap = ""
        """White space before the sentence in progress."""
        self._sentence = ""
        self._held = ""
        """The end of the text so far that may yet turn out to be a marker."""
        self._hints: list[int] = []
        self._said: set[str] = set()
        self._in_vain = 0
        self.cited: list[Support] = []
        self.supported = 0
        self.unsupported = 0

    @property
    def stuck(self) -> bool:
        """Whether the last sentences were repetitions or had no support, or enough was said."""
        return self._strict and (self._in_vain >= VAIN or self.supported >= ENOUGH)

    def push(self, text: str) -> Iterator[str]:
        """Text to show now."""
        text = self._take_hints(self._held + text)
        held = _UNFINISHED_MARKER.search(text)
        cut = held.start() if held and "[" in held.group() else len(text.rstrip())
        # White space is held as well: a marker belongs before it.
        self._held, text = text[cut:], text[:cut]
        for character in text:
            if character.isspace():
                if self._sentence and (character == "\n" or ends_sentence(self._sentence, len(self._sentence))):
                    yield from self._finish()
                if not self._sentence:
                    self._gap += character
                    continue
            if not self._sentence and not self._strict:
                yield self._take_gap()
            self._sentence += character
            if not self._strict:
                yield character

    def close(self, *, cut: bool = False) -> Iterator[str]:
        """The rest, with the last sentence's marker. Strict, a sentence that was ``cut`` short is left out."""
        rest, self._held = self._held.rstrip(), ""
        if rest:
            if not self._sentence and not self._strict:
                yield self._take_gap()
            self._sentence += rest
            if not self._strict:
                yield rest
        if not (self._strict and cut and not ends_sentence(self._sentence, len(self._sentence))):
            yield from self._finish()

    def _take_gap(self) -> str:
        gap, self._gap = self._gap, ""
        return gap

    def _take_hints(self, text: str) -> str:
        for match in MARKER.finditer(text):
            self._hints += [int(number) - 1 for number in re.findall(r"\d+", match.group(1))]
        return MARKER.sub("", text)

    def _finish(self) -> Iterator[str]:
        sentence, self._sentence = self._sentence, ""
        hints, self._hints = self._hints, []
        support = self._judge(sentence, hints) if sentence.strip() else None
        if support is None:
            return
        marker = f" [{support.source + 1}]"
        if not self._strict:
            yield marker
        else:
            gap = self._take_gap()
            yield (gap if self.supported > 1 else "") + sentence + marker

    def _judge(self, sentence: str, hints: Sequence[int]) -> Support | None:
        """The support to cite, or nothing; counts and remembers."""
        ranked = self._sources.support(sentence)
        # A hint is believed over a slightly better source, since repeated texts support a sentence equally well.
        hinted = [support for support in ranked if support.source in hints and support.score >= self._threshold]
        chosen = next(iter(hinted or ranked), None)
        if self._strict and not self._adds(sentence):
            self._in_vain += 1
            return None
        if chosen is None or chosen.score < self._threshold:
            self.unsupported += chosen is not None
            self._in_vain += 1
            return None
        if self._strict and self._expected and not any(overlap(chosen, place) for place in self._expected):
            self._in_vain += 1
            return None
        self._in_vain = 0
        self.supported += 1
        self.cited.append(chosen)
        return chosen

    def _adds(self, sentence: str) -> bool:
        """Whether a sentence says something, and something new: more than the question, and not said already."""
        words = self._sources.words(sentence)
        key = " ".join(sorted(words))
        if key in self._said or sentence.rstrip().endswith("?") or loops(sentence):
            return False
        self._said.add(key)
        return bool(words - self._question)


def overlap(one: Support, other: Support) -> bool:
    """Whether two places in the sources share text."""
    return one.source == other.source and one.start < other.end and other.start < one.end


def loops(sentence: str) -> bool:
    """Whether a sentence goes round in circles: three words in a row that come three times, or few words, often."""
    words = sentence.lower().split()
    threes = Counter(zip(words, words[1:], words[2:], strict=False))
    return max(threes.values(), default=0) >= 3 or (len(words) >= 16 and len(set(words)) < len(words) / 2)
