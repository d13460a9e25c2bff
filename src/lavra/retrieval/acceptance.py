"""Whether what was found answers the question at all.

The fusion says which passage comes first; most of its features tell a passage from the *others* that were found. In a
corpus of three pages there are hardly any others, or others in another language only, and the one page in the
question's language stands out whatever was asked. So the decision to answer is a small model of its own, over the best
passage by itself: the log-odds that the fusion gives it, the cosine of its nearest sentence, and the share of the
question's words it has. What each of them weighs goes in a line from a lone candidate to a hundred: among many, the
fusion's comparison says most; among few, the passage must speak for itself.

Words say nothing of a passage in another language than the question's. There the fusion's log-odds decide alone, at
the threshold that they had in training.

Learned from the training questions asked of small corpora too, and of such as hold nothing on their subject
(``benchmarks/train_fusion.py``). What it changed on sets it was not trained on (``benchmarks/retrieval.py``), against
the fusion's probability with a threshold of its own. Asked of 1 to 40 passages, share answered: the answer is there
.90 → .92; only other subjects .32 → .04. Asked of whole corpora: refused though answerable .053 → .051; refused of
those about something else .943 → .974, and of those whose passage was taken away .558 → .630.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavra.retrieval.features import BEGINNING, Question
from lavra.retrieval.logistic import newton, sigmoid

EVIDENCE = ("log_odds", "sentence", "words", "candidates", "log_odds_among_many", "words_among_many")
MANY = 100
"""Candidates: what both searches give together when neither finds what the other does."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for the best passage of a question.

    ``log_odds``: the fusion's; ``sentence``: cosine of its nearest sentence, on E5's scale; ``words``: see
    :func:`words_met`; ``candidates``: how many passages were compared.
    """

    log_odds: float
    sentence: float
    words: float
    candidates: int

    def vector(self) -> np.ndarray:
        """(6,) in the order of ``EVIDENCE``."""
        many = min(1.0, math.log(max(self.candidates, 1)) / math.log(MANY))
        return np.array(
            [self.log_odds, self.sentence, self.words, many, self.log_odds * many, self.words * many],
            dtype=np.float64,
        )


def words_met(question: Question, keywords: Collection[str], analysed: str) -> float:
    """The share of the question's distinct words, function words left out, that the passage begins alike with.

    Not weighted by how rare a word is among the candidates (the fusion's features are): few candidates cannot say.
    """
    wanted = set(keywords)
    asked = [word for word in dict.fromkeys(question) if not wanted.isdisjoint(word)]
    text = f" {analysed} "
    met = sum(any(_beginning(stem) in text for stem in word) for word in asked)
    return met / len(asked) if asked else 0.0


def _beginning(stem: str) -> str:
    return f" {stem[:BEGINNING]}" if len(stem) >= BEGINNING else f" {stem} "


@dataclass(frozen=True)
class Acceptance:
    """A logistic regression over :data:`EVIDENCE`."""

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: float
    elsewhere: float = 0.0
    """Added to the log-odds of a passage in another language, so that one threshold serves both."""

    def confidence(self, evidence: Evidence, *, other_language: bool = False) -> float:
        """The probability that the question is answered by what was found."""
        if other_language:
            z = evidence.log_odds + self.elsewhere
        else:
            z = float((evidence.vector() - self.mean) / self.scale @ self.weights) + self.bias
        return float(sigmoid(np.array(z)))

    @classmethod
    def fit(cls, evidence: Sequence[Evidence], answered: Sequence[bool], *, strength: float = 1.0) -> Acceptance:
        """Maximum a posteriori under a normal prior of ``strength`` (scikit-learn's 1/C) on the weights."""
        X, y = np.stack([one.vector() for one in evidence]), np.asarray(answered, dtype=np.float64)
        mean, scale = X.mean(axis=0), np.maximum(X.std(axis=0), 1e-9)
        anchor = np.zeros(len(EVIDENCE) + 1)
        *weights, bias = newton((X - mean) / scale, y, np.arange(len(y)), anchor, strength, 0.0)
        return cls(mean, scale, np.array(weights), float(bias))

    def record(self) -> dict[str, Any]:
        """As it stands in ``fusion.json``."""
        rows = zip(EVIDENCE, self.weights, self.mean, self.scale, strict=True)
        return {
            "bias": round(self.bias, 6),
            "other_language": round(self.elsewhere, 6),
            "evidence": {
                name: {"weight": round(float(w), 6), "mean": round(float(m), 6), "scale": round(float(s), 6)}
                for name, w, m, s in rows
            },
        }

    @classmethod
    def of(cls, record: dict[str, Any]) -> Acceptance:
        """From what :meth:`record` gave; raises KeyError, TypeError or ValueError for anything else."""
        if tuple(record["evidence"]) != EVIDENCE:
            raise ValueError("other evidence than this version computes")
        rows = list(record["evidence"].values())
        mean, scale, weights = (np.array([row[key] for row in rows], float) for key in ("mean", "scale", "weight"))
        if not np.isfinite([*mean, *weights, float(record["bias"])]).all() or not (scale > 0).all():
            raise ValueError("numbers that are not finite")
        return cls(mean, scale, weights, float(record["bias"]), float(record["other_language"]))
