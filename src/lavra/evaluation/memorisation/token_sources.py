"""Which documents a model read a passage in: looked for in the token files that it was trained on.

Ids in a row find where a passage may stand, and the files' source ids say whose they are; what stands there is decoded
and compared by words, as :mod:`~lavra.evaluation.memorisation.sources` does, without case, punctuation or line ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lavra.corpus.document import Document
from lavra.evaluation.memorisation.sources import LEAST, find_sources
from lavra.tokens.packed import Owner, TokenFiles
from lavra.tokens.searching import Run, find_runs
from lavra.tokens.tokenizer import Tokenizer

_TOKENS = 8
"""In a row that lead to a place: a passage that is laid out in other lines has hardly more of them."""
_PLACES = 50
"""Documents that are compared by words for each passage, those with most tokens in a row."""


@dataclass(frozen=True)
class TokenSource:
    """A document that holds ``run`` words in a row of a passage, of its ``of``; ``tokens`` of it, from its token
    ``start`` on, are those of the passage too."""

    owner: Owner
    run: int
    of: int
    start: int
    tokens: int

    @property
    def share(self) -> float:
        """Of the passage."""
        return self.run / max(1, self.of)


def find_in_tokens(
    files: TokenFiles, tokenizer: Tokenizer, passages: Sequence[str], *, least: int = LEAST, most: int = 5
) -> list[list[TokenSource]]:
    """For each passage its sources, the longest run of words first, at most ``most``; no run is shorter than ``least``
    words, or than the passage.

    What a passage's first token is depends on whether it begins a line or follows a word, so both are looked for.
    """
    spellings = [
        np.asarray(tokenizer.encode(before + passage.strip(), False, parse_special=False), dtype=np.int64)
        for passage in passages
        for before in ("", " ")
    ]
    runs = find_runs(files, spellings, least=_TOKENS)
    found = []
    for number, passage in enumerate(passages):
        best: dict[int, Run] = {}
        for run in (*runs[2 * number], *runs[2 * number + 1]):
            if run.source not in best or run.length > best[run.source].length:
                best[run.source] = run
        places = sorted(best.values(), key=lambda run: (-run.length, run.source))[:_PLACES]
        room = 2 * max(len(spellings[2 * number]), 1)
        sources = [one for run in places if (one := _compared(files, tokenizer, run, passage, room, least))]
        found.append(sorted(sources, key=lambda one: (-one.run, one.owner.number))[:most])
    return found


def _compared(
    files: TokenFiles, tokenizer: Tokenizer, run: Run, passage: str, room: int, least: int
) -> TokenSource | None:
    """The words that a place has of a passage, as far as ``room`` tokens before and after it."""
    ids = files.ids(run.source)[max(0, run.start - room) : run.start + run.length + room]
    owner = files.owner(run.source)
    text = Document(source=owner.source, text=tokenizer.decode(ids.tolist()))
    (found,) = find_sources([text], [passage], least=least, most=1)
    return TokenSource(owner, found[0].run, found[0].of, run.start, run.length) if found else None
