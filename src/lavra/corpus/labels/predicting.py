"""What each label should be, by models that have not seen it: a logistic regression over words and pairs of words, and
where vectors of the texts are given, the mean of that and of one over the vectors.

Rows are cut into folds, each class in each fold as in all, rows of one document in one fold; each fold's probabilities
come from a model of the others. N rows, K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lavra.corpus.labels.repeats import require
from lavra.errors import LavraError

_CHARACTERS = 20_000
"""Of a text that are read."""
_TOKEN = r"(?u)\w+|[^\w\s]+"
"""Words, and runs of marks: a smile, three exclamation marks."""
_FIT = 3.0
"""scikit-learn's C. With 10 or more a model follows wrong labels of its own folds, and fewer suggestions are right."""
_FIT_VECTORS = 0.003
"""The same over vectors, whose hundreds of dimensions are all there in every text."""


def out_of_fold(
    texts: Sequence[str],
    given: NDArray[np.int64],
    documents: Sequence[str] = (),
    *,
    vectors: NDArray[np.floating] | None = None,
    folds: int = 5,
    seed: int = 0,
) -> NDArray[np.float64]:
    """(N, K) probabilities of each text's classes, by models that learned from other folds.

    given: (N,) labels, 0 to K - 1, of each class ``folds`` rows or more; documents: where each text is from, or "";
    vectors: (N, D) of the texts' meaning.
    Raises LavraError where a library is missing, or a fold's others lack a class.
    """
    require("checking labels", "sklearn")
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    matrix = _words([text[:_CHARACTERS] for text in texts])
    seen = [(matrix, _FIT)] if vectors is None else [(matrix, _FIT), (_standard(vectors), _FIT_VECTORS)]
    groups = _groups(documents, len(texts))
    if groups is None:
        parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(matrix, given)
    else:
        parts = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(matrix, given, groups)
    classes = int(given.max()) + 1
    believed = np.zeros((len(texts), classes))
    for learned, held in parts:
        if len(set(given[learned].tolist())) < classes:
            raise LavraError(
                "a label has all its texts from one or two documents, so that nothing can judge them; give more "
                "documents, or leave their names out."
            )
        for features, fit in seen:
            model = LogisticRegression(C=fit, max_iter=300, random_state=seed).fit(features[learned], given[learned])
            believed[held] += model.predict_proba(features[held]) / len(seen)
    return believed


def told_apart(given: NDArray[np.int64], believed: NDArray[np.float64]) -> float:
    """How well the probabilities of class 1 of two tell it: the area under the ROC curve, .5 for chance."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(given, believed[:, 1]))


def _words(texts: Sequence[str]) -> Any:
    """TF-IDF of words and pairs of words, of those that two texts have; of all where no text shares any."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    for least in (2, 1):
        try:
            return TfidfVectorizer(
                ngram_range=(1, 2), token_pattern=_TOKEN, min_df=least, sublinear_tf=True, dtype=np.float32
            ).fit_transform(texts)
        except ValueError:
            continue  # no term is left
    raise LavraError("no text has a word or a mark in it, so that nothing can be judged.")


def _standard(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Each dimension with mean 0 and deviation 1."""
    deviation = vectors.std(0)
    return np.asarray((vectors - vectors.mean(0)) / np.where(deviation > 0, deviation, 1), np.float64)


def _groups(documents: Sequence[str], count: int) -> list[int] | None:
    """A number for each document, and for each text without one; None where no two texts share a document."""
    named = Counter(name for name in documents if name)
    if not named or max(named.values()) < 2:
        return None
    numbers = {name: number for number, name in enumerate(named)}
    return [numbers.get(name, len(numbers) + row) for row, name in enumerate(documents or [""] * count)]
