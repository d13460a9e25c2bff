"""What is done to a corpus before a model is trained on it. Every default suits documents of an organisation."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, cast

from lavra.corpus.representation.weighing import PARTS
from lavra.errors import LavraError

USUAL = ("licence", "normalise", "language", "quality", "personal", "exact", "near", "contamination", "perplexity")
"""The stages that are on where nobody says otherwise."""
STAGES = (*USUAL, "paragraphs")
"""The stages in their order. Those that drop come in this order in a report: a document is dropped by the first.
``paragraphs`` comes last, among what stays for certain: no paragraph is kept by a document that goes itself. It is off
by default, for in an organisation's documents the same paragraph in ten contracts is part of each of them."""

THRESHOLDS = {"gopher_quality.min_alpha_words": 0.5}
"""The rules' reference code counts marks as words: with the published 0.8, a tenth of Wikipedia's paragraphs and all of
a manual with tables and commands would go."""
RULE_SETS = ("gopher_quality", "gopher_repetition", "c4", "fineweb")
Kept = Literal["longest", "newest", "licence"]


@dataclass(frozen=True)
class Cleaning:
    """The settings of one cleaning."""

    stages: tuple[str, ...] = USUAL
    languages: tuple[str, ...] = ("pt", "es", "en")
    other_languages: Literal["keep", "drop"] = "drop"
    """What happens to documents in none of ``languages``; those too short to tell are kept."""
    rules: tuple[str, ...] = ("gopher_quality", "gopher_repetition")
    """Rule sets a document has to pass. FineWeb's and C4's were made for pages of the web: the one drops a manual for
    a line that comes twice, the other whatever has a curly bracket."""
    thresholds: dict[str, float] = field(default_factory=dict)
    """Thresholds to change, by ``<set>.<rule>`` (see ``lavra.corpus.quality.rules``); `THRESHOLDS` hold otherwise."""
    classifier: str | None = None
    """Directory of a quality classifier of one's own (`lavra.corpus.quality.classifier`)."""
    classifier_threshold: float = 0.5
    """Probability of being good below which a document is dropped."""
    personal: Literal["replace", "drop", "report"] = "replace"
    personal_kinds: tuple[str, ...] | None = None
    """Kinds of personal data; None: all that are known."""
    personal_patterns: dict[str, str] = field(default_factory=dict)
    """The user's own kinds: a regular expression by name."""
    shingle_words: int = 5
    bands: int = 20
    rows: int = 6
    similarity: float = 0.8
    """Jaccard similarity from which two documents are near-duplicates."""
    keep: Kept = "longest"
    """Which document of a cluster stays, and which keeps a paragraph that several have; where that is equal, the one
    that comes first."""
    paragraph_words: int = 10
    """Words of a paragraph from which it is looked for in other documents: headings and cells of tables are alike by
    right."""
    paragraph_left: float = 0.3
    """Share of a document that has to stay once others keep its paragraphs; one of which less is left is dropped."""
    evaluation_sets: dict[str, str] = field(default_factory=dict)
    """Files with evaluation items, by name: documents that hold one are dropped."""
    overlap: int = 13
    """Words in a row that a document must share with an evaluation item."""
    contaminated: Literal["drop", "flag"] = "drop"
    perplexity_model: str | None = None
    """A model that reads what stays, and by whose surprise documents are dropped; without one the stage is off."""
    perplexity_tokens: int = 512
    """Tokens of each document that are read, from its beginning."""
    perplexity_percentiles: tuple[float, float] = (0.0, 100.0)
    """What stays of each language, by bits per byte: (0, 67) is CCNet's head and middle."""
    perplexity_least: float | None = None
    perplexity_most: float | None = None
    """Bits per byte below and above which a document is dropped."""
    licences: tuple[str, ...] = ("*",)
    """SPDX identifiers that may be trained on; ``*`` stands for any text in one."""
    unlicensed: Literal["keep", "drop"] = "drop"
    """What happens to documents that state no licence."""
    opt_outs: Literal["keep", "drop"] = "drop"
    """What happens to documents whose owner has opted out of training (``lavra.corpus.opting_out``)."""
    balance: str | None = None
    """What the mixture is balanced by: one of `PARTS`."""
    balance_alpha: float = 0.5
    """1 leaves the parts as they are, 0 makes them equal."""

    def __post_init__(self) -> None:
        for name, values, known in (
            ("stages", self.stages, STAGES),
            ("rules", self.rules, RULE_SETS),
        ):
            if unknown := [value for value in values if value not in known]:
                raise LavraError(f"{name} has no {unknown[0]!r}: choose from {', '.join(known)}")
        if self.balance is not None and self.balance not in PARTS:
            raise LavraError(f"balance has no {self.balance!r}: choose from {', '.join(PARTS)}")
        if not 0 <= self.balance_alpha <= 1:
            raise LavraError(f"balance_alpha is between 0 (all parts alike) and 1 (as it is), not {self.balance_alpha}")
        if not 0 < self.similarity <= 1:
            raise LavraError(f"similarity is a share between 0 and 1, not {self.similarity}")
        low, high = self.perplexity_percentiles
        if not 0 <= low < high <= 100:
            raise LavraError(f"perplexity_percentiles are two shares of a hundred, the lower first, not {low}, {high}")
        least, most = self.perplexity_least, self.perplexity_most
        if least is not None and most is not None and least >= most:
            raise LavraError(f"perplexity_least is less than perplexity_most, not {least} and {most}")
        if not 0 < self.paragraph_left <= 1:
            raise LavraError(f"paragraph_left is a share above 0 and at most 1, not {self.paragraph_left}")
        for name in ("shingle_words", "bands", "rows", "overlap", "paragraph_words", "perplexity_tokens"):
            if getattr(self, name) < 1:
                raise LavraError(f"{name} is 1 or more, not {getattr(self, name)}")

    def has(self, stage: str) -> bool:
        """Whether a stage is switched on; without a model nothing is known of perplexity."""
        return stage in self.stages and (stage != "perplexity" or self.perplexity_model is not None)

    def may_train(self, licence: str | None) -> bool:
        """Whether the policy lets a document with this licence be trained on."""
        if licence is None:
            return self.unlicensed == "keep"
        return any(fnmatch.fnmatchcase(licence.lower(), pattern.lower()) for pattern in self.licences)

    def rule_sets(self) -> list[Any]:
        """The rule sets that are switched on, with the thresholds as set. Raises LavraError for an unknown rule."""
        from lavra.corpus.quality import rules

        made = []
        known: list[str] = []
        thresholds = {**THRESHOLDS, **self.thresholds}
        for kind, name in rules.NAMES.items():
            own = {field.name for field in fields(kind)}
            known += [f"{name}.{rule}" for rule in sorted(own)]
            changed = {key.split(".", 1)[1]: value for key, value in thresholds.items() if key.split(".", 1)[0] == name}
            if set(changed) <= own and name in self.rules:
                made.append(replace(kind(), **cast(Any, changed)))
        if unknown := sorted(set(self.thresholds) - set(known)):
            raise LavraError(f"there is no rule {unknown[0]!r}: choose from {', '.join(known)}")
        return made
