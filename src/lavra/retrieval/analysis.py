"""Text analysis for the lexical half of the search: what a word is, and which words are the same word.

One order, because it was measured to be the best (typed without accents, Portuguese questions keep their rank):
lower-case → fold accents → plural rules → Snowball (Porter 2001, snowballstem.org) → tokens joined by spaces. Folding
*first* makes ``licitacao`` and ``licitação`` one word before any rule looks at it; the plural rules then do what
Snowball's Portuguese and Spanish stemmers can no longer do on folded text (``licitacoes`` → ``licitacao``), and where
a Portuguese suffix has an accent for certain (-ação, -ência, -ável) Snowball is given it back.
The result is stored in a column of its own and indexed by white space alone, so the index needs no analyser.

Numbers and codes stay findable however they were punctuated: ``8.666/1993`` becomes ``8666``, ``1993`` and
``86661993``; ``12.345.678/0001-90`` also ``12345678000190``; ``art. 5º`` and ``art. 5o`` become ``art 5``.

Documents keep their function words, so that phrases stay phrases; a question's are not searched for (see
:mod:`lavra.retrieval.function_words`). Scripts written without spaces are not segmented.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

import snowballstemmer

from lavra.retrieval.function_words import FUNCTION_WORDS

LANGUAGES = ("pt", "es", "en")
"""The languages that have rules of their own; any other is folded and loses a plural ``s``."""

_SNOWBALL = {"pt": "portuguese", "es": "spanish", "en": "english"}

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_ORDINAL = re.compile("[ºª°]")
_COMBINING = re.compile("[\u0300-\u036f]")
_UNDECOMPOSED = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ß": "ss", "æ": "ae", "œ": "oe", "ı": "i"})
# A line that ends in a hyphen inside a word, as PDFs have them.
_HYPHENATED = re.compile(r"(?<=[a-z])[-\u2010]\r?\n[ \t]*(?=[a-z])")
_POSSESSIVE = re.compile(r"['’]s\b")
_INITIALS = re.compile(r"\b[a-z](?:\.[a-z])+\b(?!\w)")
_TOKEN = re.compile(r"[^\W_]+(?:[./,:_\u2010-\u2013-][^\W_]+)*")
_WORD = re.compile(r"[^\W\d_]+")
_SEPARATOR = re.compile(r"[./,:_\u2010-\u2013-]")
_THOUSANDS = re.compile(r"(?<=\d)[.,](?=\d{3}(?!\d))")
_DECIMAL = re.compile(r"\d+[.,]\d+")
_NUMBER_WITH_ORDINAL = re.compile(r"(\d+)[oa]s?")
_DIGIT = re.compile(r"\d")


def fold(text: str) -> str:
    """Lower-case, compatibility-normalised (ligatures, widths), without accents or invisible characters."""
    if text.isascii():
        return text.lower()
    text = _ORDINAL.sub("", _INVISIBLE.sub("", text))
    return _COMBINING.sub("", unicodedata.normalize("NFKD", text).lower()).translate(_UNDECOMPOSED)


def analyse(text: str, language: str) -> str:
    """The searchable form of a text: its stems in order, joined by single spaces.

    ``language`` is an ISO 639-1 code; a language without rules here (and ``und``) is folded and loses a plural ``s``.
    """
    code = language if language in _SNOWBALL else "und"
    return " ".join(_stem(word, code) for word in words(text))


def query_words(text: str, language: str = "und", corpus_languages: Iterable[str] = ()) -> list[tuple[str, ...]]:
    """The words of a question in order, each as the distinct stems under which documents may hold it.

    A document is analysed by the rules of *its* language, and a question may be in another one (a Portuguese
    question quotes the title of an English manual; "und" documents lie beside Portuguese ones). So each word is
    stemmed by the rules of every language in the corpus; in a corpus of one language that is exactly that
    language's analysis. ``language``, the question's own, counts only where the corpus' languages are not given.
    """
    known = list(corpus_languages) or [language]
    codes = list(dict.fromkeys(code if code in _SNOWBALL else "und" for code in known))
    return [tuple(dict.fromkeys(_stem(word, code) for code in codes)) for word in words(text)]


def analyse_query(text: str, language: str = "und", corpus_languages: Iterable[str] = ()) -> str:
    """The distinct stems of :func:`query_words` without function words, joined by spaces: for an OR query.

    A question of function words alone keeps them.
    """
    languages = {*corpus_languages, language}
    dropped = _function_words(text, languages)
    asked = list(zip(words(text), query_words(text, language, corpus_languages), strict=True))
    kept = [stems for word, stems in asked if word not in dropped] or [stems for _, stems in asked]
    return " ".join(dict.fromkeys(stem for stems in kept for stem in stems))


def _function_words(text: str, languages: Iterable[str]) -> set[str]:
    """The folded words of a text that are function words each time they occur.

    "Pará" folds to the preposition "para", "DAS" is a rank in the civil service: a word with other accents than the
    function word's, or in capitals inside a sentence, is a name.
    """
    lists = [FUNCTION_WORDS[language] for language in languages if language in FUNCTION_WORDS]
    function: set[str] = set()
    names: set[str] = set()
    shouted = text.isupper()
    for number, match in enumerate(_WORD.finditer(text)):
        surface, lower = match.group(), match.group().lower()
        folded = fold(surface)
        listed = any(lower in words or (lower == folded and lower in _folded(words)) for words in lists)
        in_place = shouted or number == 0 or surface == lower
        (function if listed and in_place else names).add(folded)
    return function - names


@lru_cache(maxsize=8)
def _folded(words: frozenset[str]) -> frozenset[str]:
    return frozenset(fold(word) for word in words)


def words(text: str) -> list[str]:
    """The folded words of a text, codes and numbers normalised, before any stemming."""
    text = _HYPHENATED.sub("", fold(text))
    text = _POSSESSIVE.sub("", text)
    text = _INITIALS.sub(lambda match: match.group().replace(".", ""), text)
    found: list[str] = []
    for token in _TOKEN.findall(text):
        if token.isalpha():
            found.append(token)
        elif _DIGIT.search(token) is None:
            found.extend(_SEPARATOR.split(token))
        else:
            found.extend(_code(token))
    return found


def _code(token: str) -> list[str]:
    """The forms under which a token with digits can be found: its parts, and the whole without punctuation."""
    token = _THOUSANDS.sub("", token)
    if (ordinal := _NUMBER_WITH_ORDINAL.fullmatch(token)) is not None:
        return [ordinal.group(1)]
    if _DECIMAL.fullmatch(token) is not None:
        return [token.replace(",", ".")]
    parts = _SEPARATOR.split(token)
    return [*parts, "".join(parts)] if len(parts) > 1 else parts


@lru_cache(maxsize=1 << 17)
def _stem(word: str, code: str) -> str:
    if not word.isalpha() or len(word) < 3:
        return word
    if code == "und":
        return word[:-1] if len(word) > 4 and word.endswith("s") and not word.endswith("ss") else word
    if code == "pt":
        accented = _with_suffix_accents(_portuguese_singular(word))
        return fold(_stemmer("pt").stemWord(accented))
    if code == "es":
        word = _spanish_singular(word)
    stem: str = _stemmer(code).stemWord(word)
    return stem


@lru_cache(maxsize=8)
def _stemmer(code: str) -> snowballstemmer.stemmer:
    return snowballstemmer.stemmer(_SNOWBALL[code])


# Words that only look like plurals; all folded.
_PT_INVARIANT = frozenset(
    {"mais", "demais", "jamais", "ademais", "cais", "pais", "seis", "dois", "pois", "depois"}
    | {"apos", "lapis", "onibus", "virus", "tres", "menos", "atras", "antes", "simples"}
)
_PT_IRREGULAR = {"maes": "mae", "leis": "lei", "reis": "rei", "paises": "pais"}


def _portuguese_singular(word: str) -> str:
    """The singular of a folded Portuguese word, where its ending gives it away."""
    if word in _PT_INVARIANT:
        return word
    if word in _PT_IRREGULAR:
        return _PT_IRREGULAR[word]
    if len(word) > 4:
        if word.endswith(("oes", "aes")):  # licitações, alemães
            return word[:-3] + "ao"
        if word.endswith("aos"):  # cidadãos
            return word[:-1]
        if word.endswith(("ais", "ois", "uis")):  # federais, lençóis, azuis
            return word[:-2] + "l"
        if word.endswith("eis"):  # papéis and fáceis: one form for both, see below
            return word[:-2] + "l"
        if word.endswith("il"):  # fácil, útil: so that they meet fáceis, úteis
            return word[:-2] + "el"
        if word.endswith("is") and not word.endswith(("sis", "xis")):  # barris, civis; not análisis, táxis
            return word[:-2] + "el"
    if len(word) > 3 and word.endswith("ns"):  # itens, bens
        return word[:-2] + "m"
    if len(word) > 4 and word.endswith(("res", "zes", "eses")):  # valores, vezes, meses; not análises
        return word[:-2]
    return word


# Suffixes that Snowball's Portuguese stemmer knows by their accents only.
_PT_SUFFIXES = {
    "acao": "ação",
    "ucao": "ução",
    "encia": "ência",
    "ancia": "ância",
    "encias": "ências",
    "ancias": "âncias",
    "avel": "ável",
    "ivel": "ível",
}


def _with_suffix_accents(word: str) -> str:
    """A folded Portuguese word with the accents back that its suffix must have: ``licitação`` meets ``licitar``."""
    for folded, accented in _PT_SUFFIXES.items():
        if word.endswith(folded):
            return word[: -len(folded)] + accented
    return word


def _spanish_singular(word: str) -> str:
    """The singular of a folded Spanish word, where its ending gives it away."""
    if len(word) > 4:
        if word.endswith("ces"):  # luces, veces
            return word[:-3] + "z"
        if word.endswith(
            ("iones", "anes", "enes", "ines", "ones", "unes", "ores", "ares", "eres", "ades", "udes", "eses")
        ):
            return word[:-2]
    return word
