"""Sentences of running text, with their offsets: the unit that an answer cites and a source is quoted in.

Rules, not a model: a sentence ends at ``.``, ``!``, ``?`` or ``…`` (with closing quotes) before white space, unless
the full stop belongs to an abbreviation, an initial or a list's number; a blank line, a heading, a code fence, a list
item and a table row end one too. Enough for Portuguese, Spanish and English prose; nothing depends on its perfection.
"""

from __future__ import annotations

import re

_END = re.compile(
    r"""
      [.!?…]+ ["'”’»)\]]* (?=\s|$)                      # punctuation, with what closes behind it
    | \n \s* \n                                          # a blank line
    | \n (?= \s* (?: [-*•|] | \d+[.)] | \#{1,6} ) \s )    # before a list item, a table row, a heading
    | \n (?= ``` )
    | (?m: ^ (?: \#{1,6}\s | ``` ) .* $ )                 # a heading or a fence is a unit of its own
    """,
    re.VERBOSE,
)
_NOT_PROSE = re.compile(r"#{1,6}\s|```|~~~")
_BREAK = re.compile(r"\n\s*\n|\n\s*(?:[-*•|]|\d+[.)]|#{1,6}|```)")
_FINAL = re.compile(r"""[.!?…]["'”’»)\]]*$""")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:[A-ZÀ-Ý]|\d{1,2}|arts?|art|cf|dr|dra|dras|drs|e\.g|i\.e|etc|ex|exmo|exma|fig|figs|inc|jr|ltda|mr|mrs|ms|"
    r"no|nos|nº|núm|num|obs|p|pp|pág|págs|pag|prof|profa|sec|sr|sra|sras|sres|srs|st|tel|ud|uds|v|vol|vs)\.$",
    re.IGNORECASE,
)


def ends_sentence(text: str, at: int) -> bool:
    """Whether the punctuation that ends at ``at`` ends a sentence of ``text``, given what follows or nothing."""
    tail = text[max(0, at - 16) : at]
    return bool(_FINAL.search(tail)) and not (tail.endswith(".") and _ABBREVIATION.search(tail))


def sentences(text: str) -> list[tuple[int, int]]:
    """Offsets ``(start, end)`` of each sentence, without the white space around it."""
    found, start = [], 0
    for match in _END.finditer(text):
        end = match.end()
        if match.group()[0] in ".!?…" and not ends_sentence(text, end):
            continue
        found.append((start, end))
        start = end
    found.append((start, len(text)))
    trimmed = []
    for start, end in found:
        piece = text[start:end]
        start, end = start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())
        if start < end:
            trimmed.append((start, end))
    return trimmed


def prose(text: str) -> list[tuple[int, int]]:
    """Those sentences that say something: no headings, and nothing inside code fences."""
    found, inside = [], False
    for start, end in sentences(text):
        if text.startswith(("```", "~~~"), start):
            inside = not inside
        elif not inside and not _NOT_PROSE.match(text, start):
            found.append((start, end))
    return found


def headed(text: str) -> list[tuple[int, int, str]]:
    """The sentences of ``prose``, each with the Markdown heading above it, or ""."""
    wanted, heading, found = set(prose(text)), "", []
    for start, end in sentences(text):
        if (start, end) in wanted:
            found.append((start, end, heading))
        elif text.startswith("#", start):
            heading = text[start:end].lstrip("#").strip()
    return found


def together(text: str, end: int, start: int) -> bool:
    """Whether the sentence that begins at ``start`` follows the one that ends at ``end`` in one paragraph."""
    return not _BREAK.search(text[end:start])
