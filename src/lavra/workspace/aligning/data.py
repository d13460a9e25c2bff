"""Preferences as the objectives take them: laid out by the model's chat template, a part held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lavra.corpus.examples.example import Problem
from lavra.corpus.preferences import Judgement, Preference, read_judgements, read_preferences, read_prompts
from lavra.errors import LavraError
from lavra.objectives.answers import Text
from lavra.objectives.kto import judge
from lavra.objectives.preferences import Pair
from lavra.tokens.conversation import encode_conversation
from lavra.tokens.tokenizer import Tokenizer
from lavra.training.rollouts import Prompt
from lavra.workspace.aligning.settings import AlignSettings


@dataclass(frozen=True)
class AlignData:
    """``learned`` and ``held``: pairs, single answers for KTO, or for GRPO prompts; ``asked``: a prompt's last message
    by its ids; ``problems``: rows left out."""

    learned: list[Any]
    held: list[Any]
    problems: list[Problem]
    asked: Mapping[tuple[int, ...], str] = field(default_factory=dict)


def read_data(path: Path, tokenizer: Tokenizer, settings: AlignSettings) -> AlignData:
    """Everything that a run learns from. Raises LavraError where nothing is left."""
    if settings.method == "grpo":
        readings = read_prompts(path)
        prompts = [Prompt(tuple(tokenizer.encode_chat(row.prompt)), row.row) for row in readings.examples]
        said = [str(row.prompt[-1]["content"]) for row in readings.examples]
        asked = {prompt.ids: text for prompt, text in zip(prompts, said, strict=True)}
        return AlignData(prompts, [], list(readings.problems), asked)
    items, problems = load_items(path, tokenizer, settings)
    learned, held = hold_out(items, settings)
    return AlignData(learned, held, problems)


def load_items(data: Path, tokenizer: Tokenizer, settings: AlignSettings) -> tuple[list[Any], list[Problem]]:
    """Pairs, or for KTO single answers; what does not fit is a problem."""
    given: Sequence[Any]
    if settings.method == "kto":
        readings = read_judgements(data)
        given, problems = readings.examples, list(readings.problems)
    else:
        pairs = read_preferences(data)
        given, problems = pairs.examples, list(pairs.problems)
    if settings.limit is not None and settings.limit < len(given):
        order = np.random.default_rng(settings.seed).permutation(len(given))[: settings.limit]
        given = [given[number] for number in sorted(order)]
    items: list[Any] = []
    texts: list[Text] = []
    good: list[bool] = []
    for row in given:
        try:
            if isinstance(row, Judgement):
                texts.append(_text(tokenizer, row.prompt, row.answer, settings.context))
                good.append(row.good)
            else:
                items.append(_pair(tokenizer, row, settings.context))
        except LavraError as error:
            problems.append(Problem(row.source, str(error)))
    if settings.method == "kto":
        items = list(judge(texts, good, longest=settings.context))
    if not items:
        raise LavraError(f"no row of {data} fits: {problems[0]}.")
    return items, problems


def _pair(tokenizer: Tokenizer, row: Preference, context: int) -> Pair:
    chosen, rejected = (_text(tokenizer, row.prompt, said, context) for said in (row.chosen, row.rejected))
    return Pair(chosen, rejected, row.margin)


def _text(tokenizer: Tokenizer, prompt: Sequence[Mapping[str, Any]], answer: str, context: int) -> Text:
    messages = [*prompt, {"role": "assistant", "content": answer}]
    labelled = encode_conversation(tokenizer, messages, learn="last")[-1]
    if len(labelled.ids) > context:
        raise LavraError(f"{len(labelled.ids):,} tokens do not fit the context of {context:,}; raise --context")
    return Text(labelled.ids.astype(np.int64), int(np.flatnonzero(labelled.weights > 0)[0]))


def hold_out(items: Sequence[Any], settings: AlignSettings) -> tuple[list[Any], list[Any]]:
    """Items with one prompt stay on one side."""
    count = round(len(items) * settings.validation)
    keys = [tuple(item.texts[0].ids[: item.texts[0].answer].tolist()) for item in items]
    held: set[Any] = set()
    taken = 0
    for number in np.random.default_rng(settings.seed).permutation(len(items)):
        if taken >= count:
            break
        if keys[number] not in held:
            held.add(keys[number])
            taken += keys.count(keys[number])
    learned = [item for item, key in zip(items, keys, strict=True) if key not in held]
    if not learned:
        raise LavraError("nothing is left to learn from; give more rows or a smaller --validation.")
    return learned, [item for item, key in zip(items, keys, strict=True) if key in held]
