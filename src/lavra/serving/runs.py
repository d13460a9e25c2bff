"""The text of a block as pieces: cited or not, code or strong or plain.

Of Markdown, only what stands inside a line is understood, and only so that a reader is spared the signs; a link becomes
its words, because an address in a document is nobody's promise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

Style = Literal["", "code", "strong"]

INLINE = re.compile(
    r"(?<!`)(?P<ticks>`+)(?P<code>[^`]+)(?P=ticks)(?!`)|\*\*(?P<strong>\S(?:.*?\S)?)\*\*|!?\[(?P<link>[^\[\]]+)\]\([^()\s]*\)",
    re.DOTALL,
)
SOFT_BREAK = re.compile(r"(?<=[^\n]{50})\n[ \t]*(?=\S)")
"""The end of a long line is where somebody's editor wrapped it; that of a short one was meant (a poem, an address)."""

RULER = re.compile(r"\|[\s:|-]+\|")


class Piece(NamedTuple):
    """A stretch of text to show."""

    text: str
    cited: bool
    style: Style = ""


def pieces(
    text: str, start: int, end: int, cited: tuple[int, int], *, markdown: bool = False, unwrap: bool = False
) -> tuple[Piece, ...]:
    """``text[start:end]`` as pieces; ``cited`` are the offsets to mark. ``unwrap`` joins lines that were wrapped."""
    found = []
    shown = text[start:end]
    if unwrap:
        shown = SOFT_BREAK.sub(lambda gap: " " * len(gap[0]), shown)  # of the same length: offsets hold
    for left, right, style in _styled(text, start, end) if markdown else [(start, end, "")]:
        first, last = max(left, cited[0]), min(right, cited[1])
        cuts = [(left, first, False), (first, last, True), (last, right, False)]
        for a, b, mark in cuts if first < last else [(left, right, False)]:
            if a < b:
                found.append(Piece(shown[a - start : b - start], mark, style))  # type: ignore[arg-type]
    return tuple(found)


def _styled(text: str, start: int, end: int) -> Iterator[tuple[int, int, str]]:
    """Offsets of what Markdown shows, without its signs."""
    position = start
    for match in INLINE.finditer(text, start, end):
        yield position, match.start(), ""
        kind = match.lastgroup or ""
        yield match.start(kind), match.end(kind), "" if kind == "link" else kind
        position = match.end()
    yield position, end, ""


def cells(text: str, start: int, end: int) -> list[list[tuple[int, int]]]:
    """Offsets of the cells of a table in Markdown, a list a row; empty where it is not one."""
    rows = []
    position = start
    for line in text[start:end].split("\n"):
        stripped = line.strip()
        if not (stripped.startswith("|") and stripped.endswith("|") and len(stripped) > 1):
            return []
        if not RULER.fullmatch(stripped):
            bars = [match.start() for match in re.finditer(r"(?<!\\)\|", line)]
            row = [(position + left + 1, position + right) for left, right in pairwise(bars)]
            rows.append([_stripped(text, left, right) for left, right in row])
        position += len(line) + 1
    return rows


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
