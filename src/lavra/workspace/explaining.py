"""``corpus explain``: why a document is not in a corpus to train on, stage by stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavra.errors import LavraError
from lavra.workspace.generators import find_generator
from lavra.workspace.perplexity import reader
from lavra.workspace.workspace import Workspace

if TYPE_CHECKING:
    from lavra.corpus.cleaning.settings import Cleaning
    from lavra.corpus.document import Document
    from lavra.corpus.walking import Skipped


@dataclass(frozen=True)
class Explained:
    """``documents``: each with ``(stage, sentence)`` in the stages' order. ``not_read``: files and records that are no
    documents."""

    documents: list[tuple[Document, list[tuple[str, str]]]]
    not_read: list[Skipped]


def explain(workspace: Workspace, source: Path, settings: Cleaning, **flags: Any) -> Explained:
    """What every stage makes of each document that ``source`` names; nothing is written.

    ``source``: a file or folder, ``FILE#RECORD`` for one of a file's records, or the name of a document in the corpus.
    What was ingested is taken as the corpus has it, with the licence and the roles it was given then, any other file is
    read with ``flags`` (see `Workspace.read_settings`); with flags, either. Duplicates are looked for in the
    workspace's corpus. Raises LavraError where nothing is left to explain, with the reason if it could not be read.
    """
    from lavra.corpus.cleaning.explaining import explained
    from lavra.corpus.ingest import load_documents, load_report
    from lavra.corpus.left_out import load_left_out

    corpus = workspace.corpus()
    others = list(load_documents(corpus.path)) if corpus else []
    path, record = _path_and_record(source)
    name: str | None = str(source)
    if path is not None:
        name = _name_in(load_report(corpus.path).roots, path.resolve()) if corpus else None
    documents = [other for other in others if _belongs(other.source, name, record)]
    not_read: list[Skipped] = []
    if path is not None and (not documents or any(value is not None for value in flags.values())):
        documents, not_read = _read(workspace, path, name, record, flags)
    elif corpus:
        not_read = [row.skipped() for row in load_left_out(corpus.path) if _belongs(row.source, name, record)]
    if not documents:
        raise LavraError(_nothing(source, path, not_read))
    score = None
    if settings.has("perplexity"):
        score = reader(find_generator(workspace, str(settings.perplexity_model)), settings.perplexity_tokens)
    return Explained([(document, explained(document, others, settings, score)) for document in documents], not_read)


def _path_and_record(source: Path) -> tuple[Path | None, str]:
    """The file or folder if there is one, and the record of it that is meant, if one is."""
    if source.exists():
        return source, ""
    file, _, record = str(source).partition("#")
    return (Path(file), record) if record and Path(file).is_file() else (None, "")


def _belongs(source: str, name: str | None, record: str) -> bool:
    """Whether a document is what is called ``name``, or of its records or files where no record is meant."""
    if name is None:
        return False
    return source == f"{name}#{record}" if record else source == name or source.startswith((f"{name}#", f"{name}/"))


def _name_in(roots: Mapping[str, str], file: Path) -> str | None:
    """What a corpus of these roots (paths by label) calls a file."""
    for label, path in roots.items():
        if path and file.is_relative_to(path):
            return "/".join([label, *file.relative_to(path).parts])
    return None


def _read(
    workspace: Workspace, path: Path, name: str | None, record: str, flags: dict[str, Any]
) -> tuple[list[Document], list[Skipped]]:
    """The documents of a file that is called ``name`` in the corpus, if anything, and what could not be read of it."""
    from lavra.corpus.reading import Root, label_roots, read_roots
    from lavra.corpus.walking import Skipped

    roots = [Root(name, path.resolve())] if name else label_roots([path])[0]
    documents, not_read = [], []
    for root, item in read_roots(roots, workspace.read_settings(**flags), Counter()):
        if _belongs(item.source, root, record):
            if isinstance(item, Skipped):
                not_read.append(item)
            else:
                documents.append(item)
    return documents, not_read


def _nothing(source: Path, path: Path | None, not_read: Iterable[Skipped]) -> str:
    """Why there is nothing to explain."""
    if (skipped := next(iter(not_read), None)) is not None:
        return f"{skipped.source} is not read: {skipped.reason}."
    if path is None:
        return (
            f"{source} does not exist, and no document is called so: give a file that `lavra ingest` could read, or a "
            "document's name as reports have it."
        )
    if path != source:
        return f"{path} has no record {str(source).partition('#')[2]}: give a name as reports have it."
    return f"{source} holds no document that could be read: give a file, not an empty folder."
