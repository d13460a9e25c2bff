"""How a set of examples is taken in."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field
from typing import Literal

from lavra.corpus.labels.entry import Kind
from lavra.errors import LavraError

Personal = Literal["leave", "report", "replace", "drop"]


@dataclass(frozen=True)
class Taking:
    """``kind``: told by the rows where it is None. ``text`` and ``label``: columns of texts to classify, where they
    have other names than usual; ``many``: a text may have several labels, or none.

    ``licence``: of rows that state none. ``licences`` and ``unlicensed``: the policy, as for a corpus
    (``lavra.corpus.cleaning.settings``). ``similarity``: Jaccard from which two rows are nearly the same, over every
    ``shingle_words`` words in a row; 0 leaves near-duplicates alone. ``overlap``: words in a row that a row must share
    with an item of a test to be dropped.
    """

    kind: Kind | None = None
    text: str | None = None
    label: str | None = None
    many: bool = False
    licence: str | None = None
    licences: tuple[str, ...] = ("*",)
    unlicensed: Literal["keep", "drop"] = "drop"
    languages: tuple[str, ...] = ("pt", "es", "en")
    personal: Personal = "leave"
    personal_kinds: tuple[str, ...] | None = None
    personal_patterns: dict[str, str] = field(default_factory=dict)
    similarity: float = 0.8
    shingle_words: int = 3
    bands: int = 20
    rows: int = 6
    overlap: int = 13

    def __post_init__(self) -> None:
        if not 0 <= self.similarity <= 1:
            raise LavraError(f"similarity is a share between 0 (near-duplicates stay) and 1, not {self.similarity}")
        if self.kind not in (None, "classes") and (self.text or self.label or self.many):
            raise LavraError(f"text, label and many are of texts to classify, not of {self.kind}: leave them out.")

    def may_train(self, licence: str | None) -> bool:
        """Whether the policy lets a row with this licence be trained on."""
        if licence is None:
            return self.unlicensed == "keep"
        return any(fnmatch.fnmatchcase(licence.lower(), pattern.lower()) for pattern in self.licences)
