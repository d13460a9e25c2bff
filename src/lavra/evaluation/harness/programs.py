"""Exercises in programming: what a model wrote is run against the exercise's tests, in a sandbox.

HumanEval (Chen et al. 2021, Evaluating Large Language Models Trained on Code) and what was made of it. A task whose
``metadata.runs_code`` is true is refused unless the user said that code may be run.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

KS = (1, 10, 100)
_FENCE = "```"


def read_programs(path: Path) -> list[dict[str, Any]]:
    """Exercises a line, packed or not: ``prompt``, ``test`` with a function ``check``, ``entry_point``."""
    packed = path.read_bytes()
    try:
        text = (gzip.decompress(packed) if path.suffix == ".gz" else packed).decode("utf-8")
    except (EOFError, zlib.error) as error:
        raise ValueError(f"its packing is damaged, {error}") from error
    rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    names = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
    return [{name: row[name] for name in names} for row in rows]


def pass_at_k(samples: int, right: int, k: int) -> float:
    """The probability that one of ``k`` is right, unbiased, of ``samples`` with ``right`` (Chen et al. 2021,
    equation 1 in the stable form of figure 3)."""
    if samples - right < k:
        return 1.0
    found = 1.0
    for number in range(samples - right + 1, samples + 1):
        found *= 1 - k / number
    return 1 - found


def whole_program(row: Mapping[str, Any], answer: str) -> str:
    """The prompt and what continues it, up to the end of a code block if it stands in one. An answer that begins with
    a line's indent begins a line: the Gauntlet's exercises have lost the line break at their end."""
    prompt, written = str(row["prompt"]), answer.partition(_FENCE)[0]
    begins = written[:1] in (" ", "\t") and not prompt.endswith("\n")
    return f"{prompt}\n{written}" if begins else prompt + written


def checks_of(row: Mapping[str, Any]) -> str:
    return f"{row['test']}\ncheck({row['entry_point']})\n"


def passes(row: Mapping[str, Any], results: Sequence[str | Sequence[str]]) -> dict[str, float]:
    """pass@k of each ``k`` that there are enough answers for."""
    from lavra.evaluation.sandbox import run_program

    given = results[0]
    answers = [given] if isinstance(given, str) else list(given)
    tests = checks_of(row)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        outcomes = list(pool.map(lambda answer: run_program(whole_program(row, answer), tests), answers))
    right = sum(outcome.passed for outcome in outcomes)
    return {f"pass@{k}": pass_at_k(len(answers), right, k) for k in KS if k <= len(answers)}


READERS = {"programs": read_programs}
PROCESSING = {"passes": passes}
