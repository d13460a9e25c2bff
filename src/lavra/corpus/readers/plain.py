"""Plain text, reStructuredText and whatever else is text without a reader of its own: kept as it is."""

from __future__ import annotations

import re

from lavra.corpus.document import Span
from lavra.corpus.encoding import decode
from lavra.corpus.parts import Parts, normalise, one_line
from lavra.corpus.settings import ReadSettings

# A line of text with a line of one repeated mark under it, as long at least: a title in reStructuredText and in most
# plain text documents.
_UNDERLINED = re.compile(r"^(?P<title>\S.{1,120})\n(?P<mark>[=\-~^\"'*+#])(?P=mark){2,}[ ]*$", re.M)


def read(data: bytes, name: str, settings: ReadSettings) -> list[Parts]:
    """The text, with spans for the titles that are underlined."""
    decoded, encoding = decode(data)
    text = normalise(decoded).strip("\n")
    spans = []
    levels: dict[str, int] = {}
    for match in _UNDERLINED.finditer(text):
        title = match["title"].rstrip()
        underline = match.end() - match.end("title") - 1
        if underline + 2 < len(title):
            continue
        level = levels.setdefault(match["mark"], len(levels) + 1)
        start = match.start("title")
        spans.append(Span("heading", start, start + len(title), label=one_line(title), level=min(level, 6)))
    metadata = {} if encoding == "utf-8" else {"encoding": encoding}
    return [Parts(text, tuple(spans), spans[0].label if spans else "", metadata)]
