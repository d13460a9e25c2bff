"""Does it fit, and is it worth its room?"""

from __future__ import annotations

from collections.abc import Iterator

from lavra.prompting.lint.catalogue import finding
from lavra.prompting.lint.finding import Finding
from lavra.prompting.lint.subject import Subject

_MANY = 200
"""Tokens below which instructions are short whatever they are compared with."""


def too_long(subject: Subject) -> Iterator[Finding]:
    room = subject.room
    if not room.context:
        return
    own = sum(room.count(part.prose) for part in subject.parts)
    documents = room.passages if any(slot.documents for part in subject.parts for slot in part.slots) else 0
    longest = max(subject.parts, key=lambda part: len(part.text))
    if own + documents + room.answer > room.context:
        what = f"{own} tokens, {documents} of passages and {room.answer} for the answer are more than {room.context}"
        yield finding("too-long", longest, 0, min(60, len(longest.text)), what)
    elif own > _MANY and own > max(documents, room.context // 4):
        beside = f"{documents} of passages" if documents else f"{room.context} of context"
        yield finding("long-instructions", longest, 0, min(60, len(longest.text)), f"{own} tokens, beside {beside}")


RULES = (too_long,)
