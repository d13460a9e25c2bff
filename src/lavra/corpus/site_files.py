"""What a site's owner says of training for its pages, in files at known places: tdmrep.json, ai.txt and robots.txt.

- ``/.well-known/tdmrep.json`` (TDM Reservation Protocol, W3C community group, final report of 2024): a list of
  ``{"location": "/press/*", "tdm-reservation": 1, "tdm-policy": "https://…"}``.
- ``/ai.txt`` (Spawning, 2023): written like robots.txt, with types such as ``*.html``; it speaks of training alone.
- ``/robots.txt`` (RFC 9309), as far as it speaks of training: groups that name a crawler which collects for it, and
  ``Content-Signal: ai-train=no``. That a path is closed to crawlers in general says nothing of training.

All match paths as RFC 9309 does: the longest pattern counts, and of two as long the one that allows; for reservations
the one that reserves.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from lavra.corpus.opening import open_file
from lavra.corpus.opting_out import POLICY, RESERVATION, SITE
from lavra.corpus.remembering import Remembered

PLACES = {"/.well-known/tdmrep.json": "tdmrep.json", "/ai.txt": "ai.txt", "/robots.txt": "robots.txt"}
"""The paths on a site, and what the files there are called."""
LARGEST = 500 * 1024
"""Bytes that count of such a file (RFC 9309, 2.5)."""
TRAINING_AGENTS = (
    *("GPTBot", "CCBot", "Google-Extended", "ClaudeBot", "anthropic-ai", "Applebot-Extended", "Bytespider"),
    *("meta-externalagent", "FacebookBot", "cohere-training-data-crawler", "cohere-ai", "AI2Bot", "Ai2Bot-Dolma"),
    *("Diffbot", "Omgilibot", "PanguBot", "Timpibot", "img2dataset", "Kangaroo Bot", "SBIntuitionsBot"),
)
"""Crawlers, and tokens that are none, by which their makers say that text is collected to train models."""
_LINE = re.compile(r"[ \t]*([A-Za-z-]+)[ \t]*:[ \t]*([^#\r\n]*)")
_SIGNAL = re.compile(r"\bai-train\s*=\s*(yes|no)\b", re.I)
_RULES = 5_000
_FOLDERS = 10_000
_CHARACTERS = 16_000_000
"""Folders whose files are remembered, and how much text of them."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """A path pattern and what it says: True for no training."""

    pattern: _Pattern
    length: int
    closed: bool
    policy: str = ""


@dataclass(frozen=True, slots=True)
class _Group:
    """The rules for some agents."""

    agents: tuple[str, ...]
    rules: tuple[_Rule, ...]


def said(files: Mapping[str, str], path: str) -> dict[str, str]:
    """What a site's ``files`` (their texts by the names in `PLACES`) say of a path, as metadata of its document."""
    found: dict[str, str] = {}
    rule = _counts(_reservations(files.get("tdmrep.json", "")), path, closed=True)
    if rule is not None:
        found[RESERVATION] = str(int(rule.closed))
        if rule.policy:
            found[POLICY] = rule.policy
    if (who := _closed(_groups(files.get("ai.txt", ""), kinds=True), path, None)) is not None:
        found[SITE] = "ai.txt"
    elif (who := _closed(_groups(files.get("robots.txt", "")), path, TRAINING_AGENTS)) is not None:
        found[SITE] = f"robots.txt ({who})"
    return found


def is_one(name: str, text: str) -> bool:
    """Whether a file called ``name`` says anything that could be understood: a text of that name may be any text."""
    if name == "tdmrep.json":
        return bool(_reservations(text))
    return any(group.rules for group in _groups(text))


def _closed(groups: tuple[_Group, ...], path: str, named: tuple[str, ...] | None) -> str | None:
    """The agent to which a path is closed; of all agents, or of those ``named`` and of signals to all of them."""
    wanted = None if named is None else {name.lower(): name for name in named}
    for group in groups:
        if wanted is None:
            who = "*" if "*" in group.agents or not any("*" in other.agents for other in groups) else None
            rules = group.rules
        else:
            who = next((wanted[agent] for agent in group.agents if agent in wanted), None)
            rules = group.rules
            if who is None and "*" in group.agents:
                who, rules = "ai-train=no", tuple(rule for rule in rules if rule.policy)
        if who is not None and (rule := _counts(rules, path, closed=False)) is not None and rule.closed:
            return "ai-train=no" if rule.policy else who
    return None


def _counts(rules: tuple[_Rule, ...], path: str, *, closed: bool) -> _Rule | None:
    """The rule that counts for a path: the longest, and of those as long one that closes, or opens."""
    matching = [rule for rule in rules if rule.pattern.match(path)]
    return max(matching, key=lambda rule: (rule.length, rule.closed == closed), default=None)


@lru_cache(maxsize=32)
def _groups(text: str, *, kinds: bool = False) -> tuple[_Group, ...]:
    """The groups of a file like robots.txt; ``kinds``: patterns such as ``*.html`` are types of files."""
    groups: list[_Group] = []
    agents: list[str] = []
    rules: list[_Rule] = []
    for line in text[:LARGEST].lstrip("\ufeff").split("\n")[:_RULES]:
        if not (match := _LINE.match(line)):
            continue
        key, value = match[1].lower(), match[2].strip()
        if key == "user-agent":
            if rules:
                groups.append(_Group(tuple(agents), tuple(rules)))
                agents, rules = [], []
            agents.append(value.lower())
        elif key in ("disallow", "allow") and agents:
            if value:
                rules.append(_Rule(_pattern(value, kinds), len(value), key == "disallow"))
            elif key == "disallow":
                rules.append(_Rule(_pattern("/", False), 0, False))  # nothing is closed
        elif key == "content-signal" and agents and (signal := _SIGNAL.search(value)):
            # Longer than any path: it is said of all of them.
            rules.append(_Rule(_pattern("/", False), 1 << 20, signal[1].lower() == "no", policy="ai-train"))
    if agents:
        groups.append(_Group(tuple(agents), tuple(rules)))
    return tuple(groups)


@lru_cache(maxsize=32)
def _reservations(text: str) -> tuple[_Rule, ...]:
    try:
        entries: Any = json.loads(text) if 0 < len(text) <= LARGEST else []
    except (ValueError, RecursionError):
        return ()
    rules = []
    for entry in (entries if isinstance(entries, list) else [entries])[:_RULES]:
        if not isinstance(entry, dict) or not isinstance(location := entry.get("location"), str):
            continue
        if (value := str(entry.get("tdm-reservation")).lower()) in ("1", "0", "true", "false"):
            policy = entry.get("tdm-policy")
            closed = value in ("1", "true")
            said_policy = policy[:500] if isinstance(policy, str) else ""
            rules.append(_Rule(_pattern(location, False), len(location), closed, said_policy))
    return tuple(rules)


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A path pattern of RFC 9309: a beginning, ``*`` for anything, ``$`` for the end. Compared without going back."""

    pieces: tuple[str, ...]
    ends: bool
    bare: bool
    """Whether it is a type of files, which what stands behind a ``?`` does not change."""

    def match(self, path: str) -> bool:
        if self.bare:
            path = path.partition("?")[0]
        first, *rest = self.pieces
        if not rest:
            return path == first if self.ends else path.startswith(first)
        at = len(first)
        if not path.startswith(first):
            return False
        for piece in rest[:-1]:
            if (found := path.find(piece, at)) < 0:
                return False
            at = found + len(piece)
        if self.ends:
            return path.endswith(rest[-1]) and len(path) - len(rest[-1]) >= at
        return path.find(rest[-1], at) >= 0


def _pattern(value: str, kinds: bool) -> _Pattern:
    bare = kinds and re.fullmatch(r"/?\*\.\w+", value) is not None
    return _Pattern(tuple(unquote(value.removesuffix("$")).split("*")), bare or value.endswith("$"), bare)


class SiteFiles:
    """The files of sites that lie below ``root`` as folders (a mirror, a site's source); None: there are none."""

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._texts: dict[Path, dict[str, str]] = {}
        self._size = 0

    def said(self, path: Path) -> dict[str, str]:
        """What the nearest folder above ``path`` that is a site says of it."""
        folder = path.parent
        while self._root is not None and (folder == self._root or self._root in folder.parents):
            if folder not in self._texts:
                if len(self._texts) >= _FOLDERS or self._size >= _CHARACTERS:
                    self._texts.clear()
                    self._size = 0
                self._texts[folder] = _texts(folder)
                self._size += sum(map(len, self._texts[folder].values()))
            if files := self._texts[folder]:
                return said(files, "/" + path.relative_to(folder).as_posix())
            folder = folder.parent
        return {}


def _texts(folder: Path) -> dict[str, str]:
    found = {}
    for place, name in PLACES.items():
        try:
            with os.fdopen(open_file(folder / place[1:]), "rb") as file:
                text = file.read(LARGEST).decode("utf-8", "replace")
        except OSError:
            continue
        if is_one(name, text):
            found[name] = text
    return found


class CrawledSites:
    """The files of the sites of a crawl, remembered by their hosts."""

    def __init__(self) -> None:
        self._texts: Remembered[str] = Remembered(held=100)

    def add(self, address: str, text: str) -> None:
        """Keep a file of a site, if it is one."""
        site, place = _parts(address)
        name, text = PLACES.get(place), text[:LARGEST]
        if name is not None and is_one(name, text):
            self._texts[f"{site}\0{name}"] = text

    def said(self, address: str) -> dict[str, str]:
        """What its site says of a page."""
        site, path = _parts(address)
        files = {name: text for name in PLACES.values() if (text := self._texts.get(f"{site}\0{name}"))}
        return said(files, path) if files else {}

    def has(self, address: str) -> bool:
        """Whether there is such a file at this address."""
        site, place = _parts(address)
        return place in PLACES and f"{site}\0{PLACES[place]}" in self._texts


def is_place(address: str) -> bool:
    """Whether an address is one at which a site's files lie."""
    return address.endswith(tuple(PLACES)) and _parts(address)[1] in PLACES


def _parts(address: str) -> tuple[str, str]:
    """An address as its site and its path, with the query."""
    try:
        parsed = urlsplit(address)
    except ValueError:
        return "", "/"
    query = f"?{parsed.query}" if parsed.query else ""
    return parsed.netloc.lower(), unquote(parsed.path or "/") + query
