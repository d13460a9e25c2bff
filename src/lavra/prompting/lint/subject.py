"""A prompt as the rules see it: the texts of one language, their slots, and the prose between them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from jinja2 import Environment, TemplateSyntaxError, meta, nodes

_JINJA = Environment(keep_trailing_newline=True, autoescape=False)  # it reads templates, and renders none
TRUSTED = frozenset({"count", "language", "number", "loop", "today", "date"})
"""Variables that the house fills; any other may hold a stranger's words."""
OWN = frozenset(
    {"sources", "source", "passage", "passages", "document", "documents", "context", "text", "page", "email"}
)
"""Variables that hold documents rather than what the reader asked."""


@dataclass(frozen=True)
class Slot:
    """``{{ expression }}`` at ``start`` to ``end``; ``root``: the variable behind it, beyond loops."""

    start: int
    end: int
    expression: str
    root: str

    @property
    def trusted(self) -> bool:
        return self.root in TRUSTED or self.expression.rpartition(".")[2].strip() in TRUSTED

    @property
    def documents(self) -> bool:
        return self.root in OWN


@dataclass(frozen=True)
class Part:
    """One text: ``name`` is ``system``, ``user`` …; ``line``: of its first character in the file, from 1."""

    name: str
    language: str
    text: str
    line: int = 1

    @property
    def label(self) -> str:
        return f"[{self.language}] {self.name}" if self.language else self.name

    @cached_property
    def syntax(self) -> tuple[str, int] | None:
        """What is wrong with the template and in which of its lines, if anything."""
        try:
            _JINJA.parse(self.text)
        except TemplateSyntaxError as error:
            return str(error.message), error.lineno
        return None

    @cached_property
    def variables(self) -> frozenset[str]:
        """Those that whoever renders it has to give."""
        return frozenset() if self.syntax else frozenset(meta.find_undeclared_variables(_JINJA.parse(self.text)))

    @cached_property
    def _pieces(self) -> list[tuple[str, int, int]]:
        """``variable``, ``block`` and ``comment`` with their places; what stands between is prose."""
        if self.syntax:
            return []
        found: list[tuple[str, int, int]] = []
        place, begun = 0, 0
        for _, kind, value in _JINJA.lex(self.text):
            name, _, edge = kind.rpartition("_")
            if edge == "begin" and name in ("variable", "block", "comment"):
                begun = place
            place += len(value)
            if edge == "end" and name in ("variable", "block", "comment"):
                found.append((name, begun, place))
        return found

    @cached_property
    def slots(self) -> list[Slot]:
        loops = {} if self.syntax else dict(self._loops())
        found = []
        for kind, start, end in self._pieces:
            if kind == "variable":
                expression = self.text[start:end].strip("{}- \n")
                name = re.match(r"\w*", expression)
                root = name.group() if name else ""
                while root in loops and loops[root] != root:
                    root = loops.pop(root)
                found.append(Slot(start, end, expression.partition("|")[0].strip(), root))
        return found

    def _loops(self) -> Iterator[tuple[str, str]]:
        for loop in _JINJA.parse(self.text).find_all(nodes.For):
            inner = loop.iter
            while isinstance(inner, (nodes.Filter, nodes.Getattr, nodes.Getitem)) and inner.node is not None:
                inner = inner.node
            if isinstance(loop.target, nodes.Name) and isinstance(inner, nodes.Name):
                yield loop.target.name, inner.name

    @cached_property
    def prose(self) -> str:
        """The text with all that is Jinja's blanked out, each character at its place."""
        text = list(self.text)
        for _, start, end in self._pieces:
            for place in range(start, end):
                if text[place] != "\n":
                    text[place] = " "
        return "".join(text)

    @cached_property
    def sentences(self) -> list[tuple[int, str]]:
        """Of the prose, with their places. A line ends one where it ends in a full stop, an item or nothing."""
        found = []
        for match in re.finditer(r"(?:[^.!?;\n]|[.](?=\w)|\n(?!\s*(?:\n|[-*•]|\d+[.)])))+[.!?;]?", self.prose):
            text = match.group()
            if text.strip():
                found.append((match.start() + len(text) - len(text.lstrip()), text.strip()))
        return found


@dataclass(frozen=True)
class Room:
    """What the prompt has to fit. ``context``: tokens that the model reads; ``passages``: of them, what documents take;
    ``answer``: what is left for the answer; ``count`` tokens of a text. 0 is not known."""

    context: int = 0
    passages: int = 0
    answer: int = 0
    count: Callable[[str], int] = field(default=lambda text: len(text) // 4)


@dataclass(frozen=True)
class Subject:
    """The texts of one language that a model reads. ``given``: the variables there are, None where nobody knows;
    ``needed``: those of which one has to be there."""

    language: str
    parts: tuple[Part, ...]
    given: frozenset[str] | None = None
    needed: frozenset[str] = frozenset()
    room: Room = Room()

    @property
    def tongue(self) -> str:
        """The language whose words the rules use."""
        return self.language if self.language in ("en", "pt", "es") else "en"

    def matches(self, pattern: str) -> Iterator[tuple[Part, re.Match[str]]]:
        """In the prose of all parts, whatever the case."""
        if pattern:
            for part in self.parts:
                for match in re.finditer(pattern, part.prose, re.IGNORECASE | re.MULTILINE):
                    yield part, match
