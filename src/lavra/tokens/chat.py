"""Chat templates: the Jinja program that comes with a model and lays out a conversation.

A template is code from a stranger, so it runs in Jinja's immutable sandbox. Globals, filters and white-space rules
are those of transformers' ``apply_chat_template``, so that the text is the same to the byte (tested).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lavra.errors import LavraError


class _Generation(Extension):
    """``{% generation %}…{% endgeneration %}`` marks what the assistant said; rendered as its contents."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own protocol

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    # Jinja's own filter escapes < and >, which a model never saw in training.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


class ChatTemplate:
    """One template, compiled once. Raises LavraError when its syntax is wrong."""

    def __init__(self, source: str, special_tokens: Mapping[str, str] | None = None) -> None:
        self.source, self.special_tokens = source, dict(special_tokens or {})
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        try:
            self._template = environment.from_string(source)
            self.takes_tools = "tools" in meta.find_undeclared_variables(environment.parse(source))
            """Whether it lays out the functions that an assistant may call."""
        except jinja2.TemplateError as error:
            raise LavraError(f"the model's chat template cannot be read ({error}); fix or replace it") from error

    @property
    def takes_calls(self) -> bool:
        """Whether it lays out what an assistant calls."""
        return "tool_calls" in self.source

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """The conversation as text. Raises LavraError when the template refuses the messages or fails."""
        try:
            return self._template.render(
                messages=[dict(message) for message in messages],
                tools=[dict(tool) for tool in tools] or None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self.special_tokens,
            )
        # A stranger's program may divide by zero or recurse for ever: whatever it does ends in one sentence.
        except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise LavraError(f"the model's chat template refuses these messages ({error})") from error
        except (RecursionError, MemoryError, OverflowError) as error:
            raise LavraError("the model's chat template does not come to an end; fix or replace it") from error
