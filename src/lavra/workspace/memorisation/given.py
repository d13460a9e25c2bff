"""What is asked about, read: texts, a document; and the documents of the corpus that hold a passage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lavra.corpus.examples import Text, read_examples
from lavra.corpus.reading import read_paths
from lavra.corpus.walking import Skipped
from lavra.errors import LavraError
from lavra.evaluation.memorisation.sources import find_sources
from lavra.workspace.workspace import Workspace


def texts_of(path: Path | None) -> tuple[str, ...]:
    """Rows with ``text`` of a file of examples, or the paragraphs of a text file."""
    if path is None:
        return ()
    if path.suffix in (".txt", ".md"):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise LavraError(f"{path} cannot be read ({error}): give UTF-8 text, or JSONL with a field text.") from None
        found = [part.strip() for part in text.split("\n\n") if len(part.split()) > 1]
    else:
        found = [one.text for one in read_examples([path]).examples if isinstance(one, Text)]
    if not found:
        raise LavraError(f"there is no text in {path}: give JSONL with a field text, or paragraphs in a .txt file.")
    return tuple(dict.fromkeys(found))


def document_of(workspace: Workspace, path: Path) -> str:
    if not path.is_file():
        raise LavraError(f"there is no file {path}: give one as --document.")
    parts = []
    for item in read_paths([path], workspace.read_settings()):
        if isinstance(item, Skipped):
            raise LavraError(f"{item.source} cannot be read ({item.reason}): give another --document.")
        parts.append(item.text)
    text = "\n\n".join(parts).strip()
    if not text:
        raise LavraError(f"there is no text in {path}: give another --document.")
    return text


def sources_of(
    workspace: Workspace, passages: Sequence[str], *, least: int | None = None
) -> list[list[dict[str, Any]]]:
    """The documents of the workspace's corpus that hold each passage, the longest run of words first.

    Looked for in the documents' text, for a model's token files carry no sources yet.
    """
    from lavra.corpus.ingest import load_documents

    corpus = workspace.corpus()
    if corpus is None:
        raise LavraError("there are no documents to look in: run `lavra ingest FOLDER` first.")
    given = {} if least is None else {"least": least}
    found = find_sources(load_documents(corpus.path), passages, **given)
    return [[{**asdict(one), "share": one.share} for one in of] for of in found]
