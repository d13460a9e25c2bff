"""Project Gutenberg's texts: the book without the header and the licence around it.

Title, author and language come from the header. The licence is what Project Gutenberg says of nearly all its books,
that they are in the public domain in the USA; a book whose header says that it is copyrighted claims nothing.
"""

from __future__ import annotations

import re

from lavra.corpus.parts import Parts, one_line
from lavra.corpus.readers import plain
from lavra.corpus.settings import ReadSettings

LICENCE = "LicenseRef-public-domain-USA"
"""There is no SPDX identifier for it: SPDX names licences, and this is the absence of one in one country."""
MARK = re.compile(
    rb"^(?:\xef\xbb\xbf)?\W{0,40}(?:The |This )?Project Gutenberg(?:'s|\xe2\x80\x99s)? |"
    rb"^\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG",
    re.I | re.M,
)
_START = re.compile(
    r"^\*{3} ?START OF TH(?:E|IS) PROJECT GUTENBERG[^\n]*(?:\n[^\n]+){0,3}?\*{3}[ ]*$"
    r"|^\*END[* ]?THE SMALL PRINT[^\n]*$",
    re.I | re.M,
)
_END = re.compile(
    r"^\*{3} ?END OF TH(?:E|IS) PROJECT GUTENBERG|^End of (?:the )?Project Gutenberg", re.I | re.M
)  # fmt: skip
_FIELD = re.compile(
    r"^(Title|Author|Language|Release date|Translator):[ \t]*(\S[^\n]*(?:\n[ \t]+\S[^\n]*)*)", re.I | re.M
)
_PRODUCED = re.compile(r"\s*(?:Produced by|E-text prepared by|This e-?(?:book|text) was)\b[^\n]*(?:\n[^\n]+)*", re.I)
_LANGUAGES = {
    "portuguese": "pt", "english": "en", "spanish": "es", "french": "fr", "german": "de", "italian": "it",
    "dutch": "nl", "latin": "la", "finnish": "fi", "catalan": "ca", "galician": "gl", "esperanto": "eo",
}  # fmt: skip


def read(data: bytes, name: str, settings: ReadSettings) -> list[Parts]:
    """One document, the book."""
    (whole,) = plain.read(data, name, settings)
    start = _START.search(whole.text, 0, 60_000)
    if start is None:
        return [whole]  # it speaks of Project Gutenberg, but is none of its books
    header = whole.text[: start.start()]
    ends = list(_END.finditer(whole.text, start.end()))
    end = ends[0].start() if ends else len(whole.text)
    if (produced := _PRODUCED.match(whole.text, start.end(), end)) is not None and produced.end() - start.end() < 2_000:
        begin = produced.end()
    else:
        begin = start.end()
    book = whole.text[begin:end]
    (parts,) = plain.read(book.encode("utf-8"), name, settings)
    fields = {match[1].lower(): one_line(match[2]) for match in _FIELD.finditer(header)}
    parts.title = fields.get("title", parts.title)[:300]
    parts.owner = fields.get("author")
    parts.language = _LANGUAGES.get(fields.get("language", "").lower().split(",")[0])
    copyrighted = re.search(r"\bcopyrighted Project Gutenberg\b", header, re.I)
    parts.licence = None if copyrighted else LICENCE
    parts.metadata = {**whole.metadata, **parts.metadata}
    if released := fields.get("release date"):
        parts.metadata["released"] = released.split("[")[0].strip()[:100]
    if number := re.search(r"\[e(?:book|text) ?#(\d+)\]", header, re.I):
        parts.metadata["gutenberg"] = number[1]
    return [parts]
