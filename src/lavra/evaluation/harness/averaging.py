"""Averages over benchmarks: the Gauntlet's five categories, the Open LLM Leaderboard. What is missing is said.

An average over benchmarks that happened to be there looks like the published one and is not. So each comes with its
coverage, the share of its benchmarks that went in, by category and in all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@dataclass(frozen=True)
class Benchmark:
    """``task`` is a task or a group; ``chance`` what guessing gets."""

    task: str
    shots: int
    chance: float
    category: str


@dataclass(frozen=True)
class Average:
    """A published average; ``rescale``: accuracies are counted from chance."""

    name: str
    title: str
    rescale: bool
    benchmarks: tuple[Benchmark, ...]

    @property
    def categories(self) -> list[str]:
        return list(dict.fromkeys(benchmark.category for benchmark in self.benchmarks))


@dataclass(frozen=True)
class Mean:
    """``value`` NaN where nothing is there; ``error``: its standard error; ``present`` of ``expected`` benchmarks."""

    value: float
    error: float
    present: int
    expected: int
    missing: tuple[str, ...] = ()

    @property
    def coverage(self) -> float:
        return self.present / self.expected

    def to_json(self) -> dict[str, Any]:
        return {
            "value": None if math.isnan(self.value) else self.value,
            "stderr": None if math.isnan(self.error) else self.error,
            "present": self.present,
            "expected": self.expected,
            "missing": list(self.missing),
        }


@cache
def averages() -> Mapping[str, Average]:
    """Those that come with Lavra, by name."""
    found = {}
    for entry in files(__package__).joinpath("averages").iterdir():
        if entry.name.endswith(".yaml"):
            raw = yaml.safe_load(entry.read_text(encoding="utf-8"))
            name = entry.name.removesuffix(".yaml")
            benchmarks = tuple(
                Benchmark(each["task"], each["shots"], each["chance"], category)
                for category, members in raw["categories"].items()
                for each in members
            )
            found[name] = Average(name, raw["title"], raw["rescale"], benchmarks)
    return found


def average(of: Average, scores: Mapping[str, tuple[float, float]]) -> tuple[dict[str, Mean], Mean]:
    """By category, and the mean of the categories that have any. ``scores``: of each task that there is, its accuracy
    and standard error; benchmarks are independent, so squared errors add."""
    by_category = {category: _mean(of, category, scores) for category in of.categories}
    there = [mean for mean in by_category.values() if mean.present]
    present, expected = sum(mean.present for mean in there), len(of.benchmarks)
    missing = tuple(name for mean in by_category.values() for name in mean.missing)
    if not there:
        return by_category, Mean(math.nan, math.nan, 0, expected, missing)
    value = sum(mean.value for mean in there) / len(there)
    error = math.sqrt(sum(mean.error**2 for mean in there)) / len(there)
    return by_category, Mean(value, error, present, expected, missing)


def _mean(of: Average, category: str, scores: Mapping[str, tuple[float, float]]) -> Mean:
    members = [benchmark for benchmark in of.benchmarks if benchmark.category == category]
    there = [benchmark for benchmark in members if benchmark.task in scores]
    missing = tuple(benchmark.task for benchmark in members if benchmark.task not in scores)
    if not there:
        return Mean(math.nan, math.nan, 0, len(members), missing)
    values = [rescaled(scores[b.task][0], b.chance) if of.rescale else scores[b.task][0] for b in there]
    errors = [scores[b.task][1] / (1 - b.chance if of.rescale else 1) for b in there]
    error = math.sqrt(sum(value**2 for value in errors)) / len(there)
    return Mean(sum(values) / len(there), error, len(there), len(members), missing)


def rescaled(score: float, chance: float) -> float:
    """0 is guessing, 1 is perfect."""
    return (score - chance) / (1 - chance)


def category_scores(rows: Sequence[tuple[str, float, float]]) -> dict[str, float]:
    """Of (category, score, chance): the mean of what lies above chance, for a picture."""
    found: dict[str, list[float]] = {}
    for category, score, chance in rows:
        found.setdefault(category, []).append(rescaled(score, chance))
    return {category: sum(values) / len(values) for category, values in found.items()}
