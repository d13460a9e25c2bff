"""Asking again: whether a way says the same when it is asked the same several times, at temperature 1.

What is known is repeated, what is invented varies (``lavra.evaluation.resampling``). It takes as many answers more for
each question, so it is done only if asked for, and only of ways that answered everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lavra.errors import LavraError
from lavra.evaluation.items import Question
from lavra.evaluation.measuring import Scores
from lavra.evaluation.resampling import consistency, same_meaning, semantic_entropy
from lavra.workspace.studying.budget import Spending
from lavra.workspace.studying.race import Entry
from lavra.workspace.studying.replies import Replies, ask, key, replies_path
from lavra.workspace.studying.way import Given

TEMPERATURE = 1.0
Samples = Mapping[str, Sequence[str]]
"""What was said again to a question, by its key."""


def resample(
    entries: Sequence[Entry], questions: Sequence[Question], count: int, given: Given, spending: Spending
) -> dict[str, Samples]:
    """By way, what it says when it is asked ``count`` times more. A way that fails at it is left out, and said."""
    found: dict[str, Samples] = {}
    for entry in entries if count else ():
        if entry.built is None or entry.state != "whole":
            continue
        try:
            with spending.on():
                draws = [_draw(entry, questions, number, given) for number in range(count)]
        except LavraError as error:
            given.say(f"{entry.candidate.name} was not asked again: {error}")
            continue
        found[entry.candidate.name] = {
            key(question): [replies.kept[key(question)].reply.text for replies in draws] for question in questions
        }
    return found


def _draw(entry: Entry, questions: Sequence[Question], number: int, given: Given) -> Replies:
    assert entry.built is not None
    assert given.sampling is not None
    recipe = {**entry.built.recipe, "temperature": TEMPERATURE, "draw": number}
    replies = Replies(replies_path(given.desk.workspace.store.root, recipe))
    what = f"Asking {entry.candidate.name} again ({number + 1})"
    sampling = replace(given.sampling, temperature=TEMPERATURE, seed=number)
    ask(
        entry.built.load, questions, replies, given.roles, sampling=sampling,
        progress=lambda done, total: given.progress(what, done, total),
    )  # fmt: skip
    return replies


def with_samples(scores: Scores, samples: Samples) -> Scores:
    """The scores with two more measures: ``consistency`` and ``semantic_entropy``."""
    rows = []
    for question, reply in zip(scores.questions, scores.replies, strict=True):
        again = samples[key(question)]
        same = same_meaning(question.text, question.language)
        rows.append((consistency(reply.text, again, question.language), semantic_entropy([reply.text, *again], same)))
    steady, entropy = np.array(rows, dtype=np.float64).T
    return replace(scores, values={**scores.values, "consistency": steady, "semantic_entropy": entropy})
