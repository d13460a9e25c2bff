"""Markdown: the text as it was written, with its headings, tables and code blocks located by markdown-it.

Only block parsing runs (the line numbers of blocks are all that is needed), which is fast and never renders
anything. YAML front matter leaves the text and becomes title, licence, owner, roles and metadata.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from lavra.corpus.document import Span
from lavra.corpus.encoding import decode
from lavra.corpus.parts import Parts, normalise, one_line, ordered
from lavra.corpus.readers.claims import claim
from lavra.corpus.settings import ReadSettings

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.S | re.M)
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*(?:\s+\"[^\"]*\")?\)")
_EMPHASIS = re.compile(r"(\*{1,3}|`+|~~|(?<!\w)_{1,3}(?=\S))(\S(?:.*?\S)?)\1")
_ATTRIBUTES = re.compile(r"\s*\{[#.:][^{}]*\}\s*$")


def read(data: bytes, name: str, settings: ReadSettings) -> list[Parts]:
    """One document; spans of headings cover their whole source line (``## Title``), labels hold the bare title."""
    text = normalise(decode(data)[0])
    fields: dict[str, Any] = {}
    if match := _FRONT_MATTER.match(text):
        loaded = _yaml(match[1])
        if isinstance(loaded, dict):
            fields, text = loaded, text[match.end() :]
    text = text.strip("\n").rstrip()
    spans = locate(text)
    first = next((s for s in spans if s.kind == "heading" and s.level == 1), None)
    parts = Parts(text, spans, first.label if first else next((s.label for s in spans if s.kind == "heading"), ""))
    claim(parts, fields)
    return [parts]


def locate(text: str) -> tuple[Span, ...]:
    """Spans of the headings, tables and code blocks of a normalised Markdown text."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    end_of_text = len(text)

    def offsets(lines: list[int]) -> tuple[int, int]:
        start, end = starts[lines[0]], min(starts[min(lines[1], len(starts) - 1)] - 1, end_of_text)
        return start, max(start, start + len(text[start:end].rstrip()))

    spans = []
    tokens = _parser().parse(text)
    for index, token in enumerate(tokens):
        if token.map is None:
            continue
        if token.type == "heading_open":
            label = plain(tokens[index + 1].content)
            start, end = offsets(token.map)
            if label:
                spans.append(Span("heading", start, end, label=label, level=int(token.tag[1])))
        elif token.type == "table_open":
            spans.append(Span("table", *offsets(token.map)))
        elif token.type in ("fence", "code_block"):
            label = token.info.split()[0] if token.info.strip() else ""
            spans.append(Span("code", *offsets(token.map), label=label))
    return ordered([span for span in spans if span.start < span.end])


def plain(heading: str) -> str:
    """A heading's source without its inline marks."""
    heading = _ATTRIBUTES.sub("", heading)
    for pattern, group in ((_LINK, r"\1"), (_EMPHASIS, r"\2"), (_EMPHASIS, r"\2")):
        heading = pattern.sub(group, heading)
    return one_line(heading)


@cache
def _parser() -> Any:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table")
    # normalize is done already and would only copy; inline parsing is never looked at.
    return parser.disable(["inline"])


def _yaml(text: str) -> object:
    """Front matter, or None where it is none. Safe loader; aliases only share, and `claim` never follows nesting."""
    import yaml

    if len(text) > 100_000:
        return None
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
