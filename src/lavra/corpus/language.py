"""Which language a text is in, offline: py3langid, asked to choose among the configured languages only.

Restricting the choice is what makes it reliable on short texts (.967 on Portuguese, Spanish and English passages);
the price is that a text in none of them would be forced into one. Neighbours are therefore let in as decoys: a text
that is most like a decoy is ``und`` (of 518 German help files 515 are, without decoys 23). Not so for short texts, a
question say, where neighbours are mistaken for each other more often than strangers come by.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

UNKNOWN = "und"
_DECOYS = ("gl", "ca", "fr", "it", "de", "nl", "ro")
_SAMPLE = 500  # characters from each of three places; passages of half of that in all are told apart without an error
MIN_LETTERS = 20
SHORT_LETTERS = 200
MIN_CONFIDENCE = 0.5


def detect_language(text: str, languages: Sequence[str] = ("pt", "es", "en"), *, min_letters: int = MIN_LETTERS) -> str:
    """The ISO 639-1 code of the language of ``text``, one of ``languages``, or ``und``: too short or unsure.

    Raises `LavraError` where one of ``languages`` is not known to the detector.
    """
    return identify(text, languages, min_letters=min_letters)[0]


def identify(
    text: str, languages: Sequence[str] = ("pt", "es", "en"), *, min_letters: int = MIN_LETTERS
) -> tuple[str, float]:
    """As `detect_language`, with the confidence, 0 to 1: of the language, or that it is none of them (0: too short)."""
    sample = sampled(text)
    letters = sum(map(str.isalpha, sample))
    if letters < min_letters:
        return UNKNOWN, 0.0
    alone, among_neighbours = identifiers(tuple(languages))
    code, confidence = (alone if letters < SHORT_LETTERS else among_neighbours).classify(sample)
    confidence = float(confidence)
    if confidence < MIN_CONFIDENCE:
        return UNKNOWN, 0.0
    return (code if code in languages else UNKNOWN), confidence


def sampled(text: str) -> str:
    """What is looked at of a text: its beginning, middle and end."""
    if len(text) <= 3 * _SAMPLE:
        return text
    middle = len(text) // 2
    return "\n".join((text[:_SAMPLE], text[middle : middle + _SAMPLE], text[-_SAMPLE:]))


@cache
def identifiers(languages: tuple[str, ...]) -> tuple[Any, Any]:
    """One that chooses among ``languages`` alone, and one that knows the decoys as well.

    They share the table of moves (48 MB), and the columns of the 130 other languages (28 MB) are let go.
    """
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    from lavra.errors import LavraError

    full = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    if unknown := sorted(set(languages) - set(full.labels)):
        raise LavraError(
            f"language {unknown[0]!r} is not one that can be told apart: choose from {sorted(set(full.labels))}"
        )

    def among(chosen: set[str]) -> Any:
        columns = [at for at, code in enumerate(full.nb_classes) if code in chosen]
        classes = [full.nb_classes[at] for at in columns]
        tables = full.nb_ptc[:, columns], full.nb_pc[columns]
        moves = full.tk_nextmove, full.tk_output
        return LanguageIdentifier(*tables, classes, *moves, norm_probs=True, tk_row=full.tk_row)

    return among(set(languages)), among({*languages, *_DECOYS})
