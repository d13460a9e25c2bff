"""Topics of a corpus: clusters of documents, each named by the terms that tell it from the others.

TF-IDF and k-means (scikit-learn) over a sample of the documents. The number of clusters grows with the corpus; the same
documents give the same clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

CHARACTERS = 4_000
"""Of a text that are read."""
_TERMS = 4
_MOST_TOPICS = 12


@dataclass(frozen=True)
class Topics:
    """``sizes``: ``{"term, term, term": (documents, bytes)}`` of the sample, the largest first; ``assign``: the topics
    of any texts."""

    sizes: dict[str, tuple[int, int]]
    assign: Callable[[Sequence[str]], list[str]]


NONE = Topics({}, lambda texts: [""] * len(texts))


def topics(texts: Sequence[str], weights: Sequence[tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """``{"term, term, term": (documents, bytes)}`` of the sample, the largest first; empty for fewer than 20 texts."""
    return find_topics(texts, weights).sizes


def find_topics(texts: Sequence[str], weights: Sequence[tuple[int, int]]) -> Topics:
    """The topics of a sample of texts; none for fewer than 20."""
    if len(texts) < 20:
        return NONE
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        max_features=20_000, min_df=2, max_df=0.5, sublinear_tf=True, token_pattern=r"(?u)\b[^\W\d_]{4,}\b"
    )
    try:
        matrix = vectorizer.fit_transform(texts)
    except ValueError:  # no term is in two texts and in half of them at most
        return NONE
    count = int(min(_MOST_TOPICS, max(2, round(np.sqrt(len(texts) / 8)))))
    model = MiniBatchKMeans(count, random_state=0, n_init=3, batch_size=1_024).fit(matrix)
    names = vectorizer.get_feature_names_out()
    overall = np.asarray(matrix.mean(axis=0)).ravel()
    found: dict[str, tuple[int, int]] = {}
    called = [""] * count
    for cluster in range(count):
        rows = np.flatnonzero(model.labels_ == cluster).tolist()
        if not rows:
            continue
        telling = np.asarray(matrix[rows].mean(axis=0)).ravel() - overall
        name = ", ".join(names[i] for i in np.argsort(-telling)[:_TERMS])
        called[cluster] = name
        documents, size = found.get(name, (0, 0))
        documents += sum(weights[row][0] for row in rows)
        found[name] = documents, size + sum(weights[row][1] for row in rows)

    def assign(others: Sequence[str]) -> list[str]:
        if not others:
            return []
        return [called[cluster] for cluster in model.predict(vectorizer.transform([t[:CHARACTERS] for t in others]))]

    return Topics(dict(sorted(found.items(), key=lambda item: (-item[1][1], item[0]))), assign)
