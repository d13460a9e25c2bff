"""Lavra: from an organisation's documents to a language model that it owns, can explain and can answer for.

The verbs (``lavra.init``, ``lavra.ingest`` …) are brought in when they are first used, so that importing the package
costs next to nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_VERBS = (
    "ask",
    "bias",
    "check_examples",
    "clean_corpus",
    "correct_examples",
    "evaluate",
    "forget",
    "improve_prompt",
    "index",
    "ingest",
    "ingest_examples",
    "init",
    "lint_prompts",
    "memorisation",
    "questions",
    "serve",
    "study",
    "tokenize",
    "trace",
)
__all__ = ["LavraError", "Workspace", "__version__", *_VERBS]


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        return getattr(import_module("lavra.workspace.verbs"), name)
    if name == "Workspace":
        return import_module("lavra.workspace.workspace").Workspace
    if name == "LavraError":
        return import_module("lavra.errors").LavraError
    raise AttributeError(f"module 'lavra' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
