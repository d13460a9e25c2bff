"""From names of tasks to results: chosen, built, asked, judged by the harness, and made readable.

What comes out is the harness's own JSON (``results``, ``groups``, ``configs``, ``versions``, ``n-shot``, ``n-samples``,
``higher_is_better``, ``config``), as other tools read it, and under ``lavra`` what it lacks: the interval of each
score, what guessing gets, the averages with their coverage, and what had to be cut.
"""

from __future__ import annotations

import fnmatch
import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from lavra.errors import LavraError
from lavra.evaluation.harness.averaging import Average, average, averages
from lavra.evaluation.harness.baselines import of_task
from lavra.evaluation.harness.extra import harness_version, require_harness
from lavra.evaluation.harness.processing import AGGREGATIONS
from lavra.evaluation.harness.task_files import Task, TaskFile, build_task, by_path, task_files
from lavra.evaluation.intervals import Interval, mean_interval, resampled_interval

if TYPE_CHECKING:
    from lavra.evaluation.harness.model import HarnessModel

SEED = 1234
"""Of examples, items and sampling: the harness's default."""
RESAMPLES = 200
"""Of the harness's own standard errors where it has no formula (F1, perplexity); intervals are computed here."""
_MEANS = ("mean", "nanmean", "bits_per_byte")
"""Aggregations of the harness that are a mean over items."""
_SHOWN = 5
"""Items of a task whose prompts are kept: with examples before them all of them would fill a disk."""


@dataclass(frozen=True)
class Settings:
    """``limit``: so many items of a task, drawn by ``seed``; ``shots``: examples before each question, by default the
    task's; ``chat``: prompts are laid out by the model's chat template; ``run_code``: the user said that code which the
    model writes may be run."""

    limit: int | None = None
    shots: int | None = None
    chat: bool = False
    seed: int = SEED
    run_code: bool = False


@dataclass(frozen=True)
class Selection:
    """Tasks to run; the ``averages`` and groups that were asked for; what of those has no data here."""

    tasks: tuple[Task, ...]
    averages: tuple[Average, ...] = ()
    absent: tuple[str, ...] = ()

    @property
    def groups(self) -> dict[str, list[Task]]:
        found: dict[str, list[Task]] = {}
        for task in self.tasks:
            if task.file.group:
                found.setdefault(task.file.group, []).append(task)
        return {name: tasks for name, tasks in found.items() if len(tasks) > 1}

    @property
    def running(self) -> list[str]:
        """Tasks that run what the model writes."""
        return [task.name for task in self.tasks if task.file.metadata.get("runs_code")]


def select(names: Sequence[str], data: Path | None, include: Sequence[Path] = ()) -> Selection:
    """Tasks by name, group, average, pattern or path. Raises LavraError for a name that nothing has, and for a task
    that was named and has no data; of a group or an average what has none is left out, and said."""
    require_harness()
    there = task_files(data, include)
    files: dict[str, TaskFile] = {}
    chosen: list[Average] = []
    absent: list[str] = []
    for name in names:
        if name in averages():
            chosen.append(averages()[name])
            for file in _of_average(averages()[name], there, absent):
                files[file.name] = file
            continue
        members = [
            file
            for file in there.values()
            if name in (file.group, file.metadata.get("set"), *_patterned(file.name, name))
        ]
        if name in there:
            files[name] = there[name]
        elif members:
            present = [file for file in members if not file.missing(data)]
            absent += [file.name for file in members if file not in present]
            files |= {file.name: file for file in present}
        elif Path(name).exists() or "/" in name:
            file = by_path(Path(name))
            files[file.name] = file
        else:
            near = ", ".join(sorted(other for other in there if name[:4] in other)[:5])
            hint = f" (near it: {near})" if near else ""
            raise LavraError(f"there is no task, group or file called {name}{hint}: see `lavra evaluate --list`.")
    for average_of in chosen:
        for file in list(files.values()):
            if file.name.startswith(f"{average_of.name}_") and file.missing(data):
                absent.append(file.name)
                del files[file.name]
    if not files:
        what = ", ".join(names)
        raise LavraError(f"none of the data of {what} is in {data}: fetch it, or give another directory as --data.")
    return Selection(tuple(build_task(file, data) for file in files.values()), tuple(chosen), tuple(absent))


def _patterned(name: str, pattern: str) -> list[str]:
    return [pattern] if any(mark in pattern for mark in "*?[") and fnmatch.fnmatchcase(name, pattern) else []


def _of_average(of: Average, there: Mapping[str, TaskFile], absent: list[str]) -> list[TaskFile]:
    """An average's tasks under names of their own, for they have its own number of examples."""
    found = []
    for benchmark in of.benchmarks:
        members = [file for file in there.values() if benchmark.task in (file.name, file.group)]
        if not members:
            absent.append(benchmark.task)
        for file in members:
            more = {"num_fewshot": benchmark.shots}
            if benchmark.shots and "fewshot_split" not in file.config:
                more["fewshot_split"] = file.config["test_split"]
            named = file.renamed(f"{of.name}_{file.name}", **more)
            found.append(
                TaskFile(named.name, named.config, f"{of.name}_{file.group}" if file.group else "", file.source)
            )
    return found


def evaluate(lm: HarnessModel, selection: Selection, settings: Settings) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The results, and the items of each task as the harness logs them."""
    require_harness()
    code = consent(selection, settings)
    os.environ.setdefault("DISABLE_MULTIPROC", "1")  # its bootstrap would fork a process that holds a model
    from lm_eval.evaluator import evaluate as ask

    for task in selection.tasks:
        _prepare(task, settings)
    given: dict[str, Any] = {
        "tasks": {task.name: task.built for task in selection.tasks},
        "groups": {name: _group(name, tasks) for name, tasks in selection.groups.items()},
    }
    given["group_map"] = {name: group.child_names for name, group in given["groups"].items()}
    with redirect_stdout(StringIO()), warnings.catch_warnings(action="ignore"):  # it says much that nobody needs
        found = ask(
            lm,
            given,
            samples=_drawn(selection.tasks, settings),
            bootstrap_iters=RESAMPLES,
            apply_chat_template=settings.chat,
            fewshot_as_multiturn=settings.chat,
        )
    assert found is not None
    samples: dict[str, list[Any]] = found.pop("samples")
    results = json.loads(json.dumps(found, default=_plain))
    _tidy_configs(results, selection)
    results["config"] = {
        "model": lm.name,
        **lm.get_model_info(),
        "limit": settings.limit,
        "random_seed": settings.seed,
        "fewshot_seed": settings.seed,
        "bootstrap_iters": RESAMPLES,
        "apply_chat_template": settings.chat,
    }
    results["lm_eval_version"] = harness_version()
    results["max_length"] = lm.max_length
    results["lavra"] = {
        "scores": {
            task.name: _score(task, samples[task.name], results["results"][task.name]) for task in selection.tasks
        },
        "cut_requests": lm.cut,
        "absent": list(selection.absent),
    }
    if code:
        results["lavra"]["code"] = code
    scores = results["lavra"]["scores"]
    results["lavra"]["groups"] = {
        name: _group_score(tasks, samples, [scores[task.name] for task in tasks])
        for name, tasks in selection.groups.items()
    }
    results["lavra"]["averages"] = {of.name: _averaged(of, results) for of in selection.averages}
    return results, samples


def consent(selection: Selection, settings: Settings) -> str:
    """Behind which walls code is run, empty where none is. Raises LavraError where the user has not said that it may
    be, or this machine has no walls that hold."""
    if not selection.running:
        return ""
    if not settings.run_code:
        raise LavraError(
            f"{selection.running[0]} runs the programs that the model writes: say --run-code if that may be done on "
            "this machine, in a sandbox."
        )
    from lavra.evaluation.sandbox.running import require_isolation

    return require_isolation().said()


def _prepare(task: Task, settings: Settings) -> None:
    built = task.built
    own = built.get_config("num_fewshot")
    if settings.shots is not None and own != 0:
        built.set_config(key="num_fewshot", value=settings.shots)
    elif own is None:
        built.set_config(key="num_fewshot", value=0)
    wanted = built.get_config("num_fewshot")
    if wanted and built.fewshot_cfg.split == built.config.test_split and len(built.eval_docs) <= wanted:
        raise LavraError(f"{task.name} has too few items for {wanted} examples: give --shots 0.")
    built.set_fewshot_seed(seed=settings.seed)


def _drawn(tasks: Sequence[Task], settings: Settings) -> dict[str, list[int]] | None:
    """The items of each task, by number. The first ones of a file are often all of a kind, so they are drawn."""
    if settings.limit is None:
        return None
    found = {}
    for task in tasks:
        count = len(task.built.eval_docs)
        random = Random(f"{settings.seed} {task.name.removeprefix('gauntlet_')}")
        found[task.name] = sorted(random.sample(range(count), min(settings.limit, count)))
    return found


def _group(name: str, tasks: Sequence[Task]) -> Any:
    from lm_eval.api.group import Group
    from lm_eval.config.group import AggMetricConfig

    metrics = [metric for metric in tasks[0].built.aggregation() if metric not in ("f1", "perplexity")]
    common = [m for m in metrics if all(m in task.built.aggregation() for task in tasks)]
    group = Group(name, aggregate_metric_list=[AggMetricConfig(metric) for metric in common] or None)
    for task in tasks:
        group.add(task.built)
    return group


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    return getattr(value, "__name__", None) or str(value)


def _tidy_configs(results: dict[str, Any], selection: Selection) -> None:
    """Each task's config as its file has it: what was built is full of functions."""
    for task in selection.tasks:
        config = json.loads(json.dumps(dict(task.file.config), default=_plain))
        config["num_fewshot"] = task.built.get_config("num_fewshot")
        results["configs"][task.name] = config


# ── scores ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def main_metric(task: Task) -> tuple[str, str]:
    """The metric that speaks for the task, and the filter that it is read through."""
    metadata = task.file.metadata
    metrics = list(task.built.aggregation())
    filters = task.built.config.filter_list
    first = filters[0]["name"] if filters else "none"
    return str(metadata.get("score") or metrics[0]), str(metadata.get("filter") or first)


def values_of(samples: Sequence[Mapping[str, Any]], metric: str, filter_name: str) -> tuple[np.ndarray, np.ndarray]:
    """A value an item and what it weighs: bits per byte weigh by bytes, all else is one item, one value; NaN where the
    metric is none of an item alone (F1, a correlation)."""
    values, weights = [], []
    for sample in samples:
        if sample["filter"] != filter_name:
            continue
        value: Any = sample[metric]
        weight = 1.0
        if metric == "bits_per_byte":
            value, weight = -float(value[0]) / float(value[1]) / math.log(2), float(value[1])
        values.append(math.nan if isinstance(value, (tuple, list)) else float(value))
        weights.append(weight)
    return np.asarray(values), np.asarray(weights)


def _score(task: Task, samples: Sequence[Mapping[str, Any]], judged: Mapping[str, Any]) -> dict[str, Any]:
    """``judged``: what the harness says of the task."""
    metric, filter_name = main_metric(task)
    values, weights = values_of(samples, metric, filter_name)
    aggregation = task.built.aggregation()[metric]
    whole = aggregation in AGGREGATIONS.values()
    if getattr(aggregation, "__name__", "") in _MEANS:
        interval = mean_interval(values, weights=weights)
    elif whole:
        pairs = [sample[metric] for sample in samples if sample["filter"] == filter_name]
        interval = resampled_interval(pairs, aggregation)
    else:  # not a mean of items: the harness's own error, as if it were normal
        value, error = judged[f"{metric},{filter_name}"], judged.get(f"{metric}_stderr,{filter_name}")
        half = 1.959964 * error if isinstance(error, float) else math.nan
        interval = Interval(value, value - half, value + half, len(values))
    neutral = task.file.metadata.get("neutral")
    guessed = of_task(task.built) if neutral is None and not whole else None
    found = {
        "metric": metric,
        "filter": filter_name,
        **_interval(interval),
        "higher_is_better": bool(task.built.higher_is_better().get(metric, True)),
        "category": task.file.category,
        "language": task.file.language,
        "files": dict(task.hashes),
    }
    if neutral is not None:
        found["neutral"] = neutral
    if guessed is not None:
        found["baselines"] = {**asdict(guessed), "best": guessed.best, "best_name": guessed.best_name}
    return found


def _interval(interval: Interval) -> dict[str, Any]:
    found = {"value": interval.mean, "low": interval.low, "high": interval.high}
    return {name: value if math.isfinite(value) else None for name, value in found.items()} | {"items": interval.count}


def _group_score(
    tasks: Sequence[Task], samples: Mapping[str, Sequence[Mapping[str, Any]]], scores: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """All items of a group together; ``scores``: of its tasks."""
    parts = [values_of(samples[task.name], *main_metric(task))[0] for task in tasks]
    found = {
        "metric": main_metric(tasks[0])[0],
        **_interval(mean_interval(np.concatenate(parts))),
        "tasks": len(tasks),
        "category": tasks[0].file.category,
        "higher_is_better": scores[0]["higher_is_better"],
    }
    if "neutral" in scores[0]:
        found["neutral"] = scores[0]["neutral"]
    if all("baselines" in score for score in scores):
        total = sum(score["items"] for score in scores)
        found["baselines"] = {
            name: sum(score["baselines"][name] * score["items"] for score in scores) / total
            for name in ("random", "best")
        }
        found["baselines"]["best_name"] = "best of each task"
    return found


def _averaged(of: Average, results: Mapping[str, Any]) -> dict[str, Any]:
    scores: dict[str, tuple[float, float]] = {}
    own = results["lavra"]
    for benchmark in of.benchmarks:
        name = f"{of.name}_{benchmark.task}"
        score = own["groups"].get(name) or own["scores"].get(name)
        if score is not None:
            error = (score["high"] - score["low"]) / 2 / 1.959964
            scores[benchmark.task] = score["value"], error
    by_category, whole = average(of, scores)
    return {
        "title": of.title,
        "categories": {category: mean.to_json() for category, mean in by_category.items()},
        "average": whole.to_json(),
    }


def slim(samples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """As they are kept: prompts of the first items only."""
    found = []
    for number, sample in enumerate(samples):
        kept = dict(sample)
        if number >= _SHOWN:
            kept.pop("arguments", None)
        found.append(kept)
    return found


def to_lines(samples: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(json.dumps(sample, ensure_ascii=False, default=_plain).encode() + b"\n" for sample in slim(samples))
