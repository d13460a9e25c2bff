"""Who speaks?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lavra.prompting.lint import words
from lavra.prompting.lint.catalogue import finding
from lavra.prompting.lint.finding import Finding
from lavra.prompting.lint.subject import Part, Subject

_FILLING = frozenset(
    {
        *(
            "a",
            "an",
            "the",
            "helpful",
            "friendly",
            "expert",
            "experienced",
            "professional",
            "senior",
            "who",
            "that",
            "and",
        ),
        *("um", "uma", "o", "experiente", "profissional", "prestativo", "útil", "especialista", "que", "e", "em", "de"),
        *("un", "una", "el", "experto", "experta", "amable", "profesional", "y", "en", "para", "in", "of", "for"),
    }
)


def missing(subject: Subject) -> Iterator[Finding]:
    system = [part for part in subject.parts if part.name == "system"]
    if not system or not system[0].text.strip():
        return
    said = words.DESCRIBED[subject.tongue]
    if not re.search(said, system[0].prose, re.IGNORECASE) and not _roles(subject):
        yield finding("no-persona", system[0], 0, min(40, len(system[0].text)), "nothing says who answers")


def conflicting(subject: Subject) -> Iterator[Finding]:
    """Roles without a word in common: “a lawyer” and “a pirate”; “an assistant” and “a legal assistant” have one."""
    roles = _roles(subject)
    for part, match, role in roles[1:]:
        if not role & roles[0][2]:
            what = f"“{roles[0][1].group().strip()}” and “{match.group().strip()}”"
            yield finding("persona-conflict", part, *match.span(), what)
            return


def _roles(subject: Subject) -> list[tuple[Part, re.Match[str], frozenset[str]]]:
    found = []
    for part, match in subject.matches(words.PERSONA[subject.tongue]):
        role = frozenset(re.findall(r"\w+", match[1].casefold())) - _FILLING
        if role:
            found.append((part, match, role))
    return found


RULES = (missing, conflicting)
