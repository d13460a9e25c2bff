"""Is the output's form said, and does the template do what it looks like?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches

from lavra.prompting.lint import words
from lavra.prompting.lint.catalogue import finding
from lavra.prompting.lint.finding import Finding
from lavra.prompting.lint.subject import Part, Subject

_SHOWN = {
    "json": r"[{\[]\s*\"",
    "yaml": r"^\s*\w+:\s*\S",
    "xml": r"<\w+>",
    "csv": r"\w+[,;]\s?\w+[,;]\s?\w+",
    "tsv": r"\t",
    "table": r"\|.*\|",
}
_LEFT_OVER = (
    r"\b(?:TODO|FIXME|XXX+|TBD)\b|lorem ipsum|\[(?:insert|your|inserir|inserta|seu|sua|tu) [^\]\n]{1,40}\]"
    r"|<(?:insert|your|inserir|insertar)[ _][^>\n]{1,40}>"
)
_NAMES = frozenset(
    {"question", "sources", "passage", "passages", "context", "text", "document", "input", "history", "title"}
)


def output_format(subject: Subject) -> Iterator[Finding]:
    """A format that is demanded, and neither shown nor described."""
    seen: set[str] = set()
    for part, match in subject.matches(words.FORMAT_WANTED[subject.tongue]):
        name = match[1].casefold()
        kind = "table" if name in ("tabela", "tabla") else name
        if kind in seen:
            continue
        seen.add(kind)
        shown = any(re.search(_SHOWN.get(kind, r"(?!)"), other.prose, re.MULTILINE) for other in subject.parts)
        described = any(re.search(words.FIELDS[subject.tongue], other.prose, re.IGNORECASE) for other in subject.parts)
        if not shown and not described:
            yield finding("format-not-specified", part, *match.span(1), f"{match[1]} of which form?")


def syntax(subject: Subject) -> Iterator[Finding]:
    for part in subject.parts:
        if part.syntax is not None:
            message, line = part.syntax
            lines = part.text.split("\n")
            start = sum(len(text) + 1 for text in lines[: line - 1])
            yield finding("template-syntax", part, start, start + len(lines[min(line, len(lines)) - 1]), message)


def unknown(subject: Subject) -> Iterator[Finding]:
    """Variables that nothing fills; where nobody knows what there is, only those that look misspelled."""
    for part in subject.parts:
        for name in sorted(part.variables):
            known = subject.given if subject.given is not None else _NAMES
            if name in known:
                continue
            near = get_close_matches(name, sorted(known), 1, cutoff=0.75)
            if subject.given is None and not near:
                continue
            start = next((m.start() for m in re.finditer(rf"\b{re.escape(name)}\b", part.text)), 0)
            hint = f"; {near[0]} is meant?" if near else f"; there are {', '.join(sorted(known))}"
            yield finding("placeholder-unknown", part, start, start + len(name), f"there is no {name}{hint}")


def unused(subject: Subject) -> Iterator[Finding]:
    used = frozenset().union(*(part.variables for part in subject.parts))
    if any(part.syntax for part in subject.parts):
        return
    last = subject.parts[-1]
    for name in sorted(subject.needed - used):
        yield finding("placeholder-unused", last, 0, min(40, len(last.text)), f"{name} stands nowhere")


def braces(subject: Subject) -> Iterator[Finding]:
    """``{question}``, ``$question``, ``<question>`` or ``[QUESTION]`` in a template of Jinja."""
    known = subject.given if subject.given is not None else _NAMES
    names = "|".join(sorted(map(re.escape, known)))
    pattern = rf"(?<![{{\w$])(?:\{{({names})\}}(?!\}})|\$\{{?({names})\}}?\b|\[({names})\]|<({names})>(?![^<]*</))"
    for part, match in subject.matches(pattern):
        yield finding("placeholder-braces", part, *match.span(), f"{match.group()} is sent as it stands")


def left_over(subject: Subject) -> Iterator[Finding]:
    for part, match in subject.matches(_LEFT_OVER):
        if match.group().casefold() != "todo" or match.group().isupper():  # “todo” is a word of Portuguese and Spanish
            yield finding("left-over", part, *match.span(), f"“{match.group()}” was left over")


def unclosed(subject: Subject) -> Iterator[Finding]:
    for part in subject.parts:
        for mark, pattern in (("```", r"```"), ('"""', r'"""')):
            places = [match.start() for match in re.finditer(pattern, part.text)]
            if len(places) % 2:
                yield finding("unclosed", part, places[-1], places[-1] + len(mark), f"{mark} is opened and not closed")
        yield from _tags(part)


def _tags(part: Part) -> Iterator[Finding]:
    for match in re.finditer(r"<([A-Za-z][\w-]*)>", part.prose):
        opened = len(re.findall(rf"<{re.escape(match[1])}>", part.prose))
        closed = len(re.findall(rf"</{re.escape(match[1])}>", part.prose))
        after = part.prose[match.end() :].split("\n")[0]
        stands_alone = not after.strip() or any(slot.start >= match.end() for slot in part.slots)
        if (
            opened > closed
            and stands_alone
            and match.start() == part.prose.rfind(f"<{match[1]}>")
            and closed + 1 == opened
        ):
            has_slot = any(slot.start > match.start() for slot in part.slots)
            if has_slot:
                yield finding("unclosed", part, *match.span(), f"<{match[1]}> is opened and not closed")


RULES = (output_format, syntax, unknown, unused, braces, left_over, unclosed)
