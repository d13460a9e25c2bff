"""A command whose options are the fields of a dataclass: for those that have more than a signature can show.

The fields' types and help are written as for any other command (``Annotated[int, typer.Option(...)]``); the command is
a function of one instance, which can be handed on whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from inspect import Parameter, Signature
from typing import Any, TypeVar, get_type_hints

Options = TypeVar("Options")


def command_of(options: type[Options], run: Callable[[Options], None]) -> Callable[..., None]:
    """``run`` as typer takes it; its docstring is the help."""

    def command(**given: Any) -> None:
        run(options(**given))

    hints = get_type_hints(options, include_extras=True)
    found = [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
        for field in fields(options)  # type: ignore[arg-type]
    ]
    command.__name__, command.__doc__, command.__annotations__ = run.__name__, run.__doc__, hints
    command.__signature__ = Signature(found)  # type: ignore[attr-defined]
    return command
