"""What an embedder or a reranker is worth on held-out pairs: is the right text found, are grades in the right order?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lavra.model.base import Model
from lavra.objectives.classification import scores
from lavra.objectives.embeddings.objective import Embedding, TextTuple
from lavra.objectives.reranking import Judged, Reranking
from lavra.training.forward import Forward

_AT_ONCE = 64


class FoundPairs:
    """``recall@1``, ``recall@5`` and ``mrr@10``: each anchor looks for its positive among the positives and negatives
    of all examples. Equal texts count as one."""

    def __init__(self, objective: Embedding, examples: Sequence[TextTuple]) -> None:
        self.objective, self.examples = objective, examples
        texts = dict.fromkeys(text for example in examples for text in example.texts[1:])
        self._texts = {text: number for number, text in enumerate(texts)}

    def __call__(self, forward: Forward) -> dict[str, float]:
        model = forward.model
        anchors = vectors(model, self.objective, [example.texts[0] for example in self.examples])
        found = vectors(model, self.objective, list(self._texts))
        right = torch.tensor([self._texts[example.texts[1]] for example in self.examples])
        cosines = anchors @ found.T
        own = cosines.gather(1, right[:, None])
        rank = 1 + (cosines > own).sum(1)
        inverse = torch.where(rank <= 10, 1 / rank, 0.0)
        return {
            "recall@1": float((rank <= 1).float().mean()),
            "recall@5": float((rank <= 5).float().mean()),
            "mrr@10": float(inverse.mean()),
        }


class GradedPairs:
    """``spearman`` and ``pearson``: how the cosines of pairs go with the grades that people gave them."""

    def __init__(self, objective: Embedding, examples: Sequence[TextTuple]) -> None:
        self.objective, self.examples = objective, examples
        self._grades = np.array([example.label for example in examples])

    def __call__(self, forward: Forward) -> dict[str, float]:
        left, right = (vectors(forward.model, self.objective, [e.texts[c] for e in self.examples]) for c in (0, 1))
        return correlations((left * right).sum(1).numpy(), self._grades)


class JudgedPairs:
    """Of a reranker: ``mrr`` of the positive among its own negatives and ``accuracy`` of it being the first; where
    examples are single graded pairs, their correlations."""

    def __init__(self, objective: Reranking, examples: Sequence[Judged]) -> None:
        self.objective, self.examples = objective, examples

    def __call__(self, forward: Forward) -> dict[str, float]:
        found: list[Tensor] = []
        for start in range(0, len(self.examples), _AT_ONCE // 4):
            chosen = self.examples[start : start + _AT_ONCE // 4]
            batch = self.objective.collate(chosen).to(next(forward.model.parameters()).device)
            given = scores(forward.model, batch)[:, 0].cpu()
            found += given.split([len(example.texts) for example in chosen])
        if all(len(one) == 1 for one in found):
            return correlations(torch.cat(found).numpy(), np.array([e.targets[0] for e in self.examples]))
        ranks = np.array([1 + int((one[1:] >= one[0]).sum()) for one in found])
        return {"mrr": float((1 / ranks).mean()), "accuracy": float((ranks == 1).mean())}


def vectors(model: Any, objective: Embedding, texts: Sequence[Sequence[int]]) -> Tensor:
    """(N, D), of token ids; on the CPU."""
    assert isinstance(model, Model)
    found = []
    for start in range(0, len(texts), _AT_ONCE):
        batch = objective.collate([TextTuple((tuple(text),)) for text in texts[start : start + _AT_ONCE]])
        found.append(objective.vectors(model, batch.to(model.device)).cpu())
    return torch.cat(found)


def correlations(found: np.ndarray, grades: np.ndarray) -> dict[str, float]:
    """Pearson's, and Spearman's: the same of ranks, equal values having the mean of theirs."""

    def pearson(a: np.ndarray, b: np.ndarray) -> float:
        a, b = a - a.mean(), b - b.mean()
        return float((a * b).sum() / max(1e-12, float(np.sqrt((a * a).sum() * (b * b).sum()))))

    return {"spearman": pearson(_ranks(found), _ranks(grades)), "pearson": pearson(found, grades)}


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: np.ndarray = ends - (counts - 1) / 2
    return means[place]
