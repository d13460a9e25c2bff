"""What a model writes about people, group by group: prompts that differ in the group alone, and how the continuations
differ in sentiment, length and refusing.

Counterfactual pairs (Huang et al. 2020, Reducing Sentiment Bias in Language Models via Counterfactual Evaluation) come
with Lavra in English and Portuguese; HolisticBias' sentences (Smith et al. 2022) are pairs of a woman and a man of each
descriptor; BOLD's prompts (Dhamala et al. 2021) are of different people and no pairs, so that their groups are
compared without pairing. Sentiment is a small list of words, between -1 and 1, unless a classifier of texts is given:
then it is the probability of each of its labels. The list sees words, not what is said of whom.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from lavra.errors import LavraError
from lavra.evaluation.intervals import Difference, Interval, holm, mean_interval, paired
from lavra.store.files import digest

Write = Callable[[Sequence[str]], list[str]]
"""Continues prompts."""
Classify = Callable[[Sequence[str]], Mapping[str, np.ndarray]]
"""Of texts, (N,) the probability of each label."""


@dataclass(frozen=True)
class Prompt:
    """``pair``: what its counterpart of the other group has as well; "" where it has none."""

    text: str
    kind: str
    group: str
    language: str
    pair: str = ""


def counterfactual_prompts(languages: Sequence[str] = ("en", "pt")) -> list[Prompt]:
    """Those that come with Lavra: 80 pairs a language."""
    data = tomllib.loads(files(__package__).joinpath("counterfactuals.toml").read_text(encoding="utf-8"))
    found = []
    for language in data["language"]:
        if language["name"] not in languages:
            continue
        for kind, groups in language["groups"].items():
            for number, template in enumerate(language["templates"]):
                for group in groups:
                    text = template.format(group=group)
                    pair = f"{language['name']} {kind} {number}"
                    found.append(Prompt(text[0].upper() + text[1:], kind, group, language["name"], pair))
    return found


def read_prompts(path: Path) -> list[Prompt]:
    """Of your own: JSON lines with ``prompts`` (group: text), ``kind`` and ``language``. Raises LavraError for a line
    that is not so."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            prompts = dict(row["prompts"])
            if len(prompts) != 2 or not all(isinstance(text, str) and text.strip() for text in prompts.values()):
                raise ValueError("it has not two prompts")
        except (ValueError, KeyError, TypeError) as error:
            raise LavraError(
                f'{path}:{number} is no pair of prompts ({error}): write {{"kind": …, "language": "en", '
                '"prompts": {"one group": "…", "the other": "…"}}.'
            ) from error
        kind, language = str(row.get("kind", "own")), str(row.get("language", "en"))
        found += [Prompt(text, kind, group, language, f"{kind} {number}") for group, text in prompts.items()]
    if not found:
        raise LavraError(f"{path} holds no pair of prompts.")
    return found


def bold_prompts(folder: Path, limit: int) -> list[Prompt]:
    """BOLD's, at most ``limit`` of each group. Raises LavraError where its files are not there."""
    found = []
    for path in sorted(folder.glob("*_prompt.json")):
        kind = path.name.removesuffix("_prompt.json").replace("_", " ")
        for group, people in json.loads(path.read_text(encoding="utf-8")).items():
            texts = sorted((text.strip() for each in people.values() for text in each), key=digest)[:limit]
            found += [Prompt(text, kind, group.replace("_", " "), "en") for text in texts]
    if not found:
        raise LavraError(f"there is no file of BOLD's prompts (*_prompt.json) in {folder}.")
    return found


_NOUNS = (("woman", "man"), ("girl", "boy"), ("mother", "father"), ("grandmother", "grandfather"))


def holistic_prompts(folder: Path, limit: int) -> list[Prompt]:
    """HolisticBias' sentences about a woman and about a man of the same descriptor, at most ``limit`` pairs an axis.
    Raises LavraError where its files are not there."""
    try:
        axes = json.loads((folder / "descriptors.json").read_text(encoding="utf-8"))
        templates = json.loads((folder / "sentence_templates.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LavraError(
            f"{folder} holds no HolisticBias (descriptors.json, sentence_templates.json): {error}"
        ) from error
    singular = [text for text in templates if "{noun_phrase}" in text]
    found = []
    for axis, bins in axes.items():
        words = [row if isinstance(row, str) else row["descriptor"] for rows in bins.values() for row in rows]
        pairs = [(w, n, t) for w in words for n in _NOUNS for t in singular]
        for word, nouns, template in sorted(pairs, key=digest)[:limit]:
            for group, noun in zip(("women", "men"), nouns, strict=True):
                article = "an" if word[0].lower() in "aeiou" else "a"
                text = template.format(noun_phrase=f"{article} {word} {noun}")
                found.append(Prompt(text, axis.replace("_", " "), group, "en", f"{word} {nouns[0]} {template}"))
    return found


@dataclass(frozen=True)
class Written:
    """A prompt, how it was continued, and what that is worth by each measure."""

    prompt: Prompt
    text: str
    values: Mapping[str, float]


def write_all(prompts: Sequence[Prompt], write: Write, classify: Classify | None = None) -> list[Written]:
    """Continue every prompt and measure what comes."""
    texts = write([prompt.text for prompt in prompts])
    labels = classify([f"{p.text} {t}" for p, t in zip(prompts, texts, strict=True)]) if classify else {}
    found = []
    for number, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
        values = {"sentiment": sentiment(text, prompt.language), "words": float(len(text.split()))}
        values["refused"] = float(refuses(text))
        if labels:
            del values["sentiment"]
            values |= {f"p({label})": float(each[number]) for label, each in labels.items()}
        found.append(Written(prompt, text, values))
    return found


@dataclass(frozen=True)
class Compared:
    """Two groups of a kind by a measure. ``p``: corrected for the number of comparisons; NaN where the two are not
    paired."""

    kind: str
    language: str
    measure: str
    groups: Mapping[str, Interval]
    difference: Difference | None
    p: float

    @property
    def differs(self) -> bool:
        return self.p < 0.05


def compare(written: Sequence[Written]) -> list[Compared]:
    """By language, kind and measure: each group's mean, and of two groups of pairs the paired difference. What was
    written several times behind a prompt counts once, as its mean: prompts are what was drawn, not words."""
    written = once_each(written)
    written = [*_all_kinds(written), *written]
    places = list(dict.fromkeys((one.prompt.language, one.prompt.kind) for one in written))
    found: list[tuple[str, str, str, dict[str, Interval], Difference | None]] = []
    for language, kind in places:
        here = [one for one in written if (one.prompt.language, one.prompt.kind) == (language, kind)]
        groups = _groups(here)
        for measure in here[0].values:
            means = {g: mean_interval([one.values[measure] for one in each]) for g, each in groups.items()}
            found.append((kind, language, measure, means, _difference(list(groups.values()), measure)))
    corrected = iter(holm([each[4].p for each in found if each[4] is not None]))
    return [
        Compared(
            kind, language, measure, means, difference, next(corrected) if difference is not None else float("nan")
        )
        for kind, language, measure, means, difference in found
    ]


ALL = "all kinds"


def _all_kinds(written: Sequence[Written]) -> list[Written]:
    """The same once more as one kind, by language, where several kinds compare the same groups (women and men of every
    sort, say): many pairs show what few do not."""
    groups: dict[str, dict[str, set[str]]] = {}
    for one in written:
        groups.setdefault(one.prompt.language, {}).setdefault(one.prompt.kind, set()).add(one.prompt.group)
    alike = {
        language
        for language, kinds in groups.items()
        if len(kinds) > 1 and len(set(map(frozenset, kinds.values()))) == 1
    }
    return [
        replace(
            one, prompt=replace(one.prompt, kind=ALL, pair=one.prompt.pair and f"{one.prompt.kind} {one.prompt.pair}")
        )
        for one in written
        if one.prompt.language in alike
    ]


def once_each(written: Sequence[Written]) -> list[Written]:
    """One a prompt, with the means of its values and the text of the first."""
    by_prompt: dict[Prompt, list[Written]] = {}
    for one in written:
        by_prompt.setdefault(one.prompt, []).append(one)
    return [
        Written(
            prompt, some[0].text, {name: float(np.mean([one.values[name] for one in some])) for name in some[0].values}
        )
        for prompt, some in by_prompt.items()
    ]


def _groups(written: Sequence[Written]) -> dict[str, list[Written]]:
    found: dict[str, list[Written]] = {}
    for one in written:
        found.setdefault(one.prompt.group, []).append(one)
    return found


def _difference(groups: Sequence[Sequence[Written]], measure: str) -> Difference | None:
    if len(groups) != 2 or not all(one.prompt.pair for group in groups for one in group):
        return None
    first, second = ({one.prompt.pair: one.values[measure] for one in group} for group in groups)
    both = [name for name in first if name in second]
    return paired([first[name] for name in both], [second[name] for name in both])


def sentiment(text: str, language: str) -> float:
    """(good − bad) / (good + bad) of the words of the list that stand in the text; 0 where none does."""
    good, bad = _lexicon(language if language in ("en", "pt") else "en")
    words = re.findall(r"[\w'’-]+", text.lower())
    one, two = sum(word in good for word in words), sum(word in bad for word in words)
    return (one - two) / (one + two) if one + two else 0.0


def refuses(text: str) -> bool:
    """Whether a continuation begins as one does that will not go on."""
    begins = _data()["refusals"]["begins"].replace("\n", "").split("|")
    return text.strip().lower().startswith(tuple(begin.strip() for begin in begins if begin.strip()))


@lru_cache
def _data() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("sentiment.toml").read_text(encoding="utf-8"))


@lru_cache
def _lexicon(language: str) -> tuple[frozenset[str], frozenset[str]]:
    lists = _data()[language]
    return frozenset(lists["good"].split()), frozenset(lists["bad"].split())
