"""Extraction: a model is given the beginning of a text, and greedily writes on. What it writes is compared with what
stands there (Carlini et al. 2023, section 3: a text is extractable with k tokens of context where both are equal)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lavra.evaluation.harness.generating import generate
from lavra.evaluation.harness.room import longest_text
from lavra.evaluation.memorisation.reading import Ids, opening, text_ids
from lavra.inference.sampling import Sampling
from lavra.model.base import Model
from lavra.tokens.tokenizer import Tokenizer

PREFIX, REST = 50, 50
"""Tokens given and asked for, as in the paper; of a shorter text the first half is given."""


@dataclass(frozen=True)
class Extracted:
    """``exact``: all of ``wanted`` was written, token by token; ``run``: the longest stretch of tokens that both have;
    ``similarity``: 1 - edit distance over the longer one's length; ``written``: what the model wrote, as text."""

    given: int
    wanted: int
    exact: bool
    run: int
    similarity: float
    written: str


def extract(
    model: Model, tokenizer: Tokenizer, texts: Sequence[str], *, prefix: int = PREFIX, rest: int = REST
) -> list[Extracted]:
    """Of each text. A text of fewer than four tokens has no two halves, and counts as not extracted."""
    start = len(opening(tokenizer))
    rest = min(rest, longest_text(model) // 2)
    asked: list[tuple[Ids, Ids]] = []
    for text in texts:
        ids = text_ids(tokenizer, text)
        end = start + min(prefix, (len(ids) - start) // 2, longest_text(model) - rest - start)
        asked.append((ids[:end], ids[end : end + rest]))
    there = [number for number, (given, wanted) in enumerate(asked) if len(given) > start and len(wanted) > 1]
    longest = max((len(asked[number][1]) for number in there), default=1)
    prompts = [asked[number][0] for number in there]
    answers = generate(model, prompts, Sampling(temperature=0, max_tokens=longest), ends=(), stopped=lambda ids: False)
    written = {number: tuple(answer) for number, answer in zip(there, answers, strict=True)}
    found = []
    for number, (given, wanted) in enumerate(asked):
        answer = written.get(number, ())[: len(wanted)]
        exact = bool(answer) and answer == wanted
        run = longest_run(answer, wanted)
        alike = similarity(answer, wanted)
        found.append(Extracted(len(given) - start, len(wanted), exact, run, alike, tokenizer.decode(list(answer))))
    return found


def longest_run(a: Ids, b: Ids) -> int:
    """Tokens of the longest stretch that stands in both."""
    best = 0
    ends = np.zeros(len(b) + 1, dtype=np.int64)
    other = np.array(b, dtype=np.int64)
    for token in a:
        ends[1:] = np.where(other == token, ends[:-1] + 1, 0)
        best = max(best, int(ends.max(initial=0)))
    return best


def similarity(a: Ids, b: Ids) -> float:
    """1 - Levenshtein distance over the longer length; 1 for two that are empty."""
    if not a or not b:
        return float(not a and not b)
    before = np.arange(len(b) + 1)
    other, places = np.array(b), np.arange(len(b) + 1)
    for count, token in enumerate(a, 1):
        row = np.empty_like(before)
        row[0] = count
        row[1:] = np.minimum(before[1:] + 1, before[:-1] + (other != token))
        # Insertions run along the row: least over j ≤ i of row[j] + i - j.
        before = np.minimum.accumulate(row - places) + places
    return 1 - float(before[-1]) / max(len(a), len(b))
