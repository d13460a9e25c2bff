"""What is asked about, read: texts, a document; and the documents of the corpus that hold a passage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lavra.corpus.document import Document
from lavra.corpus.examples import Text, read_examples
from lavra.corpus.reading import read_paths
from lavra.corpus.walking import Skipped
from lavra.errors import LavraError
from lavra.evaluation.memorisation.sources import find_sources
from lavra.evaluation.memorisation.token_sources import TokenSource, find_in_tokens
from lavra.store import Artifact
from lavra.tokens.packed import TokenFiles
from lavra.tokens.tokenizer import load_tokenizer
from lavra.workspace.generators import find_generator
from lavra.workspace.tokenizing import TOKENIZER, token_files
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
    """The documents of the workspace's corpus that hold each passage, the longest run of words first."""
    from lavra.corpus.ingest import load_documents

    corpus = workspace.corpus()
    if corpus is None:
        raise LavraError("there are no documents to look in: run `lavra ingest FOLDER` first.")
    given = {} if least is None else {"least": least}
    found = find_sources(load_documents(corpus.path), passages, **given)
    return [[{**asdict(one), "share": one.share} for one in of] for of in found]


def token_files_of(workspace: Workspace, model: str) -> Sequence[Artifact]:
    """The token files that ``model`` was trained on. Raises LavraError where there are none any more, or never were."""
    artifact = find_generator(workspace, model).artifact
    found = token_files(workspace, artifact) if artifact is not None else ()
    if not found:
        raise LavraError(
            f"there are no token files that {model} was trained on: leave the model out to look in the corpus."
        )
    return found


def sources_read(
    workspace: Workspace, files: Sequence[Artifact], passages: Sequence[str], *, most: int = 5
) -> list[list[dict[str, Any]]]:
    """The documents of token files that hold each passage, the longest run of words first: what a model read, whatever
    became of the workspace's documents since. Where the corpus is still there, with page and headings."""
    found: list[list[dict[str, Any]]] = [[] for _ in passages]
    for artifact in files:
        tokenizer = load_tokenizer(artifact.path / TOKENIZER)
        sources = find_in_tokens(TokenFiles(artifact.path), tokenizer, passages, most=most)
        for number, of in enumerate(sources):
            found[number] += [_row(workspace, artifact, one, passages[number]) for one in of]
    return [sorted(rows, key=lambda row: (-row["run"], row["source"]))[:most] for rows in found]


def _row(workspace: Workspace, artifact: Artifact, found: TokenSource, passage: str) -> dict[str, Any]:
    owner = found.owner
    row = {
        "document": owner.id, "source": owner.source, "title": owner.title, "licence": owner.licence,
        "run": found.run, "of": found.of, "share": found.share, "page": None, "headings": (),
        "tokens": artifact.id, "source_id": owner.number, "first_token": found.start, "tokens_in_a_row": found.tokens,
    }  # fmt: skip
    document = _document(workspace, artifact, owner.id)
    places = find_sources([document], [passage])[0] if document is not None else []
    return row | {"page": places[0].page, "headings": places[0].headings} if places else row


def _document(workspace: Workspace, artifact: Artifact, id: str) -> Document | None:
    """A document of the corpus that token files were made of, while that is in the store."""
    from lavra.corpus.storage import FILE_NAME, load_document

    corpus = artifact.manifest.inputs.get("corpus")
    path = workspace.store.artifacts / corpus if corpus else None
    return load_document(path, id) if path is not None and (path / FILE_NAME).exists() else None
