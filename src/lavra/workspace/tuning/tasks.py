"""A small set of general tasks, so that a run says whether a model can still do what anybody expects of it.

Each task is the beginning of a sentence and four ends, of which one is right; a model answers with the end that is
likeliest to it, by log-probability a byte (Brown et al. 2020, section 2.4; the ``acc_norm`` of lm-evaluation-harness).
The sixty-four tasks in ``tasks.jsonl``, half English and half Portuguese, were written for Lavra. They are easy, and
few: one task is 1.6%, so that a difference of three or four is chance. The finer figure is ``loss``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from lavra.errors import LavraError, why
from lavra.model.base import Model
from lavra.objectives.answers import Text
from lavra.objectives.grpo import token_scores
from lavra.tokens.tokenizer import Tokenizer
from lavra.workspace.tuning.general import opening

TASKS = "tasks.jsonl"
_AT_ONCE = 1024  # places of a row


@dataclass(frozen=True)
class Task:
    """``prompt``, the ``choices`` that could follow it, and which of them is right: ``answer``, from 0."""

    prompt: str
    choices: tuple[str, ...]
    answer: int
    language: str = ""


@dataclass(frozen=True)
class TaskScore:
    """``right`` of ``count``; ``loss``: the mean of -log p(right choice), where p is over the task's choices alone;
    ``by_language``: the share of right ones."""

    right: int
    count: int
    loss: float
    by_language: Mapping[str, float]

    @property
    def share(self) -> float:
        return self.right / self.count

    @property
    def figures(self) -> dict[str, float]:
        """As a run's measures are kept."""
        return {"tasks_right": float(self.right), "tasks_loss": self.loss} | {
            f"tasks_right_{language}": share for language, share in self.by_language.items()
        }


def load_tasks(path: Path | None = None) -> list[Task]:
    """Of a file of your own, a task a line with ``prompt``, ``choices`` and ``answer``; else those of Lavra.

    Raises LavraError for a line that is no task.
    """
    try:
        text = (files(__package__).joinpath(TASKS) if path is None else path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LavraError(f"the tasks {path} cannot be read ({why(error)}): give a file of JSON lines.") from error
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    found = [_task(line, f"{path or TASKS}:{number}") for number, line in lines]
    if not found:
        raise LavraError(f"there is no task in {path}: give a file of JSON lines.")
    return found


def _task(line: str, where: str) -> Task:
    wanted = "give prompt, at least two different choices, and the number of the right one as answer, from 0"
    try:
        row: Any = json.loads(line)
        choices = row["choices"] if isinstance(row["choices"], list) else ()
        task = Task(row["prompt"], tuple(choices), row["answer"], str(row.get("language", "")))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LavraError(f"{where} is no task: {wanted}.") from error
    texts = (task.prompt, *task.choices)
    if (
        not all(isinstance(text, str) and text.strip() for text in texts)
        or len(task.choices) < 2
        or len(set(task.choices)) < len(task.choices)
        or type(task.answer) is not int
        or not 0 <= task.answer < len(task.choices)
    ):
        raise LavraError(f"{where} is no task: {wanted}.")
    return task


def score_tasks(model: Model, tokenizer: Tokenizer, tasks: Sequence[Task]) -> TaskScore:
    """How many of ``tasks`` the model gets right."""
    sums = _sums(model, tokenizer, tasks)
    right = _right(tasks, sums)
    losses = [np.logaddexp.reduce(given) - given[task.answer] for task, given in zip(tasks, sums, strict=True)]
    languages = sorted({task.language for task in tasks if task.language})
    by_language = {
        language: float(np.mean([hit for task, hit in zip(tasks, right, strict=True) if task.language == language]))
        for language in languages
    }
    return TaskScore(sum(right), len(tasks), float(np.mean(losses)), by_language)


def right_tasks(model: Model, tokenizer: Tokenizer, tasks: Sequence[Task]) -> list[bool]:
    """Which of ``tasks`` the model gets right."""
    return _right(tasks, _sums(model, tokenizer, tasks))


def _sums(model: Model, tokenizer: Tokenizer, tasks: Sequence[Task]) -> list[list[float]]:
    """Of each task's choices, log p."""
    choices = [
        (number, choice, _text(tokenizer, task.prompt, choice))
        for number, task in enumerate(tasks)
        for choice in task.choices
    ]
    sums: list[list[float]] = [[] for _ in tasks]
    for group in _groups(choices):
        scores = token_scores(model, [text for _, _, text in group])
        for (number, _, _), score in zip(group, scores, strict=True):
            sums[number].append(float(score.sum()))
    return sums


def _right(tasks: Sequence[Task], sums: Sequence[Sequence[float]]) -> list[bool]:
    return [_likeliest(task, given) == task.answer for task, given in zip(tasks, sums, strict=True)]


def _likeliest(task: Task, sums: Sequence[float]) -> int:
    each = [total / len(choice.encode()) for total, choice in zip(sums, task.choices, strict=True)]
    return max(range(len(each)), key=lambda number: each[number] if math.isfinite(each[number]) else -math.inf)


def _text(tokenizer: Tokenizer, prompt: str, choice: str) -> Text:
    """Prompt and choice as one text; the choice begins where the ids are no longer the prompt's alone."""
    start = opening(tokenizer)
    alone = start + tokenizer.encode(prompt, add_special_tokens=False, parse_special=False)
    ids = start + tokenizer.encode(f"{prompt} {choice}", add_special_tokens=False, parse_special=False)
    same = next((place for place, pair in enumerate(zip(alone, ids, strict=False)) if pair[0] != pair[1]), len(alone))
    return Text(np.asarray(ids), max(1, min(same, len(ids) - 1)))


def _groups(choices: Sequence[tuple[int, str, Text]]) -> Iterator[list[tuple[int, str, Text]]]:
    """As many as fit a row, in their order."""
    group: list[tuple[int, str, Text]] = []
    places = 0
    for choice in choices:
        if group and places + choice[2].places > _AT_ONCE:
            yield group
            group, places = [], 0
        group.append(choice)
        places += choice[2].places
    if group:
        yield group
