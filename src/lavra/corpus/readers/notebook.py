"""Jupyter notebooks: their Markdown cells as they are, their code cells fenced, outputs left out."""

from __future__ import annotations

import json

from lavra.corpus.encoding import decode
from lavra.corpus.parts import Parts, Unreadable, normalise
from lavra.corpus.readers.markdown import locate
from lavra.corpus.settings import ReadSettings


def read(data: bytes, name: str, settings: ReadSettings) -> list[Parts]:
    """One Markdown document."""
    try:
        notebook = json.loads(decode(data)[0])
        cells = notebook["cells"]
        language = notebook.get("metadata", {}).get("kernelspec", {}).get("language", "python")
        blocks = [_cell(cell, language) for cell in cells]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unreadable("corrupt", f"it is not a notebook of version 4 ({error})") from None
    text = "\n\n".join(block for block in (normalise(block).strip("\n") for block in blocks) if block.strip())
    spans = locate(text)
    return [Parts(text, spans, next((span.label for span in spans if span.kind == "heading"), ""))]


def _cell(cell: dict, language: str) -> str:
    source = "".join(cell.get("source", []))
    if cell.get("cell_type") == "code":
        fence = "```" if "```" not in source else "````"
        return f"{fence}{language}\n{source}\n{fence}" if source.strip() else ""
    return source if cell.get("cell_type") == "markdown" else ""
