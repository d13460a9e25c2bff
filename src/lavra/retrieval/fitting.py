"""Fitting the fusion to questions of one's own.

What makes a passage the right one differs between collections (codes and numbers here, prose there). A hundred
questions whose answers are known are enough to move the shipped coefficients, which stay the prior.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

import numpy as np

from lavra.corpus.document import Document
from lavra.errors import LavraError
from lavra.retrieval.candidates import Candidate
from lavra.retrieval.fusion import REFUSED, Fusion
from lavra.retrieval.index import Index

STRENGTH = 100.0
"""Of the pull towards the coefficients in use: a hundred questions (some 8,000 candidates) move what they speak of.

A hundred questions of FaQuAD or Pirá, the rest measured: MRR at 10 is .001 to .005 below that at 100, and 300 the same.
Such questions are like those of the training, and leave the coefficients no better than they were (-.002 to -.003)."""


def fit_fusion(
    index: Index,
    questions: Iterable[tuple[str, Collection[str]]],
    *,
    roles: Collection[str] = (),
    strength: float = STRENGTH,
) -> Fusion:
    """A fusion for these questions, each with what answers it: identifiers of passages or documents, or sources.

    Where a whole document is named, the passage of it that the present fusion likes best is taken for the answer and
    its others are left out, since most passages of a right document answer nothing. A question with nothing named
    teaches when to refuse.

    Raises:
        LavraError: no question has an answer among its candidates.
    """
    rows, labels, groups = [], [], []
    answered = []
    for number, (question, answers) in enumerate(questions):
        candidates, seen = index.candidates(question, roles=roles)
        if not candidates:
            continue
        label = _labels(candidates, index.fusion.predict(seen), frozenset(answers))
        rows.append(seen[label >= 0])
        labels.append(label[label >= 0])
        answered += [question] * bool((label > 0).any())
        groups.append(np.full(int((label >= 0).sum()), number))
    if not labels or not any(label.any() for label in labels):
        raise LavraError(
            "The fusion cannot be fitted: none of the questions finds what answers it; "
            "name the answers by the sources or identifiers that the index has, and give the roles that may read them."
        )
    training = {"questions": len(labels), "embedder": index.embedder.name, "strength": strength}
    fitted = Fusion.fit(
        np.concatenate(rows),
        np.concatenate(labels),
        np.concatenate(groups),
        prior=index.fusion,
        strength=strength,
        training=training,
    )
    if index.fusion.acceptance is None:
        return fitted
    fitted = replace(fitted, acceptance=index.fusion.acceptance)
    index = Index(index.root, index.embedder, fitted, index.chunking)
    confidences = [index.search(question, roles=roles, k=1).confidence for question in answered]
    return replace(fitted, threshold=float(np.quantile(confidences, REFUSED)))


def _labels(candidates: list[Candidate], probability: np.ndarray, answers: frozenset[str]) -> np.ndarray:
    """(N,) 1 for an answer, 0 for none, -1 for what may be either."""
    if any(candidate.chunk_id in answers for candidate in candidates):
        return np.array([int(candidate.chunk_id in answers) for candidate in candidates])
    documents = answers | {Document(source=answer, text="").id for answer in answers}
    of_right = np.array([candidate.document_id in documents for candidate in candidates])
    labels = np.where(of_right, -1, 0)
    if of_right.any():
        labels[int(np.where(of_right, probability, -1.0).argmax())] = 1
    return labels
