"""Ways of the user's own: ``file.py:function``, or a TOML file that names a way and what to set otherwise.

name = "reads more"
way = "rag"
[settings]
passages = 8
prompt = "ours.toml"
[grid]
read = [2, 4]
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from lavra.errors import LavraError
from lavra.store.files import hash_file
from lavra.workspace.functions import load_function
from lavra.workspace.studying.way import Built, Given, Way

Settings = Mapping[str, Any]
_RANK = 8  # a way that nobody knows comes last


def load_way(reference: str) -> Way:
    """The way that is a function. Raises LavraError where there is none, or its file does not run."""
    function = load_function(reference)
    path, _, name = reference.rpartition(":")
    version = hash_file(Path(path))

    def build(given: Given) -> Built:
        made = function(given)
        if isinstance(made, Built):
            return made
        if not callable(getattr(made, "answer", None)):
            raise LavraError(f"{reference} returned {type(made).__name__}, which has no answer(messages, roles=…).")
        recipe = {"way": reference.rpartition("/")[2], "version": version, "settings": dict(given.settings)}
        return Built(lambda: made, {**recipe, "model": given.workspace.generator.model.sha256})

    return Way(name, build, rank=_RANK, version=version, open_settings=True)


def read_way(path: Path, known: Mapping[str, Way]) -> tuple[str, Way, list[Settings]]:
    """The name, the way and the settings, one for each point of its grid, that a TOML file asks for."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LavraError(f"{path} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LavraError(f"{path} is not valid TOML: {error}.") from error
    if unknown := sorted(values.keys() - {"name", "way", "settings", "grid"}):
        raise LavraError(f"{path} has {unknown[0]!r}: a way's file has name, way, [settings] and [grid].")
    way = known.get(str(values.get("way")))
    if way is None:
        raise LavraError(f"{path}: the way is {values.get('way')!r}: write way = one of {', '.join(known)}.")
    settings, grid = values.get("settings", {}), values.get("grid", {})
    if not isinstance(settings, dict) or not isinstance(grid, dict):
        raise LavraError(f"{path}: settings and grid are tables: write [settings] and [grid].")
    for name, choices in grid.items():
        if not (isinstance(choices, list) and choices):
            raise LavraError(f"{path}: {name} in [grid] is {choices!r}: write a list of what to try.")
    points: list[Settings] = [{**settings, **dict(zip(grid, point, strict=True))} for point in product(*grid.values())]
    return str(values.get("name") or path.stem), way, points
