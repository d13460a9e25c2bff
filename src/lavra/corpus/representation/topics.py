"""Topics of a corpus: clusters of documents, each named by the terms that tell it from the others.

TF-IDF and k-means (scikit-learn) over a sample of the documents. The number of clusters grows with the corpus; the same
documents give the same clusters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_TERMS = 4
_MOST_TOPICS = 12


def topics(texts: Sequence[str], weights: Sequence[tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """``{"term, term, term": (documents, bytes)}`` of the sample, the largest first; empty for fewer than 20 texts."""
    if len(texts) < 20:
        return {}
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        max_features=20_000, min_df=2, max_df=0.5, sublinear_tf=True, token_pattern=r"(?u)\b[^\W\d_]{4,}\b"
    )
    try:
        matrix = vectorizer.fit_transform(texts)
    except ValueError:  # no term is in two texts and in half of them at most
        return {}
    count = int(min(_MOST_TOPICS, max(2, round(np.sqrt(len(texts) / 8)))))
    model = MiniBatchKMeans(count, random_state=0, n_init=3, batch_size=1_024).fit(matrix)
    names = vectorizer.get_feature_names_out()
    overall = np.asarray(matrix.mean(axis=0)).ravel()
    found: dict[str, tuple[int, int]] = {}
    for cluster in range(count):
        rows = np.flatnonzero(model.labels_ == cluster).tolist()
        if not rows:
            continue
        telling = np.asarray(matrix[rows].mean(axis=0)).ravel() - overall
        name = ", ".join(names[i] for i in np.argsort(-telling)[:_TERMS])
        documents = sum(weights[row][0] for row in rows)
        found[name] = documents, sum(weights[row][1] for row in rows)
    return dict(sorted(found.items(), key=lambda item: (-item[1][1], item[0])))
