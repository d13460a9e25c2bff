"""``tokenize``: a corpus through a tokenizer, as token files that are trained on and searched without being read whole.

Kept below ``.lavra/tokenizing`` until they are whole: a run that was stopped goes on where it stood.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavra.errors import LavraError
from lavra.store import Artifact, Draft
from lavra.store.files import digest, hash_file
from lavra.store.manifest import recipe_hash
from lavra.tokens.documents import DocumentEncoder
from lavra.tokens.packed import TokenFiles, TokenWriter
from lavra.tokens.tokenizer import Tokenizer, load_tokenizer
from lavra.workspace.ingesting import nothing_read
from lavra.workspace.workspace import Progress, Workspace, silent

if TYPE_CHECKING:
    from lavra.corpus.document import Document

KIND = "tokens"
TOKENIZER = "tokenizer"
"""Where the tokenizer's own files lie in the artifact."""
_FORMAT = 1
"""Raised when the same corpus and tokenizer would give other files."""
_UNFINISHED = "tokenizing"
_ERASED = "a document was erased while its tokens were being written: run the same command again."
_CHARACTERS = 2_000_000
"""Of documents that are encoded at once: some 200 MB while it lasts."""


@dataclass(frozen=True)
class Tokenized:
    """``found``: the same had been made before."""

    artifact: Artifact
    found: bool

    @property
    def files(self) -> TokenFiles:
        return TokenFiles(self.artifact.path)


def tokenize(
    workspace: Workspace,
    texts: str | Path | None = None,
    *,
    model: str | None = None,
    name: str = KIND,
    progress: Progress = silent,
) -> Tokenized:
    """Token files, called ``name``, of a corpus of the store or of documents at a path; by default of the workspace's
    corpus. The tokenizer is that of ``model``, by default of the workspace's generator.

    Raises LavraError where there are no documents, or no tokenizer.
    """
    from lavra.workspace.generators import find_generator

    generator = find_generator(workspace, model or workspace.settings.models.generator)
    tokenizer = load_tokenizer(Path(generator.model.path))
    done = tokens_of(workspace, source_of(workspace, texts), tokenizer, progress=progress)
    workspace.store.set_ref(name, done.artifact.id)
    return done


def source_of(workspace: Workspace, texts: str | Path | None) -> Artifact | Path:
    """What ``texts`` names: a corpus or token files of the store, by id or name, or a path; None: the workspace's
    corpus. Raises LavraError where it is none of them."""
    if texts is None:
        corpus = workspace.corpus()
        if corpus is None:
            raise LavraError("the workspace has no documents yet: run `lavra ingest FOLDER`, or name a folder.")
        return corpus
    path, name = Path(texts), str(texts)
    if path.exists():
        return path
    if not (workspace.store.ref(name) or name.startswith(("corpus-", f"{KIND}-"))):
        raise LavraError(f"{name} does not exist: give a file or a folder of documents, or the name of a corpus.")
    artifact = workspace.store.get(name)
    if artifact.manifest.kind not in ("corpus", KIND):
        raise LavraError(f"{artifact.id} is no corpus: give another name, or a folder of documents.")
    if artifact.manifest.erased is not None:
        raise LavraError(f"{artifact.id} was erased with a document that was in it: give another.")
    return artifact


def tokens_of(
    workspace: Workspace, source: Artifact | Path, tokenizer: Tokenizer, *, progress: Progress = silent
) -> Tokenized:
    """The token files of ``source`` by ``tokenizer``, found or made. Token files are what they are.

    Raises LavraError for token files that another tokenizer made, and where nothing can be read.
    """
    own = identity(tokenizer)
    if isinstance(source, Path):
        return _of_path(workspace, source, tokenizer, own, progress)
    if source.manifest.kind == KIND:
        if source.manifest.recipe["tokenizer"] != own:
            raise LavraError(
                f"{source.id} was made with another tokenizer than this model's: give the corpus that it was made of."
            )
        return Tokenized(source, found=True)
    return _made(workspace, {"corpus": source.id}, {"tokenizer": own}, source.path, tokenizer, progress)


def identity(tokenizer: Tokenizer) -> str:
    """SHA-256 of all that its ids depend on."""
    return digest([tokenizer.backend.to_str(), tokenizer.bos_id, tokenizer.eos_id])


def _of_path(workspace: Workspace, path: Path, tokenizer: Tokenizer, own: str, progress: Progress) -> Tokenized:
    """Of files that were not ingested: they are read anew, and found again by what was in them."""
    from lavra.corpus.ingest import build_corpus
    from lavra.corpus.storage import FILE_NAME

    with tempfile.TemporaryDirectory(dir=workspace.store.drafts, prefix="0-texts-") as made:
        report = build_corpus([path], workspace.read_settings(), Path(made))
        if not report.kept:
            raise LavraError(nothing_read([path], report))
        recipe = {"tokenizer": own, "documents": hash_file(Path(made) / FILE_NAME)}
        return _made(workspace, {}, recipe, Path(made), tokenizer, progress)


def _made(
    workspace: Workspace,
    inputs: dict[str, str],
    recipe: dict[str, Any],
    corpus: Path,
    tokenizer: Tokenizer,
    progress: Progress,
) -> Tokenized:
    recipe = {"made by": "tokenize", "format": _FORMAT, **recipe}
    work = workspace.store.root / _UNFINISHED / recipe_hash(KIND, inputs, recipe)
    built: list[bool] = []

    def build(draft: Draft) -> None:
        try:
            _write(corpus, work, tokenizer, progress)
        except FileNotFoundError:
            raise LavraError(_ERASED) from None  # what was unfinished is gone, or the corpus
        (draft.path / TOKENIZER).mkdir()
        tokenizer.save(draft.path / TOKENIZER)  # before the rest is moved, which a full disk would lose with the draft
        for path in sorted(work.iterdir()):
            path.rename(draft.path / path.name)
        files = TokenFiles(draft.path)
        draft.metrics.update(figures(files))
        draft.licences.extend(sorted({one for one in files.table["licence"].to_pylist() if one}))
        built.append(True)

    artifact = workspace.store.make(KIND, inputs, recipe, build)
    shutil.rmtree(work, ignore_errors=True)
    if built and TokenFiles(artifact.path).hold_any(workspace.forgotten()):
        # Whoever erased them looked for token files before these were there.
        workspace.store.erase(artifact.id, why="a document was erased while it was read")
        raise LavraError(_ERASED)
    return Tokenized(artifact, found=not built)


def _write(corpus: Path, work: Path, tokenizer: Tokenizer, progress: Progress) -> None:
    """The token files of a corpus in ``work``, or what is missing of them."""
    from lavra.corpus.ingest import load_documents
    from lavra.corpus.storage import open_corpus

    encoder = DocumentEncoder(tokenizer)
    writer = TokenWriter(work, encoder.largest)
    done = writer.written
    with open_corpus(corpus) as file:
        total = file.metadata.num_rows
    if not total:
        raise LavraError("there is no document to make tokens of: ingest some that can be read.")
    for documents in _batches(load_documents(corpus), done):
        for document, ids in zip(documents, encoder.encode([each.text for each in documents]), strict=True):
            writer.add(ids, _about(document))
        done += len(documents)
        progress("Tokenizing", done, total)
    writer.flush()


def _batches(documents: Iterable[Document], written: int) -> Iterator[list[Document]]:
    """All but the first ``written`` documents, so many together as are encoded at once."""
    held: list[Document] = []
    characters = 0
    for number, document in enumerate(documents):
        if number < written:
            continue
        held.append(document)
        characters += len(document.text)
        if characters >= _CHARACTERS:
            yield held
            held, characters = [], 0
    if held:
        yield held


def _about(document: Document) -> dict[str, Any]:
    return {
        "id": document.id,
        "source": document.source,
        "title": document.title,
        "hash": document.hash,
        "licence": document.licence,
        "language": document.language,
        "roles": list(document.roles),
        "characters": len(document.text),
        "words": len(document.text.split()),
    }


def figures(files: TokenFiles) -> dict[str, Any]:
    """For the manifest: how much there is, of each language too, the largest first."""
    table = files.table.select(["language", "characters", "words", "tokens"]).group_by("language")
    counted = table.aggregate([("characters", "sum"), ("words", "sum"), ("tokens", "sum"), ("tokens", "count")])
    rows = sorted(counted.to_pylist(), key=lambda row: (-row["tokens_sum"], row["language"]))
    languages = {
        row["language"]: {
            "documents": row["tokens_count"], "tokens": row["tokens_sum"], "characters": row["characters_sum"],
            "words": row["words_sum"],
        }
        for row in rows
    }  # fmt: skip
    whole = {
        key: sum(each[key] for each in languages.values()) for key in ("documents", "tokens", "characters", "words")
    }
    return {**whole, "bytes_a_token": files.shards[0].itemsize, "languages": languages}


def drop_unfinished(workspace: Workspace) -> None:
    """Remove what stopped runs left to be continued: texts that a document which is erased must not stay in."""
    shutil.rmtree(workspace.store.root / _UNFINISHED, ignore_errors=True)


def token_files(workspace: Workspace, artifact: Artifact) -> Sequence[Artifact]:
    """The token files that ``artifact`` was made from, at any remove, that are still there."""
    found: dict[str, Artifact] = {}
    waiting = [artifact]
    while waiting:
        one = waiting.pop()
        if one.manifest.kind == KIND and one.manifest.erased is None:
            found[one.id] = one
        waiting += [
            workspace.store.get(id)
            for id in one.manifest.inputs.values()
            if id not in found and (workspace.store.artifacts / id).is_dir()
        ]
    return list(found.values())
