"""Way by model by setting: the candidates of a study, cheapest first."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavra.errors import LavraError
from lavra.store.files import tree_size
from lavra.workspace.studying.own import load_way, read_way
from lavra.workspace.studying.way import Way
from lavra.workspace.studying.ways import WAYS

if TYPE_CHECKING:
    from lavra.workspace.workspace import Workspace


@dataclass(frozen=True)
class Candidate:
    """A way over a model with settings. ``model``: "" where it has none of ours; ``changed``: what of the settings is
    not the way's default."""

    name: str
    way: Way
    model: str
    changed: Mapping[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        return {**self.way.defaults, **self.changed}

    @property
    def recipe(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "name": self.name, "way": self.way.name, "version": self.way.version, "model": self.model,
            "settings": dict(self.changed),
        }  # fmt: skip


def candidates(
    workspace: Workspace, asked: Sequence[str], models: Sequence[str], endpoint: Mapping[str, Any]
) -> list[Candidate]:
    """All of the grid. ``asked``: names of ways, with settings perhaps (``rag:read=4``), files of functions and TOML
    files; ``endpoint``: settings of ``external``.

    Raises:
        LavraError: for a way, a model or a setting that there is not, and for one asked for twice.
    """
    found: list[Candidate] = []
    for text in asked:
        for name, way, changed in _points(text):
            changed = {**endpoint, **changed} if way is WAYS["external"] else changed
            _check(name, way, changed)
            if way is WAYS["external"] and not (changed.get("url") and changed.get("model")):
                raise LavraError("external needs an endpoint: give --endpoint URL and --endpoint-model NAME.")
            for model in models if way.over_models else [""]:
                called = _called(name, model if len(models) > 1 else "", changed)
                found.append(Candidate(called, way, model, changed))
    for name in [candidate.name for candidate in found]:
        if sum(candidate.name == name for candidate in found) > 1:
            raise LavraError(f"{name} is asked for twice: give each way once, or with other settings.")
    sizes = {model: _size(workspace, model) for model in models} | {"": 0}
    return sorted(found, key=lambda candidate: (candidate.way.rank, sizes[candidate.model]))


def _points(text: str) -> Iterator[tuple[str, Way, Mapping[str, Any]]]:
    """What one entry of ``--ways`` or ``--way`` asks for."""
    if text.endswith(".toml"):
        name, way, points = read_way(Path(text), WAYS)
        yield from ((name, way, point) for point in points)
        return
    head = text.split(":")[0]
    if head.endswith(".py"):
        path, _, rest = text.partition(":")
        function, *settings = rest.split(":")
        way = load_way(f"{path}:{function}")
        yield way.name, way, dict(map(_setting, settings))
        return
    if head not in WAYS:
        raise LavraError(f"there is no way {head!r}: the ways are {', '.join(WAYS)}, file.py:function and file.toml.")
    yield head, WAYS[head], dict(map(_setting, text.split(":")[1:]))


def _setting(text: str) -> tuple[str, Any]:
    """``read=4``; a value that is nothing else is a text."""
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise LavraError(f"{text!r} is no setting: write NAME=VALUE after the way, as in rag:read=4.")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value


def _check(name: str, way: Way, changed: Mapping[str, Any]) -> None:
    if way.open_settings:
        return
    for setting, value in changed.items():
        if setting not in way.defaults:
            known = ", ".join(way.defaults) or "none"
            raise LavraError(f"{name} has no setting {setting!r}: there are {known}.")
        default = way.defaults[setting]
        number = isinstance(default, (int, float)) and not isinstance(default, bool)
        if number and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise LavraError(f"{setting} of {name} is {value!r}: write a number.")


def _called(name: str, model: str, changed: Mapping[str, Any]) -> str:
    """As the table has it: the way, the model where there are several, what was set."""
    shown = [f"{key}={value}" for key, value in changed.items() if key not in ("url", "model", "key_env")]
    return " ".join(part for part in (name, Path(model).name, *shown) if part)


def _size(workspace: Workspace, model: str) -> int:
    """Bytes of a model, by which larger ones come later. Raises LavraError where it is not here."""
    from lavra.workspace.generators import find_generator

    path = find_generator(workspace, model).model.path
    return tree_size(path) if path.is_dir() else path.stat().st_size
