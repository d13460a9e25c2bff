"""A text with the gender of its people exchanged: counterfactual augmentation, the mitigation that works in data.

Both forms of each sentence, and a model finds neither likelier (Lu et al. 2018; Zhao et al. 2018, section 4.1). English
is a list of pairs, and a rule for "her" (his or him) and "his" (her or hers). Portuguese has agreement, and none of it
is in a list: where the gender of a person's word changes, so do the articles and adjectives of its noun phrase, and
what a copula says of it; :mod:`lavra.evaluation.bias.agreement` has those rules.

Names of persons stay, so that "Maria" may be "he" in the other form. It is a rewriting by rules:
``benchmarks/swaps.py`` says how often it gives the very sentence that people wrote (MT-GenEval).
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files

from lavra.corpus.language import detect_language
from lavra.errors import LavraError

LANGUAGES = ("en", "pt")
_NO_NOUN = frozenset(
    """and or but to from in on at of for with by as than then that who when while if because so not never again away
    back up down out off over into about after before is was are were be been has had have will would can could did
    does do a an the this these those some any very too also only there here today yesterday tomorrow all tenderly home
    alone""".split()  # noqa: SIM905
)
"""Words before which "her" is him: no noun begins with them."""
WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


def swapped(text: str, language: str) -> str | None:
    """The text with masculine and feminine exchanged; None where nothing in it has a gender that is known.

    Raises:
        LavraError: for a language without rules.
    """
    if language == "en":
        changed = _english(text)
    elif language == "pt":
        from lavra.evaluation.bias.agreement import portuguese

        changed = portuguese(text)
    else:
        raise LavraError(f"gender cannot be exchanged in {language!r}: there are rules for {' and '.join(LANGUAGES)}.")
    return changed if changed != text else None


def swapped_any(text: str) -> str | None:
    """The same for a text in whichever of the languages it is."""
    return swapped(text, detect_language(text, LANGUAGES, min_letters=4) if text.strip() else "en") if text else None


@lru_cache
def pairs(language: str) -> dict[str, str]:
    """Both ways, in small letters; of a word with two counterparts the first of the list counts."""
    text = files(__package__).joinpath(f"swaps_{language}.txt").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            one, two = line.split()
            found.setdefault(one, two)
            found.setdefault(two, one)
            if language == "pt" and one[-1] in "oe" and two[-1] == "a":
                found.setdefault(f"{one}s", f"{two}s")
                found.setdefault(f"{two}s", f"{one}s")
    return found


@lru_cache
def masculine(language: str) -> frozenset[str]:
    """Those of the words that are masculine."""
    text = files(__package__).joinpath(f"swaps_{language}.txt").read_text(encoding="utf-8")
    firsts = [line.split()[0] for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return frozenset([*firsts, *(f"{one}s" for one in firsts if one[-1] in "oe")])


def like(word: str, model: str) -> str:
    """``word`` in the case of ``model``."""
    if len(model) > 1 and model.isupper():
        return word.upper()
    return word[0].upper() + word[1:] if model[0].isupper() else word


def _english(text: str) -> str:
    known, found, end = pairs("en"), [], 0
    matches = list(WORD.finditer(text))
    for number, match in enumerate(matches):
        word, plain = match.group(), match.group().lower()
        after = matches[number + 1] if number + 1 < len(matches) else None
        between = text[match.end() : after.start()] if after is not None else "."
        new = _of(plain, after.group().lower() if after is not None and between.isspace() else "", known)
        found += [text[end : match.start()], like(new, word) if new else word]
        end = match.end()
    return "".join([*found, text[end:]])


def _of(word: str, following: str, known: dict[str, str]) -> str | None:
    if word.endswith(("'s", "’s")) and (new := _of(word[:-2], following, known)):
        return new + word[-2:]
    if word == "her":
        return "his" if following and following not in _NO_NOUN else "him"
    if word == "his":
        return "her" if following and following not in _NO_NOUN else "hers"
    if word in ("him", "hers"):
        return "her" if word == "him" else "his"
    return known.get(word)
