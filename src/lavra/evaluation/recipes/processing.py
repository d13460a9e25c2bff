"""Measures of the recipes, an item at a time, and of all items where the measure is one of all."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lavra.evaluation.answers import chrf, rouge_l
from lavra.evaluation.recipes.limits import BY_NAME, LIMITS, words


def repetition(text: str, order: int = 4) -> float:
    """The share of four words in a row that stood there before (Welleck et al. 2020, seq-rep-4); 0 of short texts."""
    said = [word.lower() for word in words(text)]
    grams = [tuple(said[place : place + order]) for place in range(len(said) - order + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def chatted(row: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """How much an answer repeats itself, whether it came to an end, and how near it is to the reference, where there
    is one. Whether it is good only a judge says (`lavra study --judge`)."""
    reply = results[0].strip()
    ended = bool(re.search(r"[.!?:)\]}\"”`*]$", reply))
    near = chrf(reply, row["reference"]) if row["reference"] else math.nan
    return {"repetition": repetition(reply), "ended": float(ended), "chrf": near}


def limited(row: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Whether the answer keeps to its limit, in all and by limit."""
    kept = float(BY_NAME[row["limit"]].kept(results[0].strip()))
    by_limit = {limit.name: kept if limit.name == row["limit"] else math.nan for limit in LIMITS}
    return {"kept": kept, **by_limit}


def translated(row: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """chrF of the sentence, BLEU of all, and chrF of the source left as it is, which related languages share."""
    reply, target = results[0].strip(), row["target"]
    return {"chrf": chrf(reply, target), "bleu": (target, reply), "copied": chrf(row["source"], target)}


def titled(row: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """ROUGE-L with the title, and that of the abstract's first sentence, which costs nothing."""
    first = re.split(r"(?<=[.!?])\s", re.sub(r"^[A-Z][A-Z &/-]+\. ", "", row["abstract"]), maxsplit=1)[0]
    return {"rouge_l": rouge_l(results[0].strip(), row["title"]), "first sentence": rouge_l(first, row["title"])}


def alike(row: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """From the probabilities of 1 to 5 the expected degree (as Liu et al. 2023, G-Eval, equation 1), and what people
    said."""
    logs = np.array([log_p for log_p, _ in results])
    shares = np.exp(logs - logs.max())
    expected = float((shares / shares.sum()) @ np.arange(1, len(logs) + 1))
    given = float(row["similarity"])
    return {"pearson": (given, expected), "spearman": (given, expected), "mse": (given - expected) ** 2}


def pearson(pairs: Sequence[tuple[float, float]]) -> float:
    """The correlation; 0 where one side never changes, which says as much as guessing."""
    one, other = np.asarray(pairs, dtype=np.float64).T
    if len(one) < 2 or one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def spearman(pairs: Sequence[tuple[float, float]]) -> float:
    """Pearson's of the ranks, ties sharing theirs."""
    one, other = np.asarray(pairs, dtype=np.float64).T
    return pearson(list(zip(_ranks(one), _ranks(other), strict=True)))


def _ranks(values: np.ndarray) -> list[float]:
    order = np.sort(values)
    below, upto = np.searchsorted(order, values, "left"), np.searchsorted(order, values, "right")
    return list((below + upto + 1) / 2)


def macro_f1(pairs: Sequence[tuple[int, int]]) -> float:
    """The mean over labels of F1, each label as much as another."""
    labels = sorted({given for given, _ in pairs})
    counts = Counter(pairs)
    found = []
    for label in labels:
        right = counts[label, label]
        wrong = sum(count for (given, said), count in counts.items() if (given == label) != (said == label))
        found.append(2 * right / (2 * right + wrong) if right else 0.0)
    return sum(found) / len(found)


PROCESSING: dict[str, Callable[..., dict[str, Any]]] = {
    "chatted": chatted,
    "limited": limited,
    "translated": translated,
    "titled": titled,
    "alike": alike,
}
AGGREGATIONS: dict[str, Callable[[Sequence[Any]], float]] = {
    "pearson": pearson,
    "spearman": spearman,
}
