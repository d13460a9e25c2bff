"""A prompt template: a TOML file with a name, a version, and the same prompt in each language.

Its texts are Jinja, rendered in a sandbox: a template may come from a colleague, and sources come from anywhere.
The hash of a template's content goes into the pedigree of every assistant that uses it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lavra.errors import LavraError
from lavra.store.files import digest

DEFAULT = "grounded"
_TEMPLATES = Path(__file__).parent / "templates"
_TEXTS = ("system", "user", "refusal", "quoting")


Turn = dict[str, str]
"""One turn of a conversation, as chat templates expect it: ``role`` and ``content``."""


@dataclass(frozen=True, slots=True)
class Source:
    """A numbered passage as a template sees it."""

    number: int
    place: str
    """``manual.pdf, p. 3``"""
    text: str


_MARKS = re.compile(
    r"^#{1,6}[ \t]+|^(?:```|~~~).*\n?|\*\*|__|`|^\s*\|?(?:\s*:?-{3,}:?\s*\|)+\s*:?-*:?\s*$\n?", re.MULTILINE
)


def plain(text: str) -> str:
    """Text without Markdown's marks: small models continue the layout instead of answering."""
    return _MARKS.sub("", text).strip()


@dataclass(frozen=True)
class Shown:
    """Examples of a template: ``pairs`` of question and answer, of which ``shown`` stand before a question, the first
    ones (``fixed``) or those nearest to it (``nearest``), in that ``order``."""

    pairs: tuple[tuple[str, str], ...] = ()
    shown: int = 0
    choice: str = "fixed"
    order: str = "nearest last"


@dataclass(frozen=True)
class PromptTemplate:
    """``texts[language]["system" | "user" | "refusal" | "quoting"]``; the first language is the one to fall back on."""

    name: str
    version: int
    techniques: tuple[str, ...]
    texts: Mapping[str, Mapping[str, str]]
    examples: Shown = Shown()

    @property
    def hash(self) -> str:
        """SHA-256 of all that a render depends on."""
        more = [asdict(self.examples)] if self.examples.pairs else []
        return digest([self.name, self.version, self.texts, *more])

    def language(self, wanted: str) -> str:
        """``wanted`` if the template speaks it, else its first language."""
        return wanted if wanted in self.texts else next(iter(self.texts))

    def render(self, text: str, language: str, **values: Any) -> str:
        """One of the template's texts, filled in."""
        from jinja2 import StrictUndefined, TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
        )
        try:
            source = self.texts[self.language(language)][text]
            return environment.from_string(source).render(**values).strip()
        except TemplateError as error:
            raise LavraError(f"the {text!r} text of prompt {self.name!r} does not render: {error}") from error

    def turns(
        self, question: str, sources: Sequence[Source], *, language: str, history: Sequence[Turn] = ()
    ) -> list[Turn]:
        """The conversation to put before the model: system, what was said before, and the question with sources."""
        values = {"question": question, "sources": list(sources)}
        system = self.render("system", language, **values)
        user = self.render("user", language, **values)
        opening: list[Turn] = [{"role": "system", "content": system}] if system else []
        return [*opening, *history, {"role": "user", "content": user}]

    def refusal(self, language: str) -> str:
        """What is said when the documents do not answer."""
        return self.render("refusal", language)

    def quoting(self, language: str) -> str:
        """What introduces quotes, when sources are quoted in place of an answer of the model's own."""
        return self.render("quoting", language)


def known_templates() -> list[str]:
    """The names of those that come with Lavra."""
    return sorted(entry.stem for entry in _TEMPLATES.glob("*.toml"))


def template_path(reference: str) -> Path:
    """The file of one that comes with Lavra, by name, or the file itself."""
    if "/" not in reference and not reference.endswith(".toml"):
        return _TEMPLATES / f"{reference}.toml"
    return Path(reference)


def load_template(reference: str = DEFAULT, texts: Sequence[str] = _TEXTS) -> PromptTemplate:
    """A template that comes with Lavra, by name, or a TOML file, by path, with these ``texts`` in each language.

    Raises:
        LavraError: for a file that is not there or lacks something, naming both.
    """
    path = template_path(reference)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(known_templates())
        raise LavraError(f"there is no prompt {reference!r}: give a TOML file or one of {known}.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LavraError(f"the prompt {path} cannot be read: {error}") from error
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    spoken = {language: entry for language, entry in tables.items() if language != "examples"}
    missing = [f"[{language}] {name}" for language, entry in spoken.items() for name in texts if name not in entry]
    missing += [key for key in ("name", "version") if key not in values]
    if missing or not spoken:
        raise LavraError(f"the prompt {path} lacks {', '.join(missing) or 'a table for any language, such as [en]'}.")
    shown = _examples(tables.pop("examples", None), path)
    return PromptTemplate(values["name"], int(values["version"]), tuple(values.get("techniques", ())), tables, shown)


def _examples(table: Any, path: Path) -> Shown:
    """The table ``[examples]``: ``shown``, ``choice``, ``order``, and ``pairs`` of question and answer."""
    if table is None:
        return Shown()
    try:
        pairs = tuple((str(question), str(answer)) for question, answer in table["pairs"])
        shown = Shown(
            pairs, int(table.get("shown", len(pairs))), table.get("choice", "fixed"), table.get("order", "nearest last")
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LavraError(f"the examples of {path} are no pairs of question and answer ({error}).") from error
    if shown.choice not in ("fixed", "nearest") or shown.order not in ("nearest last", "nearest first"):
        raise LavraError(
            f"the examples of {path} are chosen {shown.choice!r}, {shown.order!r}: write fixed or nearest."
        )
    return shown
