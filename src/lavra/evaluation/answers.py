"""How near a reply's words are to a right answer's: exact match, token F1 and recall, ROUGE-L, chrF, similarity.

All between 0 and 1, and of several right answers the nearest counts.

- ``exact_match`` and ``token_f1`` are SQuAD's (Rajpurkar et al. 2016; the official script, v1.1), with the articles of
  the answer's language as in MLQA (Lewis et al. 2020), and with all punctuation, not ASCII's alone.
- ``token_recall`` is the share of the right answer's tokens that the reply has. For models that answer in sentences it
  follows people's judgement better than F1, which punishes every word more (Adlakha et al. 2024).
- ``rouge_l`` is the F1 of the longest common subsequence of words (Lin 2004). The package ``rouge-score`` knows ASCII
  letters only and cuts "ção" into pieces; here a word is what Unicode says, without stemming.
- ``chrf`` is chrF2 (Popović 2015) as ``sacrebleu`` computes it for one sentence.

Written here, in a few lines each, because the packages bring NLTK or do not know Portuguese; the tests hold them equal
to the packages.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

_ARTICLES = {
    "en": "a an the",
    "pt": "a o as os um uma uns umas",
    "es": "el la los las un una unos unas",
}
_ARTICLE = {language: re.compile(rf"\b(?:{words.replace(' ', '|')})\b") for language, words in _ARTICLES.items()}
_MARKER = re.compile(r"\s?\[\d{1,2}(?:\s*[,;]\s*\d{1,2})*\]")
_WORD = re.compile(r"[^\W_]+")
_ASCII_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


def without_markers(text: str) -> str:
    """A reply without its ``[1]``: they are no part of what it says."""
    return _MARKER.sub("", text).strip()


def normalise(text: str, language: str = "und") -> str:
    """SQuAD's normal form: lower-case, without punctuation and articles, single spaces.

    ``language``: an ISO 639-1 code; where it is not known, English articles go, as in SQuAD.
    """
    kept = "".join(character for character in text.lower() if not _is_punctuation(character))
    return " ".join(_ARTICLE.get(language, _ARTICLE["en"]).sub(" ", kept).split())


@lru_cache(maxsize=4096)
def _is_punctuation(character: str) -> bool:
    return character in _ASCII_PUNCTUATION or (ord(character) > 127 and unicodedata.category(character)[0] == "P")


def exact_match(reply: str, answer: str, language: str = "und") -> float:
    """1 where the two are the same after normalisation."""
    return float(normalise(reply, language) == normalise(answer, language))


def token_f1(reply: str, answer: str, language: str = "und") -> float:
    """Harmonic mean of the shares of tokens that reply and answer have in common, as bags."""
    return _overlap(reply, answer, language)[0]


def token_recall(reply: str, answer: str, language: str = "und") -> float:
    """Share of the answer's tokens that the reply has, as bags."""
    return _overlap(reply, answer, language)[1]


def _overlap(reply: str, answer: str, language: str) -> tuple[float, float]:
    said, right = normalise(reply, language).split(), normalise(answer, language).split()
    if not said or not right:
        return float(said == right), float(said == right or not right)
    common = (Counter(said) & Counter(right)).total()
    if not common:
        return 0.0, 0.0
    precision, recall = common / len(said), common / len(right)
    return 2 * precision * recall / (precision + recall), recall


def rouge_l(reply: str, answer: str) -> float:
    """F1 of the longest common subsequence of words; 0 where one of the two has none."""
    said, right = _WORD.findall(reply.lower()), _WORD.findall(answer.lower())
    common = longest_common_subsequence(said, right)
    if not common:
        return 0.0
    precision, recall = common / len(said), common / len(right)
    return 2 * precision * recall / (precision + recall)


def longest_common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Its length, by bits: a row of the table is one integer (Hyyrö 2004), so a long reply costs little."""
    places: dict[str, int] = {}
    for number, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << number
    row = full = (1 << len(one)) - 1
    for word in other:
        matches = row & places.get(word, 0)
        row = (row + matches | row - matches) & full
    return len(one) - row.bit_count()


CHARACTERS = 6
"""The longest n-grams of chrF."""
BETA = 2
"""Recall counts so many times as much as precision."""


def chrf(reply: str, answer: str) -> float:
    """F2 of the mean precision and recall of character n-grams up to 6, without white space."""
    said, right = "".join(reply.split()), "".join(answer.split())
    precision = recall = 0.0
    orders = 0
    for order in range(1, CHARACTERS + 1):
        have, want = _grams(said, order), _grams(right, order)
        # Orders that one of the two is too short for are left out, as for sentences in sacrebleu.
        if have and want:
            common = (have & want).total()
            precision += common / have.total()
            recall += common / want.total()
            orders += 1
    if not orders or not precision + recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall) / orders


def _grams(text: str, order: int) -> Counter[str]:
    return Counter(text[start : start + order] for start in range(len(text) - order + 1))
