"""Pairs of traps and of canaries; a secret coin says which of each pair is put into the corpus."""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from lavra.corpus.traps import grammar
from lavra.corpus.traps.register import Entry, Register
from lavra.errors import LavraError

DIGITS = 4
"""Of a canary's secret. All 10,000 can still be tried one by one, so that its rank is exact."""
MOST_COPIES = 1_000_000


@dataclass(frozen=True)
class TrapSettings:
    """``repetitions``: the levels; ``pairs``: of traps at each level, ``canaries``: of canaries at each; ``words`` of a
    trap. Meeus et al. (2024) found long ones repeated often, and only those, in a model of 1.3B parameters."""

    repetitions: tuple[int, ...] = (1, 10, 100, 1000)
    pairs: int = 20
    canaries: int = 4
    words: int = 40
    digits: int = DIGITS

    def __post_init__(self) -> None:
        if not self.repetitions or len(set(self.repetitions)) < len(self.repetitions):
            raise LavraError("give the repetitions as different numbers, such as 1,10,100,1000.")
        rules = (
            ("repetitions", min(self.repetitions), 1, MOST_COPIES),
            ("repetitions", max(self.repetitions), 1, MOST_COPIES),
            ("pairs", self.pairs, 0, 10_000), ("canaries", self.canaries, 0, 1_000), ("words", self.words, 8, 400),
            ("digits", self.digits, 2, 18),
        )  # fmt: skip
        for name, value, least, most in rules:
            if not least <= value <= most:
                raise LavraError(f"{name} is {value}; it must be from {least:,} to {most:,}.")
        if not self.pairs + self.canaries:
            raise LavraError("neither traps nor canaries are asked for: raise --pairs or --canaries.")


@dataclass(frozen=True)
class Written:
    """A sentence and what its writer says of it."""

    text: str
    tokens: int | None = None
    perplexity: float | None = None
    bucket: str = ""


def new_secret() -> str:
    """256 bits from the system's source of chance."""
    return secrets.token_hex(32)


def stream(secret: str, *what: object) -> random.Random:
    """Draws for one purpose, which follow from the secret and nothing else."""
    return random.Random(sha256(":".join([secret, *map(str, what)]).encode()).digest())


def sentences(settings: TrapSettings, language: str, secret: str) -> list[Written]:
    """As many different ones as the traps need, by the grammar."""
    draw = stream(secret, "sentences")
    found: dict[str, Written] = {}
    while len(found) < 2 * settings.pairs * len(settings.repetitions):
        text = grammar.sentence(language, settings.words, draw)
        found.setdefault(text, Written(text))
    return list(found.values())


def make_register(
    settings: TrapSettings, language: str, written: Sequence[Written], *, secret: str, model: str = "", made: str = ""
) -> Register:
    """Neighbours in ``written`` become twins: two for each pair, so that a writer can put like to like. Nothing of it
    is in a corpus yet."""
    pairs = settings.pairs * len(settings.repetitions)
    if len(written) < 2 * pairs:
        raise LavraError(f"{pairs} pairs of traps need {2 * pairs} sentences, and there are {len(written)}.")
    entries: list[Entry] = []
    levels = [level for level in settings.repetitions for _ in range(settings.pairs)]
    # Which level a pair gets is drawn too: pairs come sorted by perplexity from a writer that is a model.
    stream(secret, "levels").shuffle(levels)
    for number, level in enumerate(levels):
        both = [
            Entry("trap", number, one.text, level, False, len(one.text.split()), one.tokens, one.perplexity, one.bucket)
            for one in written[2 * number : 2 * number + 2]
        ]
        entries += _toss(both, secret)
    draw = stream(secret, "canaries")
    for level in settings.repetitions:
        for _ in range(settings.canaries):
            pattern = draw.choice(grammar.secret_formats(language))
            number = len(entries) // 2
            entries += _toss(
                [_canary(pattern, language, number, level, settings.digits, draw) for _ in range(2)], secret
            )
    texts = {entry.text for entry in entries}
    if len(texts) < len(entries):
        raise LavraError("two traps are the same sentence: ask for more words, or for fewer traps.")
    return Register(language, secret, tuple(entries), made=made, model=model)


def _canary(pattern: str, language: str, pair: int, level: int, digits: int, draw: random.Random) -> Entry:
    shape = grammar.fill(pattern, language, draw)
    secret = "".join(draw.choice("0123456789") for _ in range(digits))
    text = shape.replace("{secret}", secret)
    return Entry("canary", pair, text, level, False, len(text.split()), format=shape, secret=secret)


def _toss(both: Sequence[Entry], secret: str) -> list[Entry]:
    """The coin of a pair: the first bit of a hash that nobody without the secret can compute."""
    heads = sha256(f"{secret}:coin:{both[0].pair}".encode()).digest()[0] < 128
    return [replace(both[0], inserted=heads), replace(both[1], inserted=not heads)]
