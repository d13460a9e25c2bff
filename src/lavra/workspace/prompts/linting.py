"""Which prompts there are, and what the lint says of each; with the model's own count of tokens where it is here."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lavra.corpus.language import UNKNOWN, detect_language
from lavra.errors import LavraError
from lavra.prompting.lint import Finding, Room, lint_template, lint_text
from lavra.prompting.template import known_templates, template_path
from lavra.workspace.workspace import Workspace

FOLDER = "prompts"
"""Beside ``lavra.toml``: where prompts of one's own are looked for, and improved ones are written."""
_LARGEST = 2**20
QUESTION, GROUNDED, MAKING, REWRITING = ("question",), ("question", "sources"), ("passage",), ("pairs",)


@dataclass(frozen=True)
class Linted:
    """``name``: a known prompt, or the file."""

    name: str
    findings: Sequence[Finding]

    @property
    def warned(self) -> bool:
        return any(found.severity != "note" for found in self.findings)


def lint_prompts(
    workspace: Workspace | None, references: Sequence[str] = (), *, variables: Sequence[str] | None = None
) -> list[Linted]:
    """The prompts by name or file; without any, the one that answers, those in ``prompts/``, and those that come with
    Lavra and are used beside them. ``variables``: what fills a text of one's own, where it is not a template of
    Lavra's.

    Raises:
        LavraError: for a prompt that is not there or cannot be read.
    """
    if not references:
        if workspace is None:
            raise LavraError("say which prompt, a file or a name, or run it in a workspace (`lavra init`).")
        references = own_prompts(workspace)
    room = _room(workspace)
    languages = workspace.settings.documents.languages if workspace is not None else ("pt", "es", "en")
    return [_linted(_path(workspace, reference), reference, room, languages, variables) for reference in references]


def own_prompts(workspace: Workspace) -> list[str]:
    """What a workspace uses, by name or path."""
    found = [workspace.settings.answer.prompt, "direct", "questions", "rewriting"]
    found += [str(path.relative_to(workspace.root)) for path in sorted((workspace.root / FOLDER).glob("*.toml"))]
    return list(dict.fromkeys(found))


def _path(workspace: Workspace | None, reference: str) -> Path:
    if reference in known_templates():
        return template_path(reference)
    beside = workspace.root / reference if workspace is not None else Path(reference)
    path = Path(reference) if Path(reference).is_file() else beside
    if not path.is_file():
        known = ", ".join(known_templates())
        raise LavraError(f"there is no prompt {reference!r}: give a file, or one of {known}.")
    return path


def _linted(path: Path, name: str, room: Room, languages: Sequence[str], variables: Sequence[str] | None) -> Linted:
    try:
        if path.stat().st_size > _LARGEST:
            raise LavraError(f"{path} is larger than {_LARGEST:,} bytes: that is no prompt.")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise LavraError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise LavraError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8.") from error
    if not text.strip():
        raise LavraError(f"{path} is empty: write a prompt into it.")
    if path.suffix != ".toml":
        language = detect_language(text, languages)
        found = lint_text(text, language="en" if language == UNKNOWN else language, given=variables, room=room)
        return Linted(name, found)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LavraError(f"{path} is not valid TOML: {error}.") from error
    texts = {key: value for key, value in values.items() if isinstance(value, dict)}
    if not any(isinstance(entry.get("user"), str) for entry in texts.values()):
        raise LavraError(f"{path} is no prompt: it has no table for a language with a text `user`.")
    given, needed = _variables(texts)
    given = tuple(variables) if variables is not None else given
    return Linted(name, lint_template(texts, file=text, given=given, needed=needed, room=room))


def _variables(texts: dict[str, dict[str, Any]]) -> tuple[Sequence[str], Sequence[str]]:
    """What fills a template of this kind, which its other texts tell; and what it has to use."""
    names = frozenset().union(*texts.values())
    if "repair" in names:
        return ("count", "title", "passage"), MAKING
    if "refusal" not in names:
        return ("count", "present", "pairs"), REWRITING
    return GROUNDED, QUESTION if "refusals" in names else GROUNDED


def _room(workspace: Workspace | None) -> Room:
    """Of the workspace's generator; nothing is known where it is not on this machine."""
    if workspace is None:
        return Room()
    from lavra.model.weights import open_model
    from lavra.tokens.tokenizer import load_tokenizer
    from lavra.workspace.generators import find_generator

    settings = workspace.settings
    try:
        path = Path(find_generator(workspace, settings.models.generator).model.path)
        tokenizer = load_tokenizer(path)
        context = open_model(path)[1].context_length
    except LavraError:
        return Room()
    count = lru_cache(maxsize=256)(lambda text: len(tokenizer.encode(text)))
    return Room(context, settings.answer.read * settings.index.target, settings.answer.max_tokens, count)
