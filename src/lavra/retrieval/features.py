"""What the fusion looks at: each candidate passage of a question in a few numbers.

All candidates of one question are seen together, because most of what tells the right passage is relative: how far
is it behind the best, and does its document hold other good candidates (the document is found first, then the
passage in it). Every feature is computed for every candidate, whichever search found it: its cosine is exact, and
its BM25 is 0 where it shares no word with the question.

Not used, because it did not help on held-out questions (``docs/LOG.md``): raw BM25 (not comparable between questions),
scores standardised by the candidates' spread, lengths, neighbouring chunks, unstemmed words, numbers after "how many".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np

Question: TypeAlias = Sequence[tuple[str, ...]]
"""The words of a question in order, each as the stems under which documents may hold it (``analysis.query_words``)."""

FEATURES = (
    "bm25_margin",
    "bm25_reciprocal_rank",
    "bm25_relative",
    "cosine",
    "cosine_margin",
    "cosine_reciprocal_rank",
    "sentence_margin",
    "coverage",
    "coverage_behind_best",
    "pairs",
    "phrase_behind_best",
    "window",
    "beginnings_behind_best",
    "document_bm25",
    "document_coverage",
    "document_share",
)

WINDOW = 30
"""Words; two or three sentences: what answers a question usually stands that close together."""

BEGINNING = 5
"""Letters; words that share them mostly share their root, also where Snowball tells them apart: "prioridade" meets
"priorizar", "substitui" meets "substituição". 4 and 6 were no better on held-out questions."""

TEMPERATURE = 0.02
"""Of the softmax over cosines; E5 puts almost all pairs between .75 and .92, so .02 is a large step."""


def features(
    question: Question,
    *,
    keywords: Collection[str] | None = None,
    documents: Sequence[str],
    analysed: Sequence[str],
    bm25: np.ndarray,
    cosine: np.ndarray,
    sentence: np.ndarray,
) -> np.ndarray:
    """(N, len(FEATURES)) float64 for the N candidates of one question.

    ``keywords``: stems of the words that are searched for (``analysis.analyse_query``), without function words; by
    default all. ``documents``: each candidate's document; ``analysed``: its stems joined by spaces; ``bm25``: (N,), 0
    where no word is shared; ``cosine``: (N,), and ``sentence``: (N,), that of its nearest sentence.
    """
    count = len(documents)
    if count == 0:
        return np.zeros((0, len(FEATURES)))
    bm25, cosine = np.asarray(bm25, dtype=np.float64), np.asarray(cosine, dtype=np.float64)
    seen = _words(question, analysed)
    total = max(float(seen.weights.sum()), 1e-9)
    coverage = seen.hits @ seen.weights / total
    beginnings = _beginnings(question, keywords, analysed)
    relative = bm25 / max(float(bm25.max()), 1e-9)
    # BM25 means little where even the best candidate holds few of the words: another language, a paraphrase.
    trust = float(coverage.max())
    softmax = np.exp((cosine - cosine.max()) / TEMPERATURE)

    _, document = np.unique(np.asarray(documents), return_inverse=True)
    size = int(document.max()) + 1
    document_hits = np.zeros((size, seen.hits.shape[1]))
    np.maximum.at(document_hits, document, seen.hits)

    columns = {
        # the passage by itself
        "bm25_margin": trust * _margin(relative),
        "bm25_reciprocal_rank": trust * np.where(bm25 > 0, 1 / _ranks(bm25), 0.0),
        "bm25_relative": trust * relative,
        "cosine": cosine,
        "cosine_margin": _margin(cosine),
        "cosine_reciprocal_rank": 1 / _ranks(cosine),
        "sentence_margin": _margin(np.asarray(sentence, dtype=np.float64)),
        # the question's words in it
        "coverage": coverage,
        "coverage_behind_best": coverage - coverage.max(),
        "pairs": seen.pairs,
        "phrase_behind_best": (seen.phrase - seen.phrase.max()) / total,
        "window": seen.window / total,
        "beginnings_behind_best": beginnings - beginnings.max(),
        # its document, as far as the candidates show it
        "document_bm25": trust * _best(relative, document, size),
        "document_coverage": (document_hits @ seen.weights / total)[document],
        "document_share": (np.bincount(document, softmax, size) / softmax.sum())[document],
    }
    return np.stack([columns[name] for name in FEATURES], axis=1)


@dataclass(frozen=True, slots=True)
class _Words:
    """Which candidate holds which word of the question, and how close together; N candidates, W distinct words."""

    weights: np.ndarray
    """(W,) a word's BM25 idf *among the candidates*: what all of them have in common distinguishes none."""
    hits: np.ndarray
    """(N, W) 1 where the candidate holds the word."""
    pairs: np.ndarray
    """(N,) the weighted share of the question's neighbouring words that are neighbours in the candidate too."""
    phrase: np.ndarray
    """(N,) the greatest weight of a run of such neighbours; one word alone is a run."""
    window: np.ndarray
    """(N,) the greatest weight of distinct words within ``WINDOW`` words."""


def _words(question: Question, analysed: Sequence[str]) -> _Words:
    distinct = list(dict.fromkeys(question))
    place = {word: number for number, word in enumerate(distinct)}
    number_of = {stem: number for number, word in reversed(list(enumerate(distinct))) for stem in word}
    wanted = {(place[a], place[b]) for a, b in pairwise(question) if a != b}

    count = len(analysed)
    hits = np.zeros((count, len(distinct)))
    places: list[list[tuple[int, int]]] = []
    for row, text in enumerate(analysed):
        numbers = map(number_of.get, text.split())
        found = [(at, number) for at, number in enumerate(numbers) if number is not None]
        places.append(found)
        hits[row, [number for _, number in found]] = 1.0
    weights = _idf(hits)

    pairs, phrase, window = np.zeros(count), np.zeros(count), np.zeros(count)
    weight = weights.tolist()
    possible = sum(weight[a] + weight[b] for a, b in wanted)
    for row, found in enumerate(places):
        neighbours: set[tuple[int, int]] = set()
        run = longest = weight[found[0][1]] if found else 0.0
        for (i, a), (j, b) in pairwise(found):
            if j == i + 1 and (a, b) in wanted:
                neighbours.add((a, b))
                run += weight[b]
            else:
                run = weight[b]
            longest = max(longest, run)
        phrase[row] = longest
        if neighbours:
            pairs[row] = sum(weight[a] + weight[b] for a, b in neighbours) / possible
        window[row] = _densest(found, weight)
    return _Words(weights, hits, pairs, phrase, window)


def _beginnings(question: Question, keywords: Collection[str] | None, analysed: Sequence[str]) -> np.ndarray:
    """(N,) the weighted share of the keywords with which some word of the candidate shares its first letters."""
    asked = [word for word in dict.fromkeys(question) if keywords is None or not set(keywords).isdisjoint(word)]
    texts = [f" {text} " for text in analysed]
    hits = np.zeros((len(texts), len(asked)))
    for column, word in enumerate(asked):
        # Found as text, not word by word: a hundred candidates cost a fraction of a millisecond.
        for begin in {f" {stem[:BEGINNING]}" if len(stem) >= BEGINNING else f" {stem} " for stem in word}:
            hits[[begin in text for text in texts], column] = 1.0
    weights = _idf(hits)
    return hits @ weights / max(float(weights.sum()), 1e-9)


def _idf(hits: np.ndarray) -> np.ndarray:
    """(W,) BM25's idf of each word among the candidates, of which it is in those with a 1 in ``hits`` (N, W)."""
    holding = hits.sum(axis=0)
    return np.log1p((len(hits) - holding + 0.5) / (holding + 0.5))


def _densest(found: Sequence[tuple[int, int]], weights: Sequence[float]) -> float:
    """The greatest weight of distinct words that stand within ``WINDOW`` of each other."""
    held = [0] * len(weights)
    value = best = 0.0
    first = 0
    for at, number in found:
        held[number] += 1
        if held[number] == 1:
            value += weights[number]
        while found[first][0] <= at - WINDOW:
            leaving = found[first][1]
            held[leaving] -= 1
            if held[leaving] == 0:
                value -= weights[leaving]
            first += 1
        best = max(best, value)
    return best


def _ranks(values: np.ndarray) -> np.ndarray:
    """1 for the greatest; equal values share the better rank, so that their order cannot matter."""
    ordered = np.sort(values)
    return len(values) - np.searchsorted(ordered, values, side="right") + 1.0


def _margin(values: np.ndarray) -> np.ndarray:
    """How far each value is above (below) the best of the others; 0 for a value without others."""
    if len(values) == 1:
        return np.zeros(1)
    second, first = np.sort(values)[-2:]
    return values - np.where(values == first, second, first)


def _best(values: np.ndarray, document: np.ndarray, size: int) -> np.ndarray:
    """For each candidate the greatest value among the candidates of its document."""
    best = np.full(size, -np.inf)
    np.maximum.at(best, document, values)
    return best[document]
