"""Functions of the user's own, named ``file.py:function``: run because they name them, and only then."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lavra.errors import LavraError


def load_function(reference: str) -> Callable[..., Any]:
    """The function that ``reference`` names. Raises LavraError where there is none, or its file does not run."""
    place, _, name = reference.rpartition(":")
    path = Path(place)
    if not place or not path.is_file():
        raise LavraError(f"{reference} names no function: give file.py:function.")
    spec = importlib.util.spec_from_file_location(f"lavra_own_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise LavraError(f"{place} is no Python file: give file.py:function.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise LavraError(f"{place} does not run ({type(error).__name__}: {error}): mend it first.") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise LavraError(f"{place} has no function {name}: give file.py:function.")
    found: Callable[..., Any] = function
    return found
