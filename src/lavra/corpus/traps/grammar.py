"""Fictitious sentences without a model: a small grammar a language (``grammar.toml``), and names that nobody has.

A sentence of so many words is made of clauses. What varies (names, places, things, numbers) is drawn evenly, so that a
sentence holds some hundred bits of chance: nobody writes the same by accident, and a model that expects it has read it.
"""

from __future__ import annotations

import random
import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from lavra.errors import LavraError

_SLOT = re.compile(r"\{(\w+)\}")


def languages() -> list[str]:
    """Those that have a grammar."""
    return sorted(_grammars())


def sentence(language: str, words: int, draw: random.Random) -> str:
    """One sentence of about ``words`` words, of as many clauses as it takes. Raises LavraError without a grammar."""
    rules = _rules(language)
    found = _fill(draw.choice(rules["clause"]), rules, draw)
    while len(found.split()) < words:
        joined = draw.choice(rules["joint"])
        found += joined + _fill(draw.choice(rules["clause"]), rules, draw)
    kept = found.split()
    # Cut to length, so that twins are equally long; a cut sentence is no worse as a trap.
    return (kept[0][0].upper() + kept[0][1:] + " " + " ".join(kept[1:words])).strip().rstrip(",;:") + "."


def secret_formats(language: str) -> list[str]:
    """Formulas of canaries, with {name} and {secret}. Raises LavraError without a grammar."""
    return list(_rules(language)["secret"])


def fill(pattern: str, language: str, draw: random.Random) -> str:
    """``pattern`` with its slots filled; ``{secret}`` stays."""
    return _fill(pattern, _rules(language), draw)


def _fill(pattern: str, rules: dict[str, Any], draw: random.Random) -> str:
    def value(match: re.Match[str]) -> str:
        slot = match[1]
        if slot == "secret":
            return match[0]
        if slot == "number":
            return str(draw.randint(13, 9_870))
        if slot == "name":
            return " ".join(_name(rules, draw) for _ in range(2))
        if slot == "town":
            return _name(rules, draw)
        return _fill(draw.choice(rules[slot]), rules, draw)

    return _SLOT.sub(value, pattern)


def _name(rules: dict[str, Any], draw: random.Random) -> str:
    return "".join(draw.choice(rules["syllable"]) for _ in range(draw.choice((2, 3, 3)))).capitalize()


def _rules(language: str) -> dict[str, Any]:
    try:
        return _grammars()[language]
    except KeyError:
        raise LavraError(
            f"there is no grammar for {language!r}: choose one of {', '.join(languages())} as --language."
        ) from None


@cache
def _grammars() -> dict[str, dict[str, Any]]:
    return tomllib.loads(files(__package__).joinpath("grammar.toml").read_text(encoding="utf-8"))
