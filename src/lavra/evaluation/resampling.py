"""What a model says when it is asked again: where it knows it repeats itself, where it invents it varies.

Pure functions over texts; who draws the samples (some 5 to 20 at temperature 1) is not known here.

- *SelfCheck* (Manakul et al. 2023): each sentence of a reply against the samples. ``surprise`` is their unigram model
  (of their methods that need no other model the best), ``consistency`` asks how many samples support the sentence, by
  words (``grounding``), and ``similarity`` by embeddings.
- *Semantic entropy* (Kuhn et al. 2023; Farquhar et al. 2024): samples that mean the same make a cluster, and the
  entropy is that of the clusters. Where they have a model of entailment, here each of two texts has to hold the other's
  content words, those of the question apart.

None of it tells a truth from an error that the model repeats.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lavra.assistants.citing import content_words, denies
from lavra.evaluation.grounding import SUPPORTED, Grounds, split
from lavra.retrieval.analysis import words
from lavra.retrieval.updating import TextEmbedder


@dataclass(frozen=True, slots=True)
class Surprise:
    """Negative logarithms of the probabilities of a sentence's words, in nats; higher is more likely invented."""

    sentence: str
    mean: float
    most: float


def surprise(reply: str, samples: Sequence[str]) -> list[Surprise]:
    """Each sentence under a unigram model of the samples and the reply itself (so that no word has probability 0)."""
    counts = Counter(word for text in (reply, *samples) for word in words(text))
    total = counts.total()
    found = []
    for sentence in split(reply):
        costs = [math.log(total / counts[word]) for word in words(sentence.text)]
        if costs:
            found.append(Surprise(sentence.text, sum(costs) / len(costs), max(costs)))
    return found


def consistency(reply: str, samples: Sequence[str], language: str = "und") -> float:
    """Share of samples that support a sentence, over the reply's sentences; NaN where there is nothing to compare."""
    said = split(reply)
    checks = [Grounds([sample], language).check(said) for sample in samples]
    supported = [sentence.supported for check in checks for sentence in check if sentence.checkable]
    return sum(supported) / len(supported) if supported else math.nan


def similarity(reply: str, samples: Sequence[str], embedder: TextEmbedder) -> float:
    """Mean over sentences and samples of the cosine with the sample's nearest sentence; NaN without either."""
    said = [sentence.text for sentence in split(reply)]
    others = [[sentence.text for sentence in split(sample)] for sample in samples]
    others = [texts for texts in others if texts]
    if not said or not others:
        return math.nan
    vectors = embedder.documents([*said, *(text for texts in others for text in texts)])
    cosines, start, nearest = vectors[: len(said)] @ vectors[len(said) :].T, 0, []
    for texts in others:
        nearest.append(cosines[:, start : start + len(texts)].max(axis=1).mean())
        start += len(texts)
    return float(np.mean(nearest))


Same = Callable[[str, str], bool]


def same_meaning(question: str = "", language: str = "und") -> Same:
    """Whether two answers to a question say the same: each holds what the other adds to the question."""
    asked = content_words(question, language)

    def same(one: str, other: str) -> bool:
        first, second = (content_words(text, language) for text in (one, other))
        # Of an answer that only repeats the question ("Was it signed?", "It was signed.") all words count.
        first, second = first - asked or first, second - asked or second
        if denies(one, language) != denies(other, language) or _numbers(first) != _numbers(second):
            return False
        if not first or not second:
            return first == second
        return len(first & second) >= SUPPORTED * max(len(first), len(second))

    return same


def _numbers(found: frozenset[str]) -> set[str]:
    return {word for word in found if any(character.isdigit() for character in word)}


def clusters(samples: Sequence[str], same: Same) -> list[list[int]]:
    """Numbers of the samples that mean the same; each is compared with the first of a cluster, as in the paper."""
    found: list[list[int]] = []
    for number, sample in enumerate(samples):
        home = next((cluster for cluster in found if same(samples[cluster[0]], sample)), None)
        if home is None:
            found.append([number])
        else:
            home.append(number)
    return found


def semantic_entropy(samples: Sequence[str], same: Same, log_probabilities: Sequence[float] | None = None) -> float:
    """Entropy of the meanings in nats: 0 where all samples say the same, ln N where no two do. NaN without samples.

    ``log_probabilities``: of each sample under the model (divided by its length, as Kuhn et al. do); without them each
    sample counts the same, which is Farquhar et al.'s discrete form.
    """
    if not samples:
        return math.nan
    weights = np.ones(len(samples))
    if log_probabilities is not None:
        logs = np.asarray(log_probabilities, dtype=np.float64)
        weights = np.exp(logs - logs.max())
    masses = np.array([weights[cluster].sum() for cluster in clusters(samples, same)]) / weights.sum()
    return float(-(masses * np.log(masses)).sum()) + 0.0
