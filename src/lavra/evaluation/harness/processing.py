"""How rows are judged where the harness has no metric for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lavra.evaluation.answers import exact_match, token_f1
from lavra.evaluation.bias import processing as bias
from lavra.evaluation.harness import programs
from lavra.evaluation.recipes import processing as recipes


def truthful_mass(row: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """TruthfulQA's MC2 (Lin et al. 2022, section 2.2): the probability that falls on right answers, of that which falls
    on any given one."""
    logs = [log_p for log_p, _ in results]
    most = max(logs)
    shares = [math.exp(log_p - most) for log_p in logs]
    right = sum(share for share, label in zip(shares, row["labels"], strict=True) if label)
    return {"acc": right / sum(shares)}


def extracted(row: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """SQuAD's exact match and F1 against the nearest answer, with Portuguese articles."""
    reply = results[0].strip()
    return {
        "exact_match": max(exact_match(reply, answer, "pt") for answer in row["answers"]),
        "f1": max(token_f1(reply, answer, "pt") for answer in row["answers"]),
    }


def among_aliases(row: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """TriviaQA's exact match (Joshi et al. 2017): with any name of the answer, as SQuAD normalises."""
    reply = results[0].strip()
    return {"exact_match": max(exact_match(reply, answer, "en") for answer in [row["answer"], *row["aliases"]])}


PROCESSING = {
    "truthful_mass": truthful_mass,
    "extracted": extracted,
    "among_aliases": among_aliases,
    **bias.PROCESSING,
    **programs.PROCESSING,
    **recipes.PROCESSING,
}
AGGREGATIONS = recipes.AGGREGATIONS
"""Measures of all items together, by the names that task files have."""
