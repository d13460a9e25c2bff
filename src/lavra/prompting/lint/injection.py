"""What can a stranger's words do here? Slots that the house fills (``count``, ``language``) are not looked at."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace

from lavra.prompting.lint import words
from lavra.prompting.lint.catalogue import finding
from lavra.prompting.lint.finding import Finding
from lavra.prompting.lint.subject import Part, Slot, Subject

_PAIRS = (
    ("```", "```"),
    ('"""', '"""'),
    ("<<<", ">>>"),
    ("'''", "'''"),
    ("===", "==="),
    ("---", "---"),
    ("###", "###"),
)
_LABEL = re.compile(r"[:：]\s*$|^\s*#{1,6} .*$")
_SECRETS = (
    ("an API key", r"\b(?:sk-(?:proj-|ant-)?[A-Za-z0-9_-]{20,}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{30,})"),
    ("an API key", r"\b(?:hf_[A-Za-z0-9]{30,}|xox[baprs]-[A-Za-z0-9-]{10,}|AIza[\w-]{35}|glpat-[\w-]{20,})"),
    ("a private key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    (
        "a password",
        r"\b(?:password|passwd|passphrase|senha|contraseña|api[_ ]?key|secret|token)\s*(?:(?:is|é|es)\s*:?|[=:])"
        r"\s*[\"']?(?=\S*[\d!@#$%&*_])[^\s\"'{}<>]{6,}",
    ),
    ("a password in an address", r"\b[a-z][a-z0-9+.-]*://[^\s:/@{}]+:[^\s:/@{}]{3,}@"),
    ("a bearer token", r"\bBearer\s+[A-Za-z0-9_\-.]{20,}"),
)
_CONTROL = (
    r"<\|[a-z_]+\|>|\[/?INST\]|<</?SYS>>|</?s>(?![a-z])|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>|<[｜|][^>\n]{2,40}[｜|]>"
    r"|^(?:Human|Assistant|User|System): ?$"
)


def slots(subject: Subject) -> Iterator[Finding]:
    for part in subject.parts:
        for slot in part.slots:
            if slot.trusted:
                continue
            if part.name == "system":
                yield finding("slot-in-system", part, slot.start, slot.end, f"{slot.expression} is a stranger's words")
            if not slot.documents and slot is part.slots[-1] and _alone(part, slot):
                continue  # a turn that is nothing but the question
            how = enclosure(part, slot)
            if how == "bare":
                yield finding("slot-not-delimited", part, slot.start, slot.end, f"nothing marks off {slot.expression}")
            elif how == "labelled" and slot.documents:
                yield finding("slot-only-labelled", part, slot.start, slot.end, f"nothing closes {slot.expression}")


def _alone(part: Part, slot: Slot) -> bool:
    return not part.prose.strip()


def enclosure(part: Part, slot: Slot) -> str:
    """``closed``: marks around it, at any distance where they are tags; ``labelled``: a label right before it;
    ``bare``: neither."""
    before, after = part.prose[: slot.start], part.prose[slot.end :]
    for tag in re.findall(r"<([A-Za-z][\w-]*)(?:\s[^<>]*)?>", before):
        opened = len(re.findall(rf"<{re.escape(tag)}[\s>]", before)) > len(re.findall(rf"</{re.escape(tag)}>", before))
        if opened and f"</{tag}>" in after:
            return "closed"
    for begin, end in _PAIRS:
        if before.count(begin) % 2 == 1 and end in after:
            return "closed"
    near = before.rstrip(" \n\t")
    line = near.rsplit("\n", 1)[-1]
    quoted = before[-1:] in ('"', "“", "«", "'") and after[:1] in ('"', "”", "»", "'")
    if quoted:
        return "closed"
    return "labelled" if _LABEL.search(line) else "bare"


def undeclared(subject: Subject) -> Iterator[Finding]:
    """Documents, and no word that they are data. A warning where nothing marks them off either."""
    first = next(((part, slot) for part in subject.parts for slot in part.slots if slot.documents), None)
    if first is None:
        return
    said = words.DATA_DECLARED[subject.tongue]
    if any(re.search(said, part.prose, re.IGNORECASE) for part in subject.parts):
        return
    part, slot = first
    bare = any(enclosure(p, s) == "bare" for p in subject.parts for s in p.slots if s.documents)
    what = f"nothing says that {slot.expression} gives no orders"
    yield finding("data-not-declared", part, slot.start, slot.end, what, severity="warning" if bare else None)


def orders_after(subject: Subject) -> Iterator[Finding]:
    """Instructions behind a document that nothing closes."""
    begin = re.compile(rf"{words.CLAUSE}({words.ORDERS[subject.tongue]})", re.IGNORECASE)
    for part in subject.parts:
        open_ones = [slot for slot in part.slots if slot.documents and enclosure(part, slot) != "closed"]
        if not open_ones:
            continue
        last = open_ones[-1].end
        match = begin.search(part.prose, last)
        if match:
            yield finding("instructions-after-data", part, *match.span(1), f"“{match[1].strip()}” comes after the text")


def secrets(subject: Subject) -> Iterator[Finding]:
    """One for each place, by the most telling of its kinds."""
    for part in subject.parts:
        seen: list[tuple[int, int]] = []
        for kind, pattern in _SECRETS:
            for match in re.finditer(pattern, part.text, re.IGNORECASE if kind == "a password" else 0):
                if any(start < match.end() and match.start() < end for start, end in seen):
                    continue
                seen.append(match.span())
                found = finding("secret", part, *match.span(), f"it looks like {kind}")
                yield replace(found, excerpt=f"{found.excerpt[:6]}…")  # a report is no place for it either


def control(subject: Subject) -> Iterator[Finding]:
    for part, match in subject.matches(_CONTROL):
        yield finding("control-token", part, *match.span(), f"{match.group().strip()} belongs to a chat template")


def hidden(subject: Subject) -> Iterator[Finding]:
    """Characters of format: zero width, direction, tags; but what joins letters of scripts that need it, and emoji."""
    for part in subject.parts:
        for place, character in enumerate(part.text):
            if unicodedata.category(character) == "Cf" and character not in "\u00ad\u200c\u200d":
                name = unicodedata.name(character, "without a name")
                yield finding("hidden-character", part, place, place + 1, f"U+{ord(character):04X} {name}")
                break


RULES = (slots, undeclared, orders_after, secrets, control, hidden)
