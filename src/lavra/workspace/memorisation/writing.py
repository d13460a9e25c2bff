"""Traps and a language model: it weighs those of the grammar, or writes them at chosen perplexities (Meeus et al. 2024,
section 4.1).

What is unlikely is memorised better, so the register says how likely each trap is, and twins are neighbours in
perplexity. What a model writes is sampled at rising temperatures and sorted into buckets until each has what it needs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from random import Random

from lavra.corpus.traps import grammar
from lavra.corpus.traps.making import TrapSettings, Written, sentences, stream
from lavra.errors import LavraError
from lavra.evaluation.memorisation.reading import opening, read_texts
from lavra.inference.batch_sampling import sample_batch
from lavra.inference.sampling import Sampling
from lavra.model.adapted import load_adapted
from lavra.model.base import Model
from lavra.model.precision import compute_dtype
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer
from lavra.workspace.generators import find_generator
from lavra.workspace.workspace import Progress, Workspace

_TEMPERATURES = (0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0)
_TOGETHER = 32
_ROUNDS = 40
_BEGIN = 3
"""Words of a sentence of the grammar that the model is given, so that it writes in the language and never the same."""
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Wanted:
    """``model``: a reference; ``edges``: of the buckets of perplexity that it is to write for, rising. None: it weighs
    what the grammar wrote."""

    model: str
    edges: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.edges and (len(self.edges) < 2 or list(self.edges) != sorted(set(self.edges)) or self.edges[0] < 1):
            raise LavraError("give --perplexity as rising numbers, at least two, such as 10,30,100,300.")

    @property
    def buckets(self) -> list[tuple[int, int]]:
        return list(pairwise(self.edges))


def write_sentences(
    workspace: Workspace, wanted: Wanted, settings: TrapSettings, language: str, secret: str, *, progress: Progress
) -> tuple[list[Written], str]:
    """Sentences in the order of their perplexity, so that neighbours are alike, and the model's name and SHA-256.

    Raises LavraError where the model writes too few of some perplexity.
    """
    found = find_generator(workspace, wanted.model)
    path = Path(found.model.path)
    model = load_adapted(path, found.adapters, dtype=compute_dtype(), base_sha256=found.model.sha256)
    writer = _Writer(model, load_tokenizer(path), settings.words, language, stream(secret, "begins"))
    name = f"{found.name} {found.model.sha256[:16]}"
    if not wanted.edges:
        return _ordered(writer.weigh([one.text for one in sentences(settings, language, secret)])), name
    pairs, buckets = settings.pairs * len(settings.repetitions), wanted.buckets
    needed = [2 * (pairs // len(buckets) + (number < pairs % len(buckets))) for number in range(len(buckets))]
    kept: list[dict[str, Written]] = [{} for _ in buckets]
    for turn in range(_ROUNDS):
        if all(len(bucket) >= count for bucket, count in zip(kept, needed, strict=True)):
            break
        for one in writer.write(_TEMPERATURES[turn % len(_TEMPERATURES)]):
            for bucket, (low, high) in zip(kept, buckets, strict=True):
                if low <= (one.perplexity or 0.0) < high:
                    bucket.setdefault(one.text, replace(one, bucket=f"{low}-{high}"))
        progress("Writing traps", sum(min(len(b), n) for b, n in zip(kept, needed, strict=True)), sum(needed))
    for bucket, count, (low, high) in zip(kept, needed, buckets, strict=True):
        if len(bucket) < count:
            raise LavraError(
                f"{found.name} wrote {len(bucket)} sentences with a perplexity from {low} to {high}, and {count} are "
                "needed: give other edges as --perplexity, or fewer --pairs."
            )
    chosen = [_ordered(list(bucket.values())[:count]) for bucket, count in zip(kept, needed, strict=True)]
    return [one for bucket in chosen for one in bucket], name


@dataclass(frozen=True)
class _Writer:
    model: Model
    tokenizer: Tokenizer
    words: int
    language: str
    draw: Random

    def write(self, temperature: float) -> list[Written]:
        """Some sentences of so many words."""
        begins = [
            " ".join(grammar.sentence(self.language, self.words, self.draw).split()[:_BEGIN]) for _ in range(_TOGETHER)
        ]
        prompts = [
            [*opening(self.tokenizer), *self.tokenizer.encode(one, add_special_tokens=False, parse_special=False)]
            for one in begins
        ]
        ends = self.tokenizer.eos_ids
        sampling = Sampling(temperature=temperature, max_tokens=3 * self.words, seed=self.draw.getrandbits(62))
        answers = sample_batch(self.model, prompts, sampling, ends=ends, at_once=_TOGETHER)
        texts = []
        for begin, (answer,) in zip(begins, answers, strict=True):
            said = self.tokenizer.decode([token for token in answer if token not in ends])
            words = _SPACE.sub(" ", begin + said).strip().split(" ")[: self.words]
            if len(words) == self.words and " ".join(words).isprintable():
                texts.append(" ".join(words))
        return self.weigh(texts)

    def weigh(self, texts: Sequence[str]) -> list[Written]:
        """With their tokens and perplexities."""
        readings = read_texts(self.model, self.tokenizer, texts)
        return [
            Written(text, reading.tokens, round(reading.perplexity, 3))
            for text, reading in zip(texts, readings, strict=True)
        ]


def _ordered(written: Sequence[Written]) -> list[Written]:
    return sorted(written, key=lambda one: one.perplexity or 0.0)
