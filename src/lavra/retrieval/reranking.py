"""Putting the best few of what a search found in order, by a model that reads question and passage together.

A cross-encoder sees which words of the passage meet which of the question, and costs a pass a passage; so it reads only
the best few (Nogueira and Cho 2019, Passage Re-ranking with BERT). What the search had found is not thrown away: the
log-odds of both are mixed, for a small judge that was tuned on a thousand questions knows less than the fusion knows of
words and documents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from lavra.retrieval.passage import Passage

_SURE = 1e-6
"""A probability is taken to be no nearer to 0 and 1 than this, so that its log-odds are finite."""


class Judge(Protocol):
    """``lavra.inference.classifier.Reranker`` is one."""

    def scores(self, question: str, passages: Sequence[str]) -> np.ndarray:
        """(N,): how well each passage fits, from 0 to 1."""
        ...


@dataclass
class Reranking:
    """What an index does with the ``depth`` best of a search: ``load`` brings the judge, when it is first asked;
    ``share`` is its part in the order, see :func:`rerank`."""

    load: Callable[[], Judge]
    depth: int = 10
    share: float = 0.25

    @cached_property
    def judge(self) -> Judge:
        return self.load()

    def bring(self) -> None:
        """Have the judge loaded, or hear why it cannot be."""
        assert self.judge is not None

    def __call__(self, question: str, passages: Sequence[Passage], *, k: int) -> tuple[Passage, ...]:
        """The best ``k`` of ``passages``; those beyond ``depth`` come after those within."""
        best = rerank(self.judge, question, passages[: self.depth], share=self.share)
        return (*best, *passages[self.depth :])[:k]


def rerank(
    judge: Judge, question: str, passages: Sequence[Passage], *, k: int | None = None, share: float = 1.0
) -> tuple[Passage, ...]:
    """The ``k`` passages (all of them) that fit best, best first, with their score σ((1 - s) · logit(search's) +
    s · logit(judge's)), where s is the judge's ``share``: with 1 the judge alone decides. Each keeps the search's score
    as the feature ``fusion`` and the judge's as ``judge``. Equal ones keep the search's order."""
    if not passages:
        return ()
    texts = ["\n".join((*passage.headings[-1:], passage.text)) for passage in passages]
    judged = np.asarray(judge.scores(question, texts), dtype=np.float64)
    before = np.array([passage.score for passage in passages])
    mixed = judged if share == 1 else _sigmoid((1 - share) * _log_odds(before) + share * _log_odds(judged))
    order = np.argsort(-mixed, kind="stable")[:k]
    return tuple(
        replace(
            passages[index],
            score=float(mixed[index]),
            features={
                **passages[index].features,
                "fusion": passages[index].score,
                "judge": float(judged[index]),
            },
        )
        for index in order.tolist()
    )


def _log_odds(probability: np.ndarray) -> np.ndarray:
    p = np.clip(probability, _SURE, 1 - _SURE)
    return np.asarray(np.log(p) - np.log1p(-p))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))
