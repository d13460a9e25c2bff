"""Source code: the whole file is one code block in its language."""

from __future__ import annotations

from lavra.corpus.detect import code_language
from lavra.corpus.document import Span
from lavra.corpus.encoding import decode
from lavra.corpus.parts import Parts, normalise
from lavra.corpus.settings import ReadSettings


def read(data: bytes, name: str, settings: ReadSettings) -> list[Parts]:
    """One document; ``metadata["code"]`` is the programming language. Natural language is not guessed from code."""
    text = normalise(decode(data)[0]).strip("\n")
    language = code_language(name)
    return [Parts(text, (Span("code", 0, len(text), label=language),), metadata={"code": language}, language="und")]
