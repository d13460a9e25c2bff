"""Erasing a document: the right to erasure of the LGPD (art. 18, VI) and the GDPR (art. 17), shown to have worked.

Deleting is not erasing: deleted rows stay in data files, old corpora keep their copies. So the index's fragments are
rewritten, every corpus artifact that holds the document is emptied or made anew without it, whatever was made from
those is named, and in the end every file below ``.lavra`` is searched, byte by byte and decoded, for the document's
sentences. The receipt says all of it. The original, outside the workspace, is its owner's to delete; it will not be
ingested again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lavra.assistants.sentences import sentences
from lavra.corpus.document import Document
from lavra.errors import LavraError
from lavra.store import Artifact, Draft, Store
from lavra.store.files import write_atomically
from lavra.store.ledger import utc_now
from lavra.workspace import ingesting, tokenizing
from lavra.workspace.cleaning import drop_unfinished
from lavra.workspace.ingesting import stated_licences
from lavra.workspace.workspace import UPLOADS, Progress, Workspace, silent


@dataclass(frozen=True)
class Receipt:
    """What an erasure did; kept in ``.lavra/receipts``. It names the document, and holds none of its text."""

    document_id: str
    source: str
    hash: str
    time: str
    chunks: int
    """Chunks taken out of the index."""
    erased: tuple[str, ...]
    """Corpus artifacts whose files were removed because they held the text."""
    made_from_it: tuple[str, ...]
    """Artifacts that were made from those: they hold no text of it, or are to be judged by a person (models)."""
    uploads: tuple[str, ...]
    """Uploaded files that were deleted."""
    sentences_checked: int
    remaining: tuple[str, ...]
    """Files below ``.lavra`` in which a sentence of it was still found: empty, or the erasure failed."""

    @property
    def complete(self) -> bool:
        return not self.remaining


def forget(workspace: Workspace, name: str, *, progress: Progress = silent) -> Receipt:
    """Erase the document whose id, source, or end of source is ``name``.

    Raises:
        LavraError: where no document, or more than one, is called so.
    """
    from lavra.corpus.ingest import forget_document, load_documents, load_report
    from lavra.retrieval.erase import contains_text

    store = workspace.store
    with workspace.alone("corpus"), workspace.alone("index"), workspace.alone("clean"):
        corpus = workspace.corpus()
        if corpus is None:
            raise LavraError("there are no documents to forget: nothing was ingested.")
        document = find_document(workspace, name)
        # What is looked for afterwards: the document's own sentences, not those that other documents say too.
        own = own_sentences(document, (other for other in load_documents(corpus.path) if other.id != document.id))
        progress("Erasing", 0, 4)
        remember(workspace, document)
        uploads = delete_uploads(workspace, document)

        recipe = dict(corpus.manifest.recipe)
        recipe["forgotten"] = sorted(workspace.forgotten())

        def build(draft: Draft) -> None:
            forget_document(corpus.path, draft.path, document.id)
            report = load_report(draft.path)
            draft.metrics.update(documents=report.kept, characters=report.characters)
            draft.licences.extend(stated_licences(report))

        remaining = store.make("corpus", {}, recipe, build)
        store.set_ref("corpus", remaining.id)
        progress("Erasing", 1, 4)

        holders = [artifact for artifact in _holders(store, document, own) if artifact.id != remaining.id]
        for written in ("questioning", "teaching", "studying"):  # what models wrote, and are not to be asked twice
            for file in (store.root / written).rglob("*.jsonl"):
                file.unlink()
        drop_unfinished(workspace)
        ingesting.drop_unfinished(workspace)
        tokenizing.drop_unfinished(workspace)
        for artifact in holders:
            store.erase(artifact.id, documents=[document.id])
        progress("Erasing", 2, 4)
        report = workspace.live_index.forget(document.id)
        workspace._record_index(workspace.live_index, remaining, workspace.embedder)
        progress("Erasing", 3, 4)
        found = contains_text(store.root, own)
        made = sorted({artifact.id for holder in holders for artifact in store.made_from(holder.id)})
        receipt = Receipt(
            document_id=document.id,
            source=document.source,
            hash=document.hash,
            time=utc_now(),
            chunks=report.chunks,
            erased=tuple(artifact.id for artifact in holders),
            made_from_it=tuple(made),
            uploads=tuple(uploads),
            sentences_checked=len(own),
            remaining=tuple(str(path.relative_to(store.root)) for path in found),
        )
        stamp = receipt.time.replace(":", "").replace("+0000", "Z")
        write_atomically(
            store.root / "receipts" / f"forget-{document.id}-{stamp}.json",
            json.dumps(asdict(receipt), indent=2, ensure_ascii=False).encode(),
        )
        store.ledger.append("forget", document=document.id, text=document.hash, complete=receipt.complete)
        progress("Erasing", 4, 4)
    return receipt


def _holders(store: Store, document: Document, own: Sequence[str]) -> Iterator[Artifact]:
    """The artifacts whose files hold the document, or one of its ``own`` sentences, or name it."""
    holds: dict[str, Callable[[Artifact], bool]] = {
        "corpus": lambda corpus: contains(corpus, document) or drops(corpus, document.source),
        "questions": lambda questions: asks_about(questions, document.source),
        "study": lambda study: shows(study, document),
        "examples": lambda examples: learned_from(examples, document, own),
        tokenizing.KIND: lambda tokens: reads(tokens, document, own),
    }
    for kind, test in holds.items():
        yield from (artifact for artifact in store.list(kind) if artifact.manifest.erased is None and test(artifact))


def contains(artifact: Artifact, document: Document) -> bool:
    """Whether a corpus has the document, or another one of the same text."""
    from lavra.corpus.ingest import load_documents

    return any(other.id == document.id or other.hash == document.hash for other in load_documents(artifact.path))


def drops(artifact: Artifact, source: str) -> bool:
    """Whether a cleaned corpus names the document among those that it left out."""
    import pyarrow.parquet as parquet

    from lavra.corpus.cleaning.run import DROPPED

    path = artifact.path / DROPPED
    return path.exists() and source in parquet.read_table(path, columns=["source"])["source"].to_pylist()


def asks_about(artifact: Artifact, source: str) -> bool:
    """Whether a set of questions quotes the document."""
    path = artifact.path / "questions.jsonl"
    return path.exists() and any(json.loads(line)["document"] == source for line in path.open(encoding="utf-8"))


def shows(artifact: Artifact, document: Document) -> bool:
    """Whether a study's report quotes the document."""
    path = artifact.path / "study.json"
    return path.exists() and json.dumps(document.source, ensure_ascii=False)[1:-1] in path.read_text(encoding="utf-8")


def learned_from(artifact: Artifact, document: Document, own: Sequence[str]) -> bool:
    """Whether a set of examples names the document as what a row was made from, or holds a sentence of it."""
    from lavra.corpus.labels.entry import read_entries
    from lavra.retrieval.erase import contains_text

    named = {document.id, document.source}
    return any(entry.document in named for entry in read_entries(artifact.path)) or bool(
        contains_text(artifact.path, own)
    )


def reads(artifact: Artifact, document: Document, own: Sequence[str]) -> bool:
    """Whether token files are of the document, or hold a sentence of it: a search for bytes does not see that."""
    from lavra.evaluation.memorisation.token_sources import find_in_tokens
    from lavra.tokens.packed import TokenFiles
    from lavra.tokens.tokenizer import load_tokenizer

    files = TokenFiles(artifact.path)
    if files.hold_any((document.id, document.hash)):
        return True
    tokenizer = load_tokenizer(artifact.path / tokenizing.TOKENIZER)
    return any(sources and sources[0].share == 1 for sources in find_in_tokens(files, tokenizer, own, most=1))


def find_document(workspace: Workspace, name: str) -> Document:
    """The one document with this id, source, or file name.

    Raises:
        LavraError: where there is none, or more than one.
    """
    from lavra.corpus.ingest import load_documents

    corpus = workspace.corpus()
    wanted = name.strip().removeprefix("./").strip("/")
    exact, ending = [], []
    for document in load_documents(corpus.path) if corpus else ():
        if wanted in (document.id, document.source):
            exact.append(document)
        elif document.source.endswith(f"/{wanted}") or document.source.split("#")[0].endswith(f"/{wanted}"):
            ending.append(document)
    matches = exact or ending
    if not matches:
        raise LavraError(
            f"there is no document {name!r} in the corpus: `lavra status --documents` lists them.", status=404
        )
    if len(matches) > 1:
        some = ", ".join(document.source for document in matches[:3])
        raise LavraError(f"{len(matches)} documents are called {name!r} ({some} …): give the whole source, or the id.")
    return matches[0]


def own_sentences(document: Document, others: object) -> list[str]:
    """Sentences of at least 20 characters that no other document has: what must be nowhere afterwards."""
    mine = {document.text[start:end] for start, end in sentences(document.text)}
    mine = {sentence for sentence in mine if len(sentence) >= 20}
    for other in others:  # type: ignore[attr-defined]
        if not mine:
            break
        mine = {sentence for sentence in mine if sentence not in other.text}
    return sorted(mine)


def remember(workspace: Workspace, document: Document) -> None:
    """Note, by hashes alone, that this document is not to come back."""
    values = {**workspace.forgotten(), document.id: utc_now(), document.hash: utc_now()}
    write_atomically(workspace.store.root / "forgotten.json", json.dumps(values, indent=2).encode())


def delete_uploads(workspace: Workspace, document: Document) -> Sequence[str]:
    """Delete the uploaded file that the document was read from, if it was uploaded."""
    folder, _, rest = document.source.partition("/")
    path = workspace.root / UPLOADS / Path(rest.split("#")[0]).name
    if folder != UPLOADS or not path.is_file():
        return []
    path.unlink()
    return [f"{UPLOADS}/{path.name}"]
