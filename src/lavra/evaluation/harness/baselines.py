"""What guessing gets on a task: no score says anything without it.

Sets are lopsided more often than their papers say: in one of the Gauntlet's every right answer is "no", BoolQ says yes
to 62%, CommonsenseQA's file has the third option right in 40%. A model that has learned nothing but the habit of an
answer then looks as if it knew something.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Baselines:
    """Accuracies. ``random``: a choice by lot. ``constant``: always the same place, the best one. ``majority``: always
    the answer whose words are right most often. ``longest``: the longest choice."""

    random: float
    constant: float
    majority: float
    longest: float

    @property
    def best(self) -> float:
        return max(self.random, self.constant, self.majority, self.longest)

    @property
    def best_name(self) -> str:
        return max(asdict(self), key=lambda name: asdict(self)[name])


def baselines(choices: Sequence[Sequence[str]], gold: Sequence[frozenset[int]]) -> Baselines:
    """Of items with their ``choices`` and the numbers of the right ones."""
    count = len(choices)
    places = Counter(place for right in gold for place in right)
    words = Counter(text for options, right in zip(choices, gold, strict=True) for text in {options[n] for n in right})
    longest = [max(range(len(options)), key=[len(text) for text in options].__getitem__) for options in choices]
    return Baselines(
        random=sum(len(right) / len(options) for options, right in zip(choices, gold, strict=True)) / count,
        constant=max(places.values()) / count,
        majority=max(words.values()) / count,
        longest=sum(number in right for number, right in zip(longest, gold, strict=True)) / count,
    )


def of_task(task: Any) -> Baselines | None:
    """Of all items of a task of multiple choice, for the best guess at a few of them is partly luck; None for other
    tasks. ``task``: the harness's ConfigurableTask."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return None
    found_choices, found_gold = [], []
    for document in task.eval_docs:
        options = [str(option) for option in task.doc_to_choice(document)]
        gold = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
        if isinstance(gold, str):
            gold = options.index(gold) if gold in options else -1
        if "labels" in document:  # of several right ones, as in TruthfulQA
            gold = [number for number, label in enumerate(document["labels"]) if label]
        right = frozenset(number for number in (gold if isinstance(gold, list) else [gold]) if number >= 0)
        if right and max(right) < len(options):
            found_choices.append(options)
            found_gold.append(right)
    return baselines(found_choices, found_gold) if found_choices else None
