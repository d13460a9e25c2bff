"""The tasks that come with Lavra are fair, and a model's score on them is what transformers says of the same model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lavra.errors import LavraError
from lavra.model.weights import load_model
from lavra.tokens.tokenizer import load_tokenizer
from lavra.workspace.tuning.tasks import Task, load_tasks, score_tasks


def test_no_rule_that_reads_nothing_is_much_better_than_chance():
    """Always the same place, the longest or the shortest choice: a quarter is chance."""
    tasks = load_tasks()
    assert Counter(task.language for task in tasks) == {"en": 32, "pt": 32}
    for language in ("en", "pt"):
        mine = [task for task in tasks if task.language == language]
        assert set(Counter(task.answer for task in mine).values()) == {8}
        for rule in (max, min):
            lengths = [[len(choice) for choice in task.choices] for task in mine]
            hits = sum(given.index(rule(given)) == task.answer for given, task in zip(lengths, mine, strict=True))
            assert hits <= 0.4 * len(mine)


def test_tasks_are_distinct_and_none_gives_its_answer_away_twice():
    tasks = load_tasks()
    assert len({task.prompt for task in tasks}) == len(tasks)
    for task in tasks:
        assert len(set(task.choices)) == 4, task.prompt
        assert not task.prompt.endswith((" ", ".")), task.prompt


def test_the_score_is_that_of_transformers(tiny_writer: Path):
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(tiny_writer)
    tasks = load_tasks()[::5]
    theirs = AutoModelForCausalLM.from_pretrained(tiny_writer, dtype=torch.float32).eval()
    right, losses = 0, []
    start = [tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id]
    for task in tasks:
        prompt = tokenizer.encode(task.prompt, add_special_tokens=False)
        sums = []
        for choice in task.choices:
            ids = tokenizer.encode(f"{task.prompt} {choice}", add_special_tokens=False)
            assert ids[: len(prompt)] == prompt
            given = torch.tensor([start + ids])
            with torch.no_grad():
                log_p = theirs(given).logits[0].float().log_softmax(-1)
            sums.append(sum(float(log_p[len(prompt) + n, token]) for n, token in enumerate(ids[len(prompt) :])))
        each = [total / len(choice.encode()) for total, choice in zip(sums, task.choices, strict=True)]
        right += int(np.argmax(each)) == task.answer
        losses.append(np.logaddexp.reduce(sums) - sums[task.answer])
    ours = score_tasks(load_model(tiny_writer, dtype=torch.float32), tokenizer, tasks)
    assert ours.right == right
    assert ours.count == len(tasks)
    assert ours.loss == pytest.approx(np.mean(losses), abs=1e-4)


def test_a_real_model_is_far_above_chance(pulled: Callable[[str], Path]):
    """SmolLM2 was taught English: what it knows is seen, and what it does not know as well."""
    path = pulled("smollm2-135m")
    english = [task for task in load_tasks() if task.language == "en"][::3]
    found = score_tasks(load_model(path, dtype=torch.float32), load_tokenizer(path), english)
    assert found.share > 0.5


def test_tasks_of_your_own_are_read_and_lines_that_are_none_named(tmp_path: Path):
    path = tmp_path / "tasks.jsonl"
    good = {"prompt": "Two and two are", "choices": ["four", "five"], "answer": 0, "language": "en"}
    path.write_text(json.dumps(good) + "\n\n", "utf-8")
    assert load_tasks(path) == [Task("Two and two are", ("four", "five"), 0, "en")]
    broken = {**good, "prompt": "Two and two\u2028are"}  # a break of a line that JSON allows inside of one
    path.write_text(json.dumps(broken, ensure_ascii=False) + "\n", "utf-8")
    assert load_tasks(path)[0].prompt == "Two and two\u2028are"
    for bad in (
        {**good, "answer": 2}, {**good, "answer": True}, {**good, "choices": ["four", "four"]}, {**good, "prompt": " "},
        {**good, "choices": "no"}, {"prompt": "x"}, ["list"], {**good, "choices": [1, 2]},
    ):  # fmt: skip
        path.write_text(json.dumps(good) + "\n" + json.dumps(bad) + "\n", "utf-8")
        with pytest.raises(LavraError, match=r"tasks.jsonl:2 is no task"):
            load_tasks(path)
    with pytest.raises(LavraError, match=r"none\.jsonl cannot be read \(No such file or directory\)"):
        load_tasks(tmp_path / "none.jsonl")
