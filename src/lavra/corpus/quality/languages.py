"""What the rules need to know of a language: stop words and phrases. Data, so that a language is a line.

English stop words are Gopher's own eight. The other languages' are their commonest eight function words with the same
role, which a page of prose cannot do without; Gopher asks for two different ones. C4's phrases of notices are given in
each language: a Portuguese page says "política de privacidade" where an English one says "privacy policy".
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LanguageRules:
    """Words of one language that the rules look for."""

    stop_words: tuple[str, ...]
    notices: tuple[str, ...]
    """Lower-case phrases whose lines C4 drops: cookies, terms of use."""


LANGUAGES: dict[str, LanguageRules] = {
    "en": LanguageRules(
        stop_words=("the", "be", "to", "of", "and", "that", "have", "with"),
        notices=("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"),
    ),
    "pt": LanguageRules(
        stop_words=("a", "o", "de", "que", "e", "do", "da", "em", "um", "para", "com", "não", "uma", "os", "no", "se"),
        notices=(
            "termos de uso",
            "termos de utilização",
            "política de privacidade",
            "política de cookies",
            "usa cookies",
            "utiliza cookies",
            "uso de cookies",
            "utilização de cookies",
            "usamos cookies",
            "utilizamos cookies",
        ),
    ),
    "es": LanguageRules(
        stop_words=("el", "la", "de", "que", "y", "en", "un", "ser", "se", "no", "los", "del", "por", "con", "una"),
        notices=(
            "términos de uso",
            "condiciones de uso",
            "política de privacidad",
            "política de cookies",
            "usa cookies",
            "utiliza cookies",
            "uso de cookies",
            "usamos cookies",
            "utilizamos cookies",
        ),
    ),
}

CITATIONS = ("[edit]", "[citation needed]")
PLACEHOLDER = "lorem ipsum"
SCRIPT = "javascript"


def rules_of(language: str) -> LanguageRules | None:
    """What is known of a language (its first two letters), or None: the rules about words do not apply then."""
    return LANGUAGES.get(language.split("-")[0].lower())
