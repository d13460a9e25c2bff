"""Traps that a language model writes, at chosen perplexities (Meeus et al. 2024, section 4.1).

What is unlikely is memorised better, so the register says how likely each trap is, and twins are neighbours in
perplexity. Sentences are sampled at rising temperatures and sorted into buckets until each has what it needs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from lavra.corpus.traps import grammar
from lavra.corpus.traps.making import TrapSettings, Written, stream
from lavra.errors import LavraError
from lavra.evaluation.memorisation.reading import opening, read_texts
from lavra.inference.batch_sampling import sample_batch
from lavra.inference.sampling import Sampling
from lavra.model.adapted import load_adapted
from lavra.model.precision import compute_dtype
from lavra.tokens.tokenizer import load_tokenizer
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
    """``model``: a reference; ``edges``: of the buckets of perplexity, rising."""

    model: str
    edges: tuple[int, ...] = (10, 30, 100, 300)

    def __post_init__(self) -> None:
        if len(self.edges) < 2 or list(self.edges) != sorted(set(self.edges)) or self.edges[0] < 1:
            raise LavraError("give --perplexity as rising numbers, at least two, such as 10,30,100,300.")

    @property
    def buckets(self) -> list[tuple[int, int]]:
        return list(pairwise(self.edges))


def write_sentences(
    workspace: Workspace, wanted: Wanted, settings: TrapSettings, language: str, secret: str, *, progress: Progress
) -> tuple[list[Written], str]:
    """Sentences in order of bucket and perplexity, so that neighbours are alike, and the model's name and SHA-256.

    Raises LavraError where the model writes too few of some perplexity.
    """
    found = find_generator(workspace, wanted.model)
    path = Path(found.model.path)
    model = load_adapted(path, found.adapters, dtype=compute_dtype(), base_sha256=found.model.sha256)
    tokenizer = load_tokenizer(path)
    pairs = settings.pairs * len(settings.repetitions)
    shares = [
        2 * (pairs // len(wanted.buckets) + (number < pairs % len(wanted.buckets)))
        for number in range(len(wanted.buckets))
    ]
    kept: list[list[Written]] = [[] for _ in wanted.buckets]
    seen: set[str] = set()
    draw = stream(secret, "begins")
    for turn in range(_ROUNDS):
        if all(len(bucket) >= share for bucket, share in zip(kept, shares, strict=True)):
            break
        begins = [" ".join(grammar.sentence(language, settings.words, draw).split()[:_BEGIN]) for _ in range(_TOGETHER)]
        prompts = [
            [*opening(tokenizer), *tokenizer.encode(one, add_special_tokens=False, parse_special=False)]
            for one in begins
        ]
        temperature = _TEMPERATURES[turn % len(_TEMPERATURES)]
        sampling = Sampling(temperature=temperature, max_tokens=3 * settings.words, seed=draw.getrandbits(62))
        answers = sample_batch(model, prompts, sampling, ends=tokenizer.eos_ids, at_once=_TOGETHER)
        texts = []
        for begin, (answer,) in zip(begins, answers, strict=True):
            said = tokenizer.decode([token for token in answer if token not in tokenizer.eos_ids])
            words = _SPACE.sub(" ", begin + said).strip().split(" ")[: settings.words]
            text = " ".join(words)
            if len(words) == settings.words and text not in seen and text.isprintable():
                seen.add(text)
                texts.append(text)
        for text, reading in zip(texts, read_texts(model, tokenizer, texts), strict=True):
            for bucket, (low, high) in zip(kept, wanted.buckets, strict=True):
                if low <= reading.perplexity < high:
                    bucket.append(Written(text, reading.tokens, round(reading.perplexity, 3), f"{low}-{high}"))
        progress("Writing traps", sum(min(len(b), s) for b, s in zip(kept, shares, strict=True)), sum(shares))
    for bucket, share, (low, high) in zip(kept, shares, wanted.buckets, strict=True):
        if len(bucket) < share:
            raise LavraError(
                f"{found.name} wrote {len(bucket)} sentences with a perplexity from {low} to {high}, and {share} are "
                "needed: give other edges as --perplexity, or fewer --pairs."
            )
    ordered = [
        sorted(bucket[:share], key=lambda one: one.perplexity or 0.0)
        for bucket, share in zip(kept, shares, strict=True)
    ]
    return [one for bucket in ordered for one in bucket], f"{found.name} {found.model.sha256[:16]}"
