"""What a corpus is made of, document by document: one pass over the texts that are kept.

Words are those of a regular expression, in lower case. A dialect is told by words that only one of the two writes; a
document with fewer than ``_MARKERS`` of them, or with both alike, is not told. N documents.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from lavra.corpus.document import Document

WORD = r"[^\W\d_]+(?:-[^\W\d_]+)*"
_WORD = re.compile(WORD)
_MARKERS = 2
_AHEAD = 2.0
"""How many times as many markers of one dialect than of the other a document needs."""
LENGTHS = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)


@cache
def terms() -> dict[str, Any]:
    """The words of dialects and of groups of people; data, to be read and disputed."""
    return tomllib.loads(files(__package__).joinpath("terms.toml").read_text(encoding="utf-8"))


@dataclass
class Representation:
    """Counts over the documents of a corpus; ``{name: (documents, bytes)}`` where both are counted."""

    languages: dict[str, tuple[int, int]] = field(default_factory=dict)
    dialects: dict[str, tuple[int, int]] = field(default_factory=dict)
    sources: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By the site a document came from, else its folder."""
    licences: dict[str, tuple[int, int]] = field(default_factory=dict)
    years: dict[str, tuple[int, int]] = field(default_factory=dict)
    lengths: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By characters: up to 100, up to 300 …"""
    topics: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Clusters of documents, each named by the terms that tell it from the others."""
    people: dict[str, dict[str, int]] = field(default_factory=dict)
    """Mentions, by kind and group."""

    def shares(self, kind: str) -> dict[str, float]:
        """The share of a kind's mentions that each of its groups has."""
        total = sum(self.people.get(kind, {}).values())
        return {group: count / total for group, count in self.people.get(kind, {}).items()} if total else {}


def count(
    documents: Iterable[Document], sample: int = 3_000
) -> tuple[Representation, list[str], list[tuple[int, int]]]:
    """The counts, a sample of texts for topics (every so many-th document, cut), and what each stands for."""
    out = Representation()
    texts: list[str] = []
    weights: list[tuple[int, int]] = []
    step = 1
    mentions: dict[str, Counter[str]] = {kind: Counter() for kind in terms()["people"]}
    for seen, document in enumerate(documents):
        size = len(document.text.encode("utf-8", "surrogatepass"))
        for table, key in (
            (out.languages, document.language),
            (out.licences, document.licence or "none stated"),
            (out.sources, source_of(document)),
            (out.years, (document.modified or "")[:4] or "unknown"),
            (out.lengths, _length(len(document.text))),
        ):
            _add(table, key, size)
        words = Counter(word.lower() for word in _WORD.findall(document.text))
        if dialect := dialect_name(words, document.language):
            _add(out.dialects, dialect, size)
        _mention(mentions, words, document.language)
        if seen % step == 0:
            texts.append(document.text[:4_000])
            weights.append((1, size))
            if len(texts) >= 2 * sample:
                texts, weights, step = texts[::2], weights[::2], step * 2
    out.people = {kind: dict(counts) for kind, counts in mentions.items() if counts}
    for name in ("languages", "dialects", "sources", "licences"):
        setattr(out, name, dict(sorted(getattr(out, name).items(), key=lambda item: (-item[1][1], item[0]))))
    out.years = dict(sorted(out.years.items()))
    out.lengths = {name: out.lengths[name] for name in map(_length, (*LENGTHS, LENGTHS[-1] + 1)) if name in out.lengths}
    return out, texts, weights


def dialect_of(words: Mapping[str, int], language: str) -> str | None:
    """The dialect that a document's words tell, or None."""
    marks = {
        dialect: sum(words.get(word, 0) for word in markers)
        for dialect, markers in terms()["dialects"].get(language, {}).items()
    }
    if not marks:
        return None
    (best, most), *others = sorted(marks.items(), key=lambda item: -item[1])
    return best if most >= _MARKERS and most >= _AHEAD * max((n for _, n in others), default=0) else None


def dialect_name(words: Mapping[str, int], language: str) -> str:
    """As a report names a document's dialect; "" in a language without any."""
    if language not in terms()["dialects"]:
        return ""
    return dialect_of(words, language) or f"{language}, not told"


def source_of(document: Document) -> str:
    """The site a document came from, else the root and first folder of its name."""
    host = urlsplit(document.metadata.get("url", "")).hostname
    if host:
        return host.removeprefix("www.")
    return "/".join(document.source.partition("#")[0].split("/")[:2][: max(1, document.source.count("/"))])


def _mention(mentions: dict[str, Counter[str]], words: Mapping[str, int], language: str) -> None:
    for kind, groups in terms()["people"].items():
        for group, lists in groups.items():
            if group != "reference" and (found := sum(words.get(word, 0) for word in lists.get(language, ()))):
                mentions[kind][group] += found


def _length(characters: int) -> str:
    for limit in LENGTHS:
        if characters <= limit:
            return f"≤ {limit:,}"
    return f"> {LENGTHS[-1]:,}"


def _add(table: dict[str, tuple[int, int]], key: str, size: int) -> None:
    documents, total = table.get(key, (0, 0))
    table[key] = documents + 1, total + size
