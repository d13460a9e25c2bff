"""Two models on the same items: what one gets more than the other, item by item.

Two intervals that overlap say little: both models found the same items hard. The differences of pairs say more, and
are all that is said here (``intervals.paired``); with several tasks their p-values are corrected together (Holm 1979).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lavra.errors import LavraError
from lavra.evaluation.harness.running import values_of
from lavra.evaluation.intervals import Difference, holm, paired


@dataclass(frozen=True)
class Evaluation:
    """Results as they lie in a directory: Lavra's, or the harness's own with ``--log_samples``."""

    name: str
    results: Mapping[str, Any]
    samples: Mapping[str, Sequence[Mapping[str, Any]]]

    @classmethod
    def read(cls, directory: Path) -> Evaluation:
        """Raises LavraError where there are no results, or no items to compare."""
        found = sorted(directory.glob("results*.json"))
        if not found:
            raise LavraError(f"there are no results in {directory}: give what `lavra evaluate` made, or its directory.")
        try:
            results = json.loads(found[-1].read_text(encoding="utf-8"))
            samples = {task: _samples(directory, task) for task in results["results"]}
            name = str(results["config"]["model"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LavraError(f"{found[-1]} cannot be read ({error}): evaluate again.") from error
        samples = {task: rows for task, rows in samples.items() if rows}
        if not samples:
            raise LavraError(f"{directory} has no items of its tasks: run the harness with --log_samples.")
        return cls(name, results, samples)


def _samples(directory: Path, task: str) -> list[dict[str, Any]]:
    paths = sorted([*directory.glob(f"samples_{task}.jsonl"), *directory.glob(f"samples_{task}_2*.jsonl")])
    if not paths:
        return []
    return [json.loads(line) for line in paths[-1].read_text(encoding="utf-8").split("\n") if line]


@dataclass(frozen=True)
class Compared:
    """``a`` and ``b``: the means over the items that both have; ``corrected``: p after Holm."""

    task: str
    metric: str
    a: float
    b: float
    difference: Difference
    corrected: float
    higher_is_better: bool = True
    neutral: float | None = None
    """Of a measure of bias: the value that means none."""

    @property
    def better(self) -> str:
        """``a``, ``b``, or nothing where chance may have done it."""
        if not self.corrected < 0.05:
            return ""
        if self.neutral is not None:
            return "a" if abs(self.a - self.neutral) < abs(self.b - self.neutral) else "b"
        return "a" if (self.difference.mean > 0) == self.higher_is_better else "b"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "better": self.better}


def compare(a: Evaluation, b: Evaluation) -> tuple[list[Compared], list[str]]:
    """Task by task, and sentences about tasks that cannot be compared.

    Raises LavraError where no task has items in common.
    """
    found: list[tuple[str, str, np.ndarray, np.ndarray, bool]] = []
    notes: list[str] = []
    for task in a.samples:
        if task not in b.samples:
            notes.append(f"{task} was asked of {a.name} only")
            continue
        if (reason := _unlike(task, a, b)) is not None:
            notes.append(f"{task} is not compared: {reason}")
            continue
        metric, filter_name = _metric(task, a)
        one, other = (_by_item(each.samples[task], metric, filter_name) for each in (a, b))
        common = sorted(one.keys() & other.keys())
        if common and np.isnan([one[key] for key in common]).all():
            notes.append(f"{task} is not compared: its {metric} is none of an item alone")
            continue
        if not common:
            notes.append(f"{task} is not compared: no item was asked of both")
            continue
        higher = (a.results.get("higher_is_better", {}).get(task) or {}).get(metric, True)
        pairs = np.array([[one[key], other[key]] for key in common])
        found.append((task, metric, pairs[:, 0], pairs[:, 1], higher is not False))
    notes += [f"{task} was asked of {b.name} only" for task in b.samples if task not in a.samples]
    if not found:
        raise LavraError(f"{a.name} and {b.name} cannot be compared: {'; '.join(notes[:3])}; evaluate both alike.")
    differences = [paired(one, other) for _, _, one, other, _ in found]
    corrected = holm([difference.p for difference in differences])
    return [
        Compared(
            task, metric, float(np.nanmean(one)), float(np.nanmean(other)), difference, p, higher, _neutral(task, a)
        )
        for (task, metric, one, other, higher), difference, p in zip(found, differences, corrected, strict=True)
    ], notes


def _unlike(task: str, a: Evaluation, b: Evaluation) -> str | None:
    for what, said in (("n-shot", "examples before the question"), ("versions", "versions of the task")):
        one, other = (each.results.get(what, {}).get(task) for each in (a, b))
        if one != other:
            return f"{one} and {other} {said}"
    return None


def _neutral(task: str, of: Evaluation) -> float | None:
    value = of.results.get("lavra", {}).get("scores", {}).get(task, {}).get("neutral")
    return None if value is None else float(value)


def _metric(task: str, of: Evaluation) -> tuple[str, str]:
    """Lavra's main metric of the task, or the first that the harness has."""
    own = of.results.get("lavra", {}).get("scores", {}).get(task)
    if own:
        return own["metric"], own["filter"]
    names = [name for name in of.results["results"][task] if "," in name and "_stderr" not in name]
    preferred = sorted(names, key=lambda name: (not name.startswith("acc_norm,"), not name.startswith("acc,")))
    if not preferred:
        raise LavraError(f"the results of {task} have no metric.")
    metric, _, filter_name = preferred[0].partition(",")
    return metric, filter_name


def _by_item(samples: Sequence[Mapping[str, Any]], metric: str, filter_name: str) -> dict[tuple[int, str], float]:
    """The same item is the same row with the same words."""
    kept = [sample for sample in samples if sample["filter"] == filter_name]
    values, _ = values_of(kept, metric, filter_name)
    return {(s["doc_id"], str(s.get("doc_hash", ""))): float(v) for s, v in zip(kept, values, strict=True)}
