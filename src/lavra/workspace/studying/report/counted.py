"""What a server or a judge did, counted: the names of the counters in both languages."""

from __future__ import annotations

from collections.abc import Mapping

from lavra.workspace.studying.report.words import LANGUAGES

COUNTERS: Mapping[str, str] = {
    "requests": "pedidos",
    "rate limits": "limites de taxa",
    "timeouts": "esperas sem resposta",
    "server errors": "erros do servidor",
    "connections failed": "conexões que falharam",
    "answers broken off": "respostas interrompidas",
    "answers of another form": "respostas de outra forma",
    "grades": "notas",
    "unreadable": "vereditos ilegíveis",
    "refused": "recusas",
    "pairs": "pares de notas",
    "order changed the grade": "notas que a ordem mudou",
}
"""As they are counted, which is English, and in Portuguese."""


def counted(counts: Mapping[str, int]) -> dict[str, str]:
    """By language, all that was counted in a line; a counter that is not known keeps its name."""
    lines = {
        "en": [f"{count} {what}" for what, count in counts.items()],
        "pt": [f"{count} {COUNTERS.get(what, what)}" for what, count in counts.items()],
    }
    return {language: ", ".join(lines[language]) or "–" for language in LANGUAGES}
