"""A quality classifier of the user's own: good and bad examples in, the probability that a text is good out.

Logistic regression over hashed words and pairs of words, as the published filters are (GPT-3's, LLaMA's, DCLM's),
because it reads fast. Its own accuracy is measured by cross-validation and kept with it. The weights are plain arrays:
nothing of a file is ever run. N texts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lavra.errors import LavraError

FILE_NAME = "classifier.npz"
_FEATURES = 1 << 18
_CHARACTERS = 20_000
"""Of a text that are read: what makes a page good or bad shows before that."""
_FEWEST = 20


@dataclass(frozen=True)
class Classifier:
    """Weights over hashed features, with how well it told held-out examples apart."""

    weights: NDArray[np.float32]
    bias: float
    auc: float
    """Area under the ROC curve, by cross-validation: .5 is chance."""
    good: int
    bad: int

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(N,) the probability that each text is good."""
        if not len(texts):
            return np.zeros(0)
        scores = np.asarray(_vectorizer().transform([text[:_CHARACTERS] for text in texts]) @ self.weights) + self.bias
        return 1.0 / (1.0 + np.exp(-np.clip(scores, -50, 50)))

    def save(self, folder: Path) -> None:
        """Into ``folder``: arrays, and nothing that could be run."""
        folder.mkdir(parents=True, exist_ok=True)
        said = json.dumps({"bias": self.bias, "auc": self.auc, "good": self.good, "bad": self.bad})
        np.savez_compressed(folder / FILE_NAME, weights=self.weights, said=np.frombuffer(said.encode(), np.uint8))


def load_classifier(folder: Path) -> Classifier:
    """Raises LavraError where there is none."""
    try:
        with np.load(folder / FILE_NAME, allow_pickle=False) as arrays:
            weights = np.asarray(arrays["weights"], np.float32)
            said: dict[str, Any] = json.loads(bytes(arrays["said"]))
        if weights.shape != (_FEATURES,):
            raise ValueError("its weights have another shape")
        return Classifier(weights, float(said["bias"]), float(said["auc"]), int(said["good"]), int(said["bad"]))
    except (OSError, ValueError, KeyError) as error:
        raise LavraError(
            f"{folder} holds no quality classifier ({error}): make one with `lavra corpus classifier`."
        ) from None


def train(good: Sequence[str], bad: Sequence[str]) -> Classifier:
    """A classifier of these examples; the same examples give the same one.

    Raises LavraError for fewer than 20 of either kind, or where a text is in both.
    """
    for name, texts in (("good", good), ("bad", bad)):
        if len(texts) < _FEWEST:
            raise LavraError(f"there are {len(texts)} {name} examples: a classifier needs {_FEWEST} or more of each.")
    if both := {text.strip() for text in good} & {text.strip() for text in bad}:
        raise LavraError(
            f"{len(both)} texts are examples of good and of bad at once ({min(both)[:60]!r} …): decide which."
        )
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import cross_val_predict

    matrix = _vectorizer().transform([text[:_CHARACTERS] for text in (*good, *bad)])
    labels = np.r_[np.ones(len(good)), np.zeros(len(bad))]
    model = LogisticRegression(C=10.0, max_iter=1_000, class_weight="balanced")
    held_out = cross_val_predict(model, matrix, labels, cv=5, method="decision_function")
    model.fit(matrix, labels)
    auc = float(roc_auc_score(labels, held_out))
    return Classifier(model.coef_[0].astype(np.float32), float(model.intercept_[0]), round(auc, 4), len(good), len(bad))


def _vectorizer() -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(n_features=_FEATURES, ngram_range=(1, 2), alternate_sign=False, norm="l2")
