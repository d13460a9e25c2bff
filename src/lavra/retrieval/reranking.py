"""Putting the best few of what a search found in order, by a model that reads question and passage together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from lavra.retrieval.passage import Passage


class Judge(Protocol):
    """``lavra.inference.classifier.Reranker`` is one."""

    def scores(self, question: str, passages: Sequence[str]) -> np.ndarray:
        """(N,): how well each passage fits."""
        ...


def rerank(judge: Judge, question: str, passages: Sequence[Passage], *, k: int | None = None) -> tuple[Passage, ...]:
    """The ``k`` passages (all of them) that fit best, best first; each keeps its place's score as the feature
    ``fusion`` and has the judge's as its score. Equal ones keep the search's order."""
    if not passages:
        return ()
    texts = ["\n".join((*passage.headings[-1:], passage.text)) for passage in passages]
    found = judge.scores(question, texts)
    order = np.argsort(-found, kind="stable")[:k]
    return tuple(
        replace(
            passages[index],
            score=float(found[index]),
            features={**passages[index].features, "fusion": passages[index].score},
        )
        for index in order.tolist()
    )
