"""Examples before a question: always the same ones, or those nearest to it.

An example is a pair of question and answer and stands before the question as turns of the conversation (Brown et al.
2020, section 2). Which ones are nearest is told by their embeddings (Liu et al. 2022, What Makes Good In-Context
Examples for GPT-3?).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from lavra.prompting import PromptTemplate

Pair = tuple[str, str]
Examples = Callable[[str], Sequence[Pair]]
"""For a question: examples in the order in which they are shown."""


class Embedding(Protocol):
    """What tells how near two questions are."""

    def queries(self, texts: Sequence[str]) -> np.ndarray: ...


def fixed(pairs: Sequence[Pair], count: int, seed: int) -> Examples:
    """The same for every question, drawn by ``seed``."""
    order = np.random.default_rng(seed).permutation(len(pairs))[:count]
    chosen = [pairs[number] for number in order.tolist()]
    return lambda question: [pair for pair in chosen if pair[0] != question]


def nearest(pairs: Sequence[Pair], count: int, embedder: Embedding, *, nearest_last: bool = True) -> Examples:
    """The ``count`` nearest to each question, never the question itself."""
    vectors_ND = embedder.queries([asked for asked, _ in pairs])

    def examples(question: str) -> list[Pair]:
        likeness_N = vectors_ND @ embedder.queries([question])[0]
        order = [n for n in likeness_N.argsort(kind="stable")[::-1].tolist() if pairs[n][0] != question][:count]
        return [pairs[number] for number in (reversed(order) if nearest_last else order)]

    return examples


def of_template(prompt: PromptTemplate, embedder: Embedding) -> Examples:
    """The examples that a template brings, shown as it says."""
    shown = prompt.examples
    pairs = list(shown.pairs)
    if not pairs or not shown.shown:
        return lambda question: ()
    if shown.choice == "fixed":
        return lambda question: pairs[: shown.shown]
    return nearest(pairs, shown.shown, embedder, nearest_last=shown.order == "nearest last")
