"""All rules over a prompt: a template of Lavra's, or any text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lavra.prompting.lint import clarity, examples, formats, injection, length, persona
from lavra.prompting.lint.catalogue import finding
from lavra.prompting.lint.finding import SEVERITIES, Finding
from lavra.prompting.lint.subject import Part, Room, Subject

_RULES = (*clarity.RULES, *formats.RULES, *length.RULES, *examples.RULES, *persona.RULES, *injection.RULES)
READ = ("system", "user", "repair")
"""The texts of a template that a model reads; what it says when it refuses is for people."""


def lint_template(
    texts: Mapping[str, Mapping[str, Any]],
    *,
    file: str = "",
    given: Iterable[str] | None = None,
    needed: Iterable[str] = (),
    room: Room | None = None,
) -> list[Finding]:
    """``texts[language][name]`` of a template. ``file``: the TOML that they come from, for lines; ``given`` and
    ``needed``: the variables that there are and that have to be used, None where it is not known."""
    found: list[Finding] = []
    used: dict[str, frozenset[str]] = {}
    subjects = []
    for language, entry in texts.items():
        parts = tuple(
            Part(name, language, text, _line(file, language, name, text))
            for name, text in entry.items()
            if name in READ and isinstance(text, str)
        )
        if not parts:
            continue
        known = frozenset(given) if given is not None else None
        subject = Subject(language, parts, known, frozenset(needed), room or Room())
        subjects.append(subject)
        used[language] = frozenset().union(*(part.variables for part in parts))
        found += _lint(subject)
    found += _languages(subjects, used)
    found += _examples(texts.get("examples", {}), file)
    return in_order(found)


def lint_text(
    text: str, *, name: str = "text", language: str = "en", given: Iterable[str] | None = None, room: Room | None = None
) -> list[Finding]:
    """A prompt that is one text: its slots are Jinja's."""
    known = frozenset(given) if given is not None else None
    return in_order(_lint(Subject(language, (Part(name, "", text),), known, room=room or Room())))


def in_order(found: Iterable[Finding]) -> list[Finding]:
    """The grave ones first, then as they stand."""
    return sorted(found, key=lambda one: (SEVERITIES.index(one.severity), one.line, one.column, one.rule))


def _lint(subject: Subject) -> list[Finding]:
    return [found for rule in _RULES for found in rule(subject)]


def _examples(table: Mapping[str, Any], file: str) -> list[Finding]:
    """Of a template's own pairs, as the rules read them; those chosen anew for each question have no order."""
    pairs = table.get("pairs")
    if not isinstance(pairs, list):
        return []
    lines = [
        f"Input: {' '.join(str(pair[0]).split())}\nOutput: {' '.join(str(pair[1]).split())}"
        for pair in pairs
        if isinstance(pair, list) and len(pair) == 2
    ]
    head = next((number for number, line in enumerate(file.split("\n"), 1) if line.strip() == "[examples]"), 1)
    found = list(examples.examples(Subject("", (Part("examples", "", "\n".join(lines)),))))
    if table.get("choice", "fixed") == "nearest":
        found = [one for one in found if one.rule != "examples-ordered"]
    return [replace(one, line=head, column=1) for one in found if one.rule != "no-examples"]


def _languages(subjects: Sequence[Subject], used: Mapping[str, frozenset[str]]) -> list[Finding]:
    """Variables that one language has and another lacks."""
    if any(part.syntax for subject in subjects for part in subject.parts):
        return []
    every = frozenset().union(*used.values())
    found = []
    for subject in subjects:
        lacking = sorted(every - used[subject.language])
        if lacking:
            part = subject.parts[-1]
            what = f"{', '.join(lacking)} stands in other languages, not here"
            found.append(finding("languages-differ", part, 0, min(40, len(part.text)), what))
    return found


def _line(file: str, language: str, name: str, text: str) -> int:
    """Where the text begins in the TOML, as far as it stands there word for word."""
    lines = file.split("\n")
    start = next((number for number, line in enumerate(lines) if line.strip() == f"[{language}]"), None)
    if start is None:
        return 1
    for number in range(start + 1, len(lines)):
        if lines[number].lstrip().startswith((f"{name} =", f"{name}=")):
            opened = lines[number].rstrip().endswith(('"""', "'''")) and lines[number].count('"""') != 2
            return number + (2 if opened else 1)
    return start + 1
