"""Is it clear what is wanted?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lavra.prompting.lint import words
from lavra.prompting.lint.catalogue import finding
from lavra.prompting.lint.finding import Finding
from lavra.prompting.lint.subject import Part, Subject

_LONG = 45
"""Words of a sentence; the longest of plain-language guides is 25, doubled for lists and code."""
_TASKS = 3


def vague(subject: Subject) -> Iterator[Finding]:
    for rule, table in (("vague-word", words.VAGUE), ("vague-amount", words.VAGUE_AMOUNT)):
        for part, match in subject.matches(table[subject.tongue]):
            if not _quoted(part, match.start()):
                yield finding(rule, part, *match.span(), f"“{match.group()}” says nothing that can be checked")


def contradictions(subject: Subject) -> Iterator[Finding]:
    for topic, wishes in words.WISHES[subject.tongue].items():
        found = [(wish, part, match) for wish, pattern in wishes.items() for part, match in subject.matches(pattern)]
        if len({wish for wish, _, _ in found}) > 1:
            first, second = found[0], next(one for one in found if one[0] != found[0][0])
            what = f"{topic}: “{first[2].group().strip()}” and “{second[2].group().strip()}”"
            yield finding("contradiction", second[1], *second[2].span(), what)
    languages = [
        (match[1].casefold(), part, match) for part, match in subject.matches(words.ANSWER_LANGUAGE[subject.tongue])
    ]
    yield from _differing(languages, "the language of the answer")
    counted: dict[str, list[tuple[str, Part, re.Match[str]]]] = {}
    for part, match in subject.matches(words.COUNTED[subject.tongue]):
        number = words.NUMBERS.get(match[1].casefold(), match[1])
        counted.setdefault(match[2].casefold(), []).append((number, part, match))
    for unit, numbers in counted.items():
        yield from _differing(numbers, f"the number of {unit}s")
    yield from _always_never(subject)


def _differing(found: list[tuple[str, Part, re.Match[str]]], topic: str) -> Iterator[Finding]:
    for value, part, match in found[1:]:
        if value != found[0][0]:
            what = f"{topic}: “{found[0][2].group().strip()}” and “{match.group().strip()}”"
            yield finding("contradiction", part, *match.span(), what)
            return


def _always_never(subject: Subject) -> Iterator[Finding]:
    always, never = {"en": ("always", "never"), "pt": ("sempre", "nunca"), "es": ("siempre", "nunca")}[subject.tongue]
    wanted = {match[1].casefold(): match for _, match in subject.matches(rf"\b{always} (\w+(?: \w+)?)")}
    for part, match in subject.matches(rf"\b{never} (\w+(?: \w+)?)"):
        if match[1].casefold() in wanted:
            yield finding("contradiction", part, *match.span(), f"“{always}” and “{never} {match[1]}”")


def negations(subject: Subject) -> Iterator[Finding]:
    """Those after which nothing says what is to be done: neither the sentence nor the next one."""
    instead = re.compile(words.INSTEAD[subject.tongue], re.IGNORECASE)
    for part in subject.parts:
        heard = re.sub(
            words.SPOKEN[subject.tongue], lambda match: " " * len(match.group()), part.prose, flags=re.IGNORECASE
        )
        for match in re.finditer(words.NEGATED[subject.tongue], heard, re.IGNORECASE):
            place = next(number for number, text in enumerate(match.groups(), 1) if text is not None)
            start, end = match.span(place)
            if _quoted(part, start):
                continue
            rest, following = _rest(part, end)
            if instead.search(rest) or instead.match(following.lstrip("-*• ")):
                continue
            yield finding("negation-without-alternative", part, start, end, f"“{match[place]}” does not say what to do")


def _rest(part: Part, end: int) -> tuple[str, str]:
    """Of the sentence in which ``end`` lies, and the next one."""
    for number, (start, text) in enumerate(part.sentences):
        if start <= end <= start + len(text):
            following = part.sentences[number + 1][1] if number + 1 < len(part.sentences) else ""
            return text[end - start :], following
    return "", ""


def several_tasks(subject: Subject) -> Iterator[Finding]:
    found: dict[str, tuple[Part, re.Match[str]]] = {}
    for task, pattern in words.TASKS[subject.tongue].items():
        begin = (
            rf"(?:{words.CLAUSE}|\b(?:{words.AND[subject.tongue]}),? )(?:{words.AND[subject.tongue]},? )?({pattern})\b"
        )
        for part, match in subject.matches(begin):
            found.setdefault(task, (part, match))
    if len(found) >= _TASKS:
        part, match = list(found.values())[-1]
        yield finding("several-tasks", part, *match.span(1), f"{len(found)} tasks in one: {', '.join(found)}")


def long_sentences(subject: Subject) -> Iterator[Finding]:
    for part in subject.parts:
        for start, text in part.sentences:
            count = len(re.findall(r"\w+", text))
            if count > _LONG and "{" not in text:
                yield finding("long-sentence", part, start, start + len(text), f"{count} words in one sentence")


def _quoted(part: Part, place: int) -> bool:
    """Whether it stands inside quotation marks of its line: then it is a word that is spoken of."""
    line = part.prose.rfind("\n", 0, place) + 1
    before = part.prose[line:place]
    return before.count('"') % 2 == 1 or before.count("“") > before.count("”") or before.count("`") % 2 == 1


RULES = (vague, contradictions, negations, several_tasks, long_sentences)
