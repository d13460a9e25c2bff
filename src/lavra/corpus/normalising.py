"""Text as it was meant: encoding repaired, Unicode composed, torn words mended, control characters and furniture gone.

Each step is switchable and counted. Spans (headings, pages) keep their places: every step says what it changed as
*edits*, and offsets are moved with them.
"""

from __future__ import annotations

import bisect
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lavra.corpus.document import Span

STEPS = ("encoding", "unicode", "controls", "furniture", "hyphens", "blanks")
"""The steps in their order: mojibake repaired (ftfy), NFC, control characters dropped, running headers and footers of
pages dropped, words torn at a line's end joined, white space at line ends and more than two newlines levelled."""

Edit = tuple[int, int, str]
"""``text[start:end]`` becomes this."""

# A letter that mojibake leaves behind: UTF-8 read as Latin-1 or Windows-1252 shows one of these before a sign.
_MOJIBAKE = re.compile("[ÂÃâÐÑØÙ][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|\ufffd")
_CONTROLS = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f\x80-\x84\x86-\x9f\u200b\u2060\ufeff]+|\u00ad(?!\n)|\r\n?|[\x0c\x85\u2028\u2029]"
)
_TORN = re.compile(r"(?<=[^\W\d_]{2})[-\u2010\u00ad]\n[ \t]*(?=[^\W\d_A-Z]{2})")
# A run of blanks is tried from its beginning and as a whole: a row of a million of them would take a day otherwise.
_BLANKS = re.compile(r"(?<![ \t\u00a0])[ \t\u00a0]++(?![^\n])|(?<=\n\n)\n+|\A\n+|\n+\Z")
_NUMBERS = re.compile(r"\d+|\b[ivxlc]+\b", re.IGNORECASE)
_FURNITURE_LINES = 2
_FURNITURE_PAGES = 4


@dataclass(frozen=True)
class Normalised:
    """A text after normalising, its spans moved along, and what each step changed (times)."""

    text: str
    spans: tuple[Span, ...]
    changes: dict[str, int]


def normalise(
    text: str, spans: Sequence[Span] = (), *, steps: Sequence[str] = STEPS, paged: bool = False
) -> Normalised:
    """A text through ``steps``; ``paged``: it comes from pages (a PDF), with furniture and torn words."""
    changes: dict[str, int] = {}
    moved = tuple(spans)
    for step in STEPS:
        if step not in steps or (step in ("furniture", "hyphens") and not paged):
            continue
        if step == "encoding":
            mended = _mended(text)
        elif step == "unicode":
            mended = text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)
        else:
            edits = _EDITS[step](text, moved)
            if edits:
                text, moved = apply(text, edits), move(moved, edits)
                changes[step] = len(edits)
            continue
        if mended != text:
            moved = move(moved, _line_edits(text, mended))
            changes[step], text = 1, mended
    return Normalised(text, moved, changes)


def apply(text: str, edits: Sequence[Edit]) -> str:
    """``text`` with the edits made; they are in order and do not overlap."""
    parts, at = [], 0
    for start, end, new in edits:
        parts += [text[at:start], new]
        at = end
    return "".join((*parts, text[at:]))


def move(spans: Sequence[Span], edits: Sequence[Edit]) -> tuple[Span, ...]:
    """Where spans stand after the edits; those of which nothing is left are gone."""
    if not edits:
        return tuple(spans)
    starts = [start for start, _, _ in edits]
    grown = [0]
    for start, end, new in edits:
        grown.append(grown[-1] + len(new) - (end - start))

    def moved(offset: int, *, closing: bool) -> int:
        index = bisect.bisect_right(starts, offset) - 1
        if index < 0:
            return offset
        start, end, new = edits[index]
        if offset == start:
            return offset + grown[index]
        if offset < end:  # inside of what was replaced: to its nearer end
            return start + grown[index] + (len(new) if closing else 0)
        return offset + grown[index + 1]

    out = []
    for span in spans:
        start, end = moved(span.start, closing=False), moved(span.end, closing=True)
        if end > start or span.end == span.start:
            out.append(replace(span, start=start, end=max(start, end)))
    return tuple(out)


def _mended(text: str) -> str:
    if not _MOJIBAKE.search(text):
        return text
    import ftfy

    config = ftfy.TextFixerConfig(
        unescape_html=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=False,
        remove_terminal_escapes=False,
        remove_control_chars=False,
        normalization=None,
    )
    return "\n".join(ftfy.fix_text(line, config) for line in text.split("\n"))


def _line_edits(before: str, after: str) -> list[Edit]:
    """Edits between two texts with the same lines, by whole lines."""
    edits, at = [], 0
    for old, new in zip(before.split("\n"), after.split("\n"), strict=False):
        if old != new:
            edits.append((at, at + len(old), new))
        at += len(old) + 1
    return edits


def _controls(text: str, spans: Sequence[Span]) -> list[Edit]:
    return [
        (*match.span(), "\n" if match[0][0] in "\r\x0c\x85\u2028\u2029" else "") for match in _CONTROLS.finditer(text)
    ]


def _hyphens(text: str, spans: Sequence[Span]) -> list[Edit]:
    return [(*match.span(), "") for match in _TORN.finditer(text)]


def _blanks(text: str, spans: Sequence[Span]) -> list[Edit]:
    return [(*match.span(), "") for match in _BLANKS.finditer(text)]


def _furniture(text: str, spans: Sequence[Span]) -> list[Edit]:
    """Lines at the top and bottom of pages that come again, numbers aside, on half of the pages or more."""
    pages = [span for span in spans if span.kind == "page"]
    if len(pages) < _FURNITURE_PAGES:
        return []
    edges: list[tuple[int, int, str]] = []
    seen: Counter[str] = Counter()
    for page in pages:
        lines, at = [], page.start
        for line in text[page.start : page.end].splitlines(keepends=True):
            if line.strip():
                lines.append((at, at + len(line), _NUMBERS.sub("0", line.strip())))
            at += len(line)
        chosen = lines if len(lines) <= 2 * _FURNITURE_LINES else lines[:_FURNITURE_LINES] + lines[-_FURNITURE_LINES:]
        edges += chosen
        seen.update({key for _, _, key in chosen})
    return [(start, end, "") for start, end, key in edges if 2 * seen[key] >= len(pages)]


_EDITS = {"controls": _controls, "furniture": _furniture, "hyphens": _hyphens, "blanks": _blanks}
