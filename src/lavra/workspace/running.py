"""A running workspace: what the server needs, and what it may see.

Everything that returns text asks for roles. An uploaded file is kept in ``uploads/`` beside ``lavra.toml``, where
people can see it, and goes the way of every document: into the corpus, into the index, into the pedigree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import tomlkit

from lavra.corpus.document import PUBLIC, Document
from lavra.errors import LavraError
from lavra.serving.services import Added, NotAdded
from lavra.store.files import write_atomically
from lavra.workspace.questions import examples
from lavra.workspace.workspace import UPLOADS, Workspace

if TYPE_CHECKING:
    from lavra.assistants.assistant import Assistant
    from lavra.assistants.events import Answering
    from lavra.inference.embedder import Embedder
    from lavra.retrieval.passage import Passage


class Running:
    """Implements ``lavra.serving.services.Services`` on a workspace."""

    def __init__(self, workspace: Workspace, chosen: Answering | None = None) -> None:
        """``chosen``: what answers in place of the workspace's own assistant: the way that a study recommends."""
        self.workspace = workspace
        self._chosen = chosen
        self._adapted = self._over_adapters()
        self._assistant = workspace.assistant()  # the last one made is the one that is called "assistant"
        for name in workspace.adapters:
            if name in (self._assistant.name, workspace.engine.name):
                raise LavraError(f"an adapter cannot be called {name}, which is served already: give it another name.")

    @cached_property
    def assistants(self) -> Mapping[str, Answering]:
        """The workspace's assistant (the chosen one, if one was chosen), and its model alone under the model's own
        name; each of its adapters alone under the adapter's name, and with the documents under ``workspace:adapter``
        if the store knows where it came from."""
        from lavra.assistants.assistant import BareModel

        engine, sampling = self.workspace.engine, self._assistant.settings.sampling
        found: dict[str, Answering] = {self._assistant.name: self._chosen or self._assistant}
        found[engine.name] = BareModel(engine.name, engine, sampling)
        for name in engine.adapters:
            found[name] = BareModel(name, engine.using(name), sampling)
            if name in self._adapted:
                found[f"{self._assistant.name}:{name}"] = self._adapted[name]
        return found

    def _over_adapters(self) -> dict[str, Assistant]:
        """Assistants that write with an adapter; each has an artifact, so that its answers can be traced."""
        from lavra.workspace.generators import tuned

        found = {}
        for name, reference in self.workspace.adapters.items():
            if tuned(self.workspace, reference) is not None:
                other = self.workspace.writing_with(reference)
                shared = {"live_index": self.workspace.live_index, "embedder": self.workspace.embedder}
                other.__dict__ |= shared | {"engine": self.workspace.engine.using(name)}
                found[name] = other.assistant()
        return found

    @property
    def embedder(self) -> Embedder:
        return self.workspace.embedder

    def document(self, document_id: str, roles: frozenset[str]) -> Document | None:
        """The document, or nothing where it does not exist or these roles may not read it."""
        from lavra.corpus.ingest import load_document

        corpus = self.workspace.corpus()
        document = load_document(corpus.path, document_id) if corpus else None
        if document is None or not (roles | {PUBLIC}) & set(document.roles):
            return None
        return document

    def passage(self, chunk_id: str, roles: frozenset[str]) -> Passage | None:
        return self.workspace.live_index.passage(chunk_id, roles)

    def add_document(self, filename: str, data: bytes, *, roles: frozenset[str]) -> Sequence[Added | NotAdded]:
        """Keep an upload, ingest it, index it; what cannot be read is not kept."""
        from lavra.corpus.left_out import load_left_out
        from lavra.corpus.reading import read_bytes
        from lavra.corpus.walking import Skipped

        workspace = self.workspace
        folder = workspace.root / UPLOADS
        folder.mkdir(exist_ok=True)
        trial = read_bytes(filename, data, workspace.read_settings(roles=sorted(roles)))
        read = [result for result in trial if isinstance(result, Document)]
        known = self._known_texts(roles)
        if all(document.hash in known for document in read):
            same = "it has the same text as {}, which is there already"
            return [result for result in trial if isinstance(result, Skipped)] + [
                Skipped(document.source, "duplicate", same.format(known[document.hash])) for document in read
            ]
        with workspace.alone("uploads"):
            path = _free_name(folder, filename)
            _say_roles(folder, path.name, roles)
            write_atomically(path, data)
            ingested = workspace.ingest([folder])
            workspace.index()
        prefix = f"{UPLOADS}/{path.name}"
        results: list[Added | NotAdded] = [
            row.skipped()
            for row in load_left_out(ingested.artifact.path)
            if not row.earlier and row.source.split("#")[0] == prefix
        ]
        counts = workspace.live_index.documents(roles)
        for entry in counts:
            if entry.source.split("#")[0] == prefix:
                results.append(Added(entry.document_id, entry.source, entry.title, entry.chunks))
        return results

    def _known_texts(self, roles: frozenset[str]) -> dict[str, str]:
        """The source of each text that exactly these roles may read, by its hash: others' names are not told."""
        import pyarrow.parquet as parquet

        corpus = self.workspace.corpus()
        if corpus is None:
            return {}
        columns = parquet.read_table(corpus.path / "documents.parquet", columns=["hash", "source", "roles"])
        return {row["hash"]: row["source"] for row in columns.to_pylist() if roles == set(row["roles"])}

    def status(self) -> Mapping[str, int]:
        stats = self.workspace.live_index.stats()
        return {"documents": int(stats["documents"]), "passages": int(stats["chunks"])}

    @cached_property
    def _examples(self) -> Sequence[str]:
        return examples(self.workspace)

    def example_questions(self) -> Sequence[str]:
        return self._examples


def _free_name(folder: Path, filename: str) -> Path:
    """A path for an upload that takes no other's place."""
    name = re.sub(r"[*?]", "_", Path(filename).name.lstrip(".")) or "upload"  # * and ? would be patterns
    if name == "lavra-sources.toml":
        raise LavraError("a sources file cannot be uploaded: it says who may read what.")
    path, count = folder / name, 2
    while path.exists():
        path = folder / f"{Path(name).stem} ({count}){Path(name).suffix}"
        count += 1
    return path


def _say_roles(folder: Path, name: str, roles: frozenset[str]) -> None:
    """Note in the folder's sources file who may read an upload, so that a later ingest says the same."""
    path = folder / "lavra-sources.toml"
    settings = tomlkit.parse(path.read_text(encoding="utf-8")) if path.exists() else tomlkit.document()
    entries = settings.setdefault("source", tomlkit.aot())
    entry = tomlkit.table()
    entry.add("path", name)
    entry.add("roles", sorted(roles))
    entries.append(entry)
    write_atomically(path, tomlkit.dumps(settings).encode())
