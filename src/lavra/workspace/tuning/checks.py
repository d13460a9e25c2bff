"""Checks of the user's own, before and after tuning: a function that is given the model and returns figures.

What a model inherited, and what tuning made worse (a bias, a tone, a secret that it should not know), is nothing that a
loss shows. A check that fails before the training stops the run, while nothing is lost; one that fails afterwards is
said, and what was trained is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from lavra.errors import LavraError
from lavra.model.base import Model
from lavra.store.files import hash_file
from lavra.tokens.tokenizer import Tokenizer
from lavra.workspace.functions import load_function

When = Literal["before", "after"]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Checked:
    """What a check is given: the ``model`` as it is now, without dropout or gradients; its ``tokenizer``; the name of
    the ``base``; ``when``; and a ``directory`` whose files are kept beside the report."""

    model: Model
    tokenizer: Tokenizer
    base: str
    when: When
    directory: Path


CheckFunction = Callable[[Checked], Mapping[str, float]]


@dataclass(frozen=True)
class Check:
    """``name``: the function's. ``version``: what changes with it, for the recipe."""

    name: str
    function: CheckFunction
    version: str = ""

    @classmethod
    def load(cls, reference: str) -> Check:
        """Of ``file.py:function``."""
        function = load_function(reference)
        path, _, name = reference.rpartition(":")
        return cls(name, function, hash_file(Path(path)))


def require_distinct(checks: Sequence[Check]) -> None:
    names = [check.name for check in checks]
    for name in names:
        if names.count(name) > 1:
            raise LavraError(f"two checks are called {name}: rename one, for their figures are kept by name.")


def run_checks(
    checks: Sequence[Check], model: Model, tokenizer: Tokenizer, *, base: str, when: When, directory: Path, say: Say
) -> dict[str, float]:
    """The figures of all ``checks``, as ``check.figure``."""
    found: dict[str, float] = {}
    for check in checks:
        place = directory / check.name / when
        place.mkdir(parents=True, exist_ok=True)
        try:
            figures = _run(check, Checked(model, tokenizer, base, when, place))
        except Exception as error:
            said = f"the check {check.name} failed {when} the training ({type(error).__name__}: {error})"
            if when == "before":
                raise LavraError(f"{said}: mend it, or leave it out.") from error
            say(f"{said}; what was trained is kept.")
            continue
        found |= {f"{check.name}.{name}": value for name, value in figures.items()}
    return found


@torch.no_grad()
def _run(check: Check, given: Checked) -> dict[str, float]:
    mode = given.model.training
    random = torch.get_rng_state()
    try:
        given.model.eval()
        figures = check.function(given)
    finally:
        given.model.train(mode)
        torch.set_rng_state(random)
    if not isinstance(figures, Mapping):
        raise TypeError(f"it returns {type(figures).__name__}, not figures by name")
    for name, value in figures.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise TypeError(f"its figure {name} is {value!r}, not a number")
    return {str(name): float(value) for name, value in figures.items()}
