"""Checks of one field of a config: what fails is refused by the field's name, its value and the reason."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from lavra.errors import LavraError

# No dimension of a real model comes near; a hostile file's does.
_CEILING = 1 << 24


def refuse(owner: Any, name: str, why: str) -> None:
    raise LavraError(f"model config: {name} is {_short(getattr(owner, name))}; {why}")


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def choice(owner: Any, name: str, allowed: tuple[str, ...]) -> None:
    if getattr(owner, name) not in allowed:
        refuse(owner, name, f"Lavra knows {', '.join(allowed)}")


def flags(owner: Any) -> None:
    for field in fields(owner):
        if field.type == "bool" and not isinstance(getattr(owner, field.name), bool):
            refuse(owner, field.name, "it must be true or false")


def whole(owner: Any, name: str, least: int) -> None:
    value = getattr(owner, name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < _CEILING:
        refuse(owner, name, "it must be a positive whole number of sane size" if least else "it must be a whole number")


def number(owner: Any, name: str, *, low: float, high: float) -> None:
    value = getattr(owner, name)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        refuse(owner, name, "it must be a number")
    if not low <= value <= high:  # NaN fails every comparison
        refuse(owner, name, f"it must lie between {low:g} and {high:g}")
