"""The published rules as thresholds over the figures of `kernels`: Gopher, C4 and FineWeb, each rule with its own name.

A rule that drops a document is named as in its publication, and all that apply are reported, not only the first: an
auditor asks what a rule costs, and that cannot be answered where an earlier rule hides a later one.

Gopher: Rae et al. 2021, tables A1 and section A.1.1. C4: Raffel et al. 2020, section 2.2. FineWeb: Penedo et al. 2024,
section 3.5. Where the publications leave a detail open, datatrove's code is followed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from lavra.corpus.quality.column import FIGURES

_AT = {name: index for index, name in enumerate(FIGURES)}


@dataclass(frozen=True)
class GopherQuality:
    """Thresholds of Gopher's quality rules; None switches a rule off."""

    min_words: float | None = 50
    max_words: float | None = 100_000
    min_word_length: float | None = 3
    max_word_length: float | None = 10
    max_hash_ratio: float | None = 0.1
    """``#`` a word."""
    max_ellipsis_ratio: float | None = 0.1
    """``...`` and ``…`` a word."""
    max_bullet_lines: float | None = 0.9
    max_ellipsis_lines: float | None = 0.3
    min_alpha_words: float | None = 0.8
    """Share of words with a letter in them."""
    min_stop_words: float | None = 2
    """Different stop words of the language."""


@dataclass(frozen=True)
class GopherRepetition:
    """Thresholds of Gopher's repetition rules, all shares of the text; None switches a rule off."""

    max_dup_paragraphs: float | None = 0.3
    max_dup_paragraph_chars: float | None = 0.2
    max_dup_rows: float | None = 0.3
    max_dup_row_chars: float | None = 0.2
    max_top_2: float | None = 0.20
    max_top_3: float | None = 0.18
    max_top_4: float | None = 0.16
    max_dup_5: float | None = 0.15
    max_dup_6: float | None = 0.14
    max_dup_7: float | None = 0.13
    max_dup_8: float | None = 0.12
    max_dup_9: float | None = 0.11
    max_dup_10: float | None = 0.10


@dataclass(frozen=True)
class C4:
    """C4's rules on documents; which lines it keeps is the kernel's (`kernels.measure`)."""

    min_sentences: float | None = 5
    """Sentences in the lines that are kept."""
    lorem_ipsum: bool = True
    curly_bracket: bool = True


@dataclass(frozen=True)
class FineWeb:
    """Thresholds of FineWeb's rules; None switches a rule off."""

    min_terminal_lines: float | None = 0.12
    max_short_lines: float | None = 0.67
    max_dup_line_chars: float | None = 0.01
    max_newline_ratio: float | None = 0.3
    """Newlines a word."""


RuleSet = GopherQuality | GopherRepetition | C4 | FineWeb
NAMES: dict[type[RuleSet], str] = {
    GopherQuality: "gopher_quality",
    GopherRepetition: "gopher_repetition",
    C4: "c4",
    FineWeb: "fineweb",
}


def broken(rules: RuleSet, figures: NDArray[np.float64]) -> dict[str, NDArray[np.bool_]]:
    """Which of N documents break each rule of a set: ``{rule: (N,)}``, named ``<set>.<rule>``.

    figures: (N, len(FIGURES)) of `kernels.measure`. A rule whose figure is 0 of 0 (no words, no lines) is broken only
    by what asks for a minimum.
    """
    column = {name: figures[:, index] for name, index in _AT.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {
            GopherQuality: _gopher_quality,
            GopherRepetition: _gopher_repetition,
            C4: _c4,
            FineWeb: _fineweb,
        }[type(rules)](rules, column)  # type: ignore[operator]
    return {f"{NAMES[type(rules)]}.{name}": value for name, value in found.items()}


Column = dict[str, NDArray[np.float64]]
Broken = dict[str, NDArray[np.bool_]]


def _limits(rules: RuleSet, values: dict[str, NDArray[np.float64]]) -> Broken:
    """Every ``min_X`` and ``max_X`` of a rule set against the value of its name."""
    out: Broken = {}
    for field in fields(rules):
        limit = getattr(rules, field.name)
        if limit is None or field.name not in values:
            continue
        value = values[field.name]
        if field.name.startswith("min_"):
            out[field.name] = ~(value >= limit)  # what cannot be told (0 of 0) has not reached a minimum
        else:
            out[field.name] = value > limit
    return out


def _gopher_quality(rules: GopherQuality, of: Column) -> Broken:
    length = of["real_characters"] / of["real_words"]
    return _limits(
        rules,
        {
            "min_words": of["real_words"],
            "max_words": of["real_words"],
            "min_word_length": length,
            "max_word_length": length,
            "max_hash_ratio": of["hashes"] / of["words"],
            "max_ellipsis_ratio": of["ellipses"] / of["words"],
            "max_bullet_lines": of["bullet_lines"] / of["lines"],
            "max_ellipsis_lines": of["ellipsis_lines"] / of["lines"],
            "min_alpha_words": of["alpha_words"] / of["words"],
            "min_stop_words": of["stop_words"],
        },
    )


def _gopher_repetition(rules: GopherRepetition, of: Column) -> Broken:
    characters = of["characters"]
    return _limits(
        rules,
        {
            "max_dup_paragraphs": of["dup_paragraphs"] / of["paragraphs"],
            "max_dup_paragraph_chars": of["dup_paragraph_chars"] / characters,
            "max_dup_rows": of["dup_rows"] / of["rows"],
            "max_dup_row_chars": of["dup_row_chars"] / characters,
            **{f"max_top_{n}": of[f"top_{n}"] / characters for n in (2, 3, 4)},
            **{f"max_dup_{n}": of[f"dup_{n}"] / characters for n in range(5, 11)},
        },
    )


def _c4(rules: C4, of: Column) -> Broken:
    out = _limits(rules, {"min_sentences": of["c4_sentences"]})
    if rules.lorem_ipsum:
        out["lorem_ipsum"] = of["lorem_ipsum"] > 0
    if rules.curly_bracket:
        out["curly_bracket"] = of["curly_bracket"] > 0
    return out


def _fineweb(rules: FineWeb, of: Column) -> Broken:
    return _limits(
        rules,
        {
            "min_terminal_lines": of["terminal_lines"] / of["full_lines"],
            "max_short_lines": of["short_lines"] / of["full_lines"],
            "max_dup_line_chars": of["dup_line_chars"] / (of["characters"] - of["newlines"]),
            "max_newline_ratio": of["newlines"] / of["words"],
        },
    )
