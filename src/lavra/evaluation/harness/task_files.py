"""The task files: which tasks there are, what data each wants, and the harness's object for one.

A file may stand for many tasks (``metadata.names``: a list, a mapping from names to paths, or a pattern of files), and
paths begin with ``{data}``. Besides Lavra's own there are a user's, from files or directories, and tasks by path: a
task of BIG-bench in JSON, and a text whose perplexity is wanted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lavra.errors import LavraError
from lavra.evaluation.harness.processing import AGGREGATIONS, PROCESSING
from lavra.evaluation.harness.readers import ARRANGED, READERS, read_rows
from lavra.store.files import hash_file

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask

_OWN = ("arrange", "data_files")


@dataclass(frozen=True)
class TaskFile:
    """One task: its ``config`` as in the file, names filled in; ``group``: an average that it belongs to; ``source``:
    where it was read from."""

    name: str
    config: Mapping[str, Any]
    group: str = ""
    source: str = ""

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self.config.get("metadata") or {}

    @property
    def category(self) -> str:
        return str(self.metadata.get("category", ""))

    @property
    def language(self) -> str:
        return str(self.metadata.get("language", ""))

    @property
    def kind(self) -> str:
        return str(self.config.get("output_type", "generate_until"))

    def paths(self, data: Path | None) -> dict[str, list[Path]]:
        """The files of each split. Raises LavraError where they lie in a directory and none is given."""
        given = (self.config.get("dataset_kwargs") or {}).get("data_files") or {}
        given = given if isinstance(given, Mapping) else {"train": given}
        found = {}
        for split, names in given.items():
            each = [names] if isinstance(names, str) else list(names)
            if data is None and any("{data}" in name for name in each):
                raise LavraError(f"the task {self.name} reads data from a directory: give it as --data DIR.")
            found[str(split)] = [Path(name.replace("{data}", str(data))) for name in each]
        return found

    def missing(self, data: Path | None) -> list[Path]:
        """Files that are not there."""
        return [path for paths in self.paths(data).values() for path in paths if not path.is_file()]

    def renamed(self, name: str, **changes: Any) -> TaskFile:
        return TaskFile(name, {**self.config, "task": name, **changes}, "", self.source)


def task_files(data: Path | None, include: Sequence[Path] = ()) -> dict[str, TaskFile]:
    """All tasks by name: Lavra's, then those of ``include`` (YAML files or directories of them), which win."""
    found: dict[str, TaskFile] = {}
    for _, config in _package():
        found |= {task.name: task for task in _expanded(config, data, "lavra")}
    for path in include:
        for file in sorted(path.rglob("*.yaml")) if path.is_dir() else [path]:
            if file.name.startswith("_"):  # what others include
                continue
            found |= {task.name: task for task in _expanded(_users(file), data, str(file))}
    return found


def by_path(path: Path) -> TaskFile:
    """A task of BIG-bench in JSON; of any other text its perplexity."""
    if not path.is_file():
        raise LavraError(f"there is no task and no file called {path}: see `lavra evaluate --list`.")
    name = re.sub(r"[^A-Za-z0-9_]+", "_", path.parent.name if path.stem == "task" else path.stem)
    if path.suffix != ".json":
        return TaskFile(name, _perplexity(name, path), source=str(path))
    rows = read_rows("bigbench", [path])
    chosen = all(len(row["choices"]) > 1 and row["gold"] for row in rows)
    return TaskFile(f"bigbench_{name}", _bigbench(f"bigbench_{name}", path, chosen), source=str(path))


def _bigbench(name: str, path: Path, chosen: bool) -> dict[str, Any]:
    """Multiple choice where every example has choices, else what the model writes must be one of the targets."""
    config: dict[str, Any] = {
        "task": name,
        "dataset_path": "bigbench",
        "dataset_kwargs": {"data_files": {"test": str(path)}},
        "test_split": "test",
        "fewshot_split": "test",
        "doc_to_text": "question",
        "metadata": {"version": 1.0, "category": "BIG-bench", "score": "acc" if chosen else "exact_match"},
    }
    metric = {"aggregation": "mean", "higher_is_better": True}
    if chosen:
        more = {"output_type": "multiple_choice", "doc_to_choice": "choices", "doc_to_target": "gold"}
        return config | more | {"metric_list": [{"metric": "acc", **metric}]}
    return config | {
        "output_type": "generate_until",
        "doc_to_target": "targets",
        "generation_kwargs": {"until": ["\n"], "do_sample": False, "max_gen_toks": 64},
        "metric_list": [{"metric": "exact_match", "ignore_case": True, **metric}],
        "filter_list": [{"name": "none", "filter": [{"function": "remove_whitespace"}, {"function": "take_first"}]}],
    }


def _perplexity(name: str, path: Path) -> dict[str, Any]:
    names = ("word_perplexity", "byte_perplexity", "bits_per_byte")
    return {
        "task": name,
        "dataset_path": "text",
        "dataset_kwargs": {"data_files": {"test": str(path)}},
        "test_split": "test",
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "text",
        "metric_list": [{"metric": metric} for metric in names],
        "metadata": {"version": 1.0, "category": "perplexity", "score": "bits_per_byte"},
    }


@cache
def _package() -> tuple[tuple[str, dict[str, Any]], ...]:
    here = files(__package__).joinpath("tasks")
    raw = {
        entry.name: yaml.safe_load(entry.read_text(encoding="utf-8"))
        for entry in here.iterdir()
        if entry.name.endswith(".yaml")
    }
    found = []
    for name in sorted(raw):
        config = raw[name]
        if "include" in config:
            config = {**raw[config["include"]], **{key: value for key, value in config.items() if key != "include"}}
        found.append((name, config))
    return tuple(found)


def _users(file: Path) -> dict[str, Any]:
    """A user's own file, by the harness's loader: it may name functions, which are the user's code."""
    from lavra.evaluation.harness.extra import require_harness

    require_harness()
    from lm_eval.tasks._yaml_loader import load_yaml

    try:
        config = load_yaml(file)
    except (OSError, ValueError, yaml.YAMLError, ImportError, AttributeError) as error:
        raise LavraError(f"{file} is no task file ({error}): write it as the harness's documentation says.") from error
    if not isinstance(config.get("task"), str):
        raise LavraError(f"{file} names no task: give it a line `task: NAME`.")
    return config


def _expanded(config: Mapping[str, Any], data: Path | None, source: str) -> Iterable[TaskFile]:
    config = dict(config)
    group = str(config.pop("group", "") or "")
    metadata = dict(config.get("metadata") or {})
    names = metadata.pop("names", None)
    config["metadata"] = metadata
    if names is None:
        yield TaskFile(config["task"], config, group, source)
        return
    if isinstance(names, str):  # a pattern of files: the star is the name
        if data is None:
            yield TaskFile(config["task"].format(name="*"), config, group, source)
            return
        before, _, after = Path(names.replace("{data}", str(data))).name.partition("*")
        folder = Path(names.replace("{data}", str(data))).parent
        names = sorted(path.name[len(before) : -len(after)] for path in folder.glob(f"{before}*{after}"))
    for name in names:
        path = names[name] if isinstance(names, Mapping) else name
        filled = _filled(config, {"name": name, "path": path})
        if isinstance(names, Mapping) and "category" not in metadata:  # the Gauntlet's, by its directories
            filled["metadata"] = {**metadata, "category": path.split("/")[0].replace("_", " ")}
        yield TaskFile(filled["task"], filled, group, source)


def _filled(value: Any, words: Mapping[str, str]) -> Any:
    """``{name}`` and ``{path}`` replaced, in all texts of a config."""
    if isinstance(value, str):
        for word, text in words.items():
            value = re.sub(rf"(?<!\{{)\{{{word}\}}(?!\}})", lambda _, text=text: text, value)  # type: ignore[misc]
        return value
    if isinstance(value, Mapping):
        return {key: _filled(held, words) for key, held in value.items()}
    return [_filled(held, words) for held in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Task:
    """A task that can be run; ``hashes``: SHA-256 of its files by name."""

    file: TaskFile
    built: ConfigurableTask
    hashes: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.file.name


def build_task(file: TaskFile, data: Path | None) -> Task:
    """The harness's object, its rows read. Raises LavraError for data that is absent or is something else."""
    import datasets
    from lm_eval.api.task import ConfigurableTask

    config = deepcopy({key: value for key, value in file.config.items() if key not in ("dataset_kwargs",)})
    options = dict(file.config.get("dataset_kwargs") or {})
    paths = file.paths(data)
    missing = file.missing(data)
    if missing:
        where = f" from {file.metadata['where']}" if "where" in file.metadata else ""
        what = f"{missing[0]} is missing; fetch it{where}, or check --data."
        raise LavraError(f"the data of {file.name} is not there: {what}")
    if file.config.get("dataset_path") in READERS and paths:
        reader, arrange = config.pop("dataset_path"), options.get("arrange")
        own = {key: value for key, value in options.items() if key not in _OWN}
        splits = {}
        for split, found in paths.items():
            rows = read_rows(reader, found, **own)
            rows = [row for row in rows if _fits(row, file.kind, config)]
            splits[split] = datasets.Dataset.from_list([ARRANGED[arrange](row) for row in rows] if arrange else rows)
        config["custom_dataset"] = lambda **_: splits
        config["dataset_kwargs"] = None
    elif options:
        config["dataset_kwargs"] = {**options, "data_files": {s: [str(p) for p in ps] for s, ps in paths.items()}}
    if isinstance(config.get("process_results"), str):
        config["process_results"] = PROCESSING[config["process_results"]]
    for metric in config.get("metric_list") or ():
        metric["aggregation"] = AGGREGATIONS.get(metric.get("aggregation"), metric.get("aggregation"))
    try:
        built = ConfigurableTask(config=config)
    except LavraError:
        raise
    except Exception as error:  # the harness's own words, of a task file that is wrong or data that is elsewhere
        raise LavraError(f"the task {file.name} cannot be made ({type(error).__name__}: {error}).") from error
    hashes = {path.name: hash_file(path) for found in paths.values() for path in found}
    return Task(file, built, hashes)


def _fits(row: Mapping[str, Any], kind: str, config: Mapping[str, Any]) -> bool:
    """BIG-bench Hard's rows whose right answer is among the options; others have no options to choose among."""
    return not (kind == "multiple_choice" and config.get("doc_to_choice") == "choices" and row.get("gold") == -1)
