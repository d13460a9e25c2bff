"""The verbs, as methods of a workspace.

The documents go: files → corpus artifact → live index (``.lavra/index``, changed in place, one writer) → answers. Every
state of the index that was ever answered from has an ``index`` artifact, a receipt that names its corpus, its embedder
and what was in it; the assistant's artifact names that, the model and the prompt. So an answer can be traced.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from lavra.corpus.document import PUBLIC, Document
from lavra.corpus.settings import ReadSettings
from lavra.errors import LavraError
from lavra.store import Artifact, Draft, Store
from lavra.store.files import digest
from lavra.workspace.settings import LIMITS, NAME, Settings, load_settings, template

if TYPE_CHECKING:  # heavy: brought in by the verbs that need them
    from lavra.assistants.assistant import Assistant
    from lavra.assistants.events import Event, Message
    from lavra.corpus.ingest import IngestReport
    from lavra.inference.embedder import Embedder
    from lavra.inference.engine import Engine
    from lavra.inference.sampling import Sampling
    from lavra.model.hub import ResolvedModel
    from lavra.retrieval.fusion import Fusion
    from lavra.retrieval.index import Index
    from lavra.retrieval.reranking import Judge, Reranking
    from lavra.retrieval.updating import UpdateReport
    from lavra.workspace.generators import Generator

Progress = Callable[[str, int, int], None]
"""``progress(what, done, total)``; ``total`` 0 where it is not known."""

PATIENCE = 600.0
"""Seconds that a process waits for another that changes the corpus or the index."""
STORE = ".lavra"
UPLOADS = "uploads"
"""Where files uploaded to the server are kept: beside ``lavra.toml``, for people to see."""


def silent(what: str, done: int, total: int) -> None:
    """The progress that nobody watches."""


@dataclass(frozen=True)
class Ingested:
    """What ``ingest`` did."""

    artifact: Artifact
    report: IngestReport
    found: bool
    """True: nothing had changed, and the corpus made before serves."""


@dataclass(frozen=True)
class Indexed:
    """What ``index`` did."""

    artifact: Artifact
    report: UpdateReport


class Workspace:
    """The workspace at ``root``: everything of one project."""

    def __init__(self, root: Path, settings: Settings, *, adapters: Mapping[str, str] | None = None) -> None:
        """``adapters``: others to choose from over the generator, by the names they are asked for."""
        self.root = root
        self.settings = settings
        self.adapters = dict(adapters or {})
        self.store = Store(root / STORE)

    # ── finding and making ───────────────────────────────────────────────────────────────────────────────────────

    @classmethod
    def init(cls, root: Path, *, name: str | None = None) -> Workspace:
        """Make a workspace in ``root``, or open the one that is there: its settings are left as they are."""
        root = root.resolve()
        if root.is_file():
            raise LavraError(f"{root} is a file: give a directory for the workspace, or a new name.")
        try:
            root.mkdir(parents=True, exist_ok=True)
            if not (root / NAME).exists():
                (root / NAME).write_text(template(name or root.name), encoding="utf-8")
            return cls.open(root)
        except OSError as error:
            raise LavraError(
                f"no workspace can be made in {root}: {error.strerror}; choose a directory you may write to."
            ) from error

    @classmethod
    def open(cls, root: Path) -> Workspace:
        """The workspace at ``root`` itself."""
        if not (root / NAME).exists():
            raise LavraError(f"there is no workspace in {root}: run `lavra init` there first.")
        return cls(root.resolve(), load_settings(root / NAME))

    @classmethod
    def find(cls, start: Path | None = None) -> Workspace:
        """The workspace around ``start`` (the current directory): here, or in a directory above."""
        start = (start or Path.cwd()).resolve()
        for directory in (start, *start.parents):
            if (directory / NAME).exists():
                return cls.open(directory)
        raise LavraError(f"there is no workspace in {start} or above it: run `lavra init` first.")

    @property
    def name(self) -> str:
        return self.settings.name or self.root.name

    # ── ingest ───────────────────────────────────────────────────────────────────────────────────────────────────

    def ingest(
        self,
        paths: Sequence[Path],
        *,
        licence: str | None = None,
        owner: str | None = None,
        roles: Sequence[str] | None = None,
        max_megabytes: int | None = None,
        fresh: bool = False,
        progress: Progress = silent,
    ) -> Ingested:
        """Read files and folders into the corpus.

        Documents of folders that were ingested before stay, those of ``paths`` are read anew; ``fresh`` begins with
        an empty corpus. Flags hold for everything under ``paths`` and are stronger than what the files say.

        Raises:
            LavraError: where a path is not there, or nothing at all could be read.
        """
        from lavra.workspace.ingesting import ingest

        reading = self.read_settings(licence=licence, owner=owner, roles=roles, max_megabytes=max_megabytes)
        return ingest(self, [Path(path) for path in paths], reading, fresh=fresh, progress=progress)

    def read_settings(self, **flags: Any) -> ReadSettings:
        """``[documents]`` of ``lavra.toml``, with what flags say on top."""
        documents = self.settings.documents
        values: dict[str, Any] = {
            "default_licence": documents.licence,
            "default_owner": documents.owner,
            "default_roles": documents.roles,
            "languages": documents.languages,
            **{limit: value for limit in LIMITS if (value := getattr(documents, limit)) is not None},
            "forgotten": frozenset(self.forgotten()),
        }
        values.update({name: value for name, value in flags.items() if value is not None})
        if "roles" in values:
            values["roles"] = tuple(values["roles"])
        return ReadSettings(**values)

    def corpus(self) -> Artifact | None:
        """The corpus as it is now, if anything was ingested."""
        id = self.store.ref("corpus")
        return self.store.get(id) if id else None

    def forgotten(self) -> Mapping[str, str]:
        """Documents that were erased and are not to come back: source by hash of the text, and of the source."""
        try:
            values: dict[str, str] = json.loads((self.store.root / "forgotten.json").read_bytes())
            return values
        except FileNotFoundError:
            return {}

    # ── index ────────────────────────────────────────────────────────────────────────────────────────────────────

    def index(self, *, rebuild: bool = False, progress: Progress = silent) -> Indexed:
        """Bring the index up to date with the corpus, touching only what changed.

        ``rebuild`` begins from nothing: after the embedder or the chunk sizes were changed.
        """
        from lavra.corpus.ingest import load_documents

        corpus = self.corpus()
        if corpus is None:
            raise LavraError("nothing was ingested yet: run `lavra ingest FOLDER` first.")
        embedder = self.embedder
        with self.alone("index"):
            if rebuild:
                self._remove_live_index()
            index = self.live_index
            documents = _Counted(load_documents(corpus.path), int(corpus.manifest.metrics["documents"]))
            report = index.update(documents, progress=lambda done, total, label: progress("Indexing", done, total))
            artifact = self._record_index(index, corpus, embedder)
        return Indexed(artifact, report)

    def _record_index(self, index: Index, corpus: Artifact, embedder: Embedder) -> Artifact:
        """The receipt of what the live index holds now."""
        stats = index.stats()
        recipe = {
            "chunks": asdict(index.chunking),
            "fusion": fusion_hash(self.fusion),
            "format": 1,
        }

        def build(draft: Draft) -> None:
            (draft.path / "index.json").write_text(json.dumps(stats, indent=2, sort_keys=True))
            draft.metrics.update(stats)
            draft.licences.extend(corpus.manifest.licences)

        inputs = {"corpus": corpus.id, "embedder": self._model_artifact(embedder_reference(self)).id}
        artifact = self.store.make("index", inputs, recipe, build)
        self.store.set_ref("index", artifact.id)
        return artifact

    def _remove_live_index(self) -> None:
        import shutil

        self.__dict__.pop("live_index", None)
        if (place := self.store.root / "index").exists():
            aside = self.store.drafts / "0-index"
            shutil.rmtree(aside, ignore_errors=True)
            place.rename(aside)
            shutil.rmtree(aside)

    @cached_property
    def live_index(self) -> Index:
        """The index that searches run on."""
        from lavra.retrieval.chunking import ChunkSettings
        from lavra.retrieval.index import Index

        section = self.settings.index
        return Index.open(
            self.store.root / "index",
            self.embedder,
            fusion=self.fusion,
            chunking=ChunkSettings(target=section.target, limit=section.limit),
            reranking=self.reranking,
        )

    @cached_property
    def reranking(self) -> Reranking | None:
        """By whom the best passages are put in order, if the settings name somebody; loaded at the first question."""
        from lavra.retrieval.reranking import Reranking

        if self.reranker is None:
            return None
        section, model = self.settings.search, self.reranker.model

        def load() -> Judge:
            from lavra.inference.classifier import Reranker

            return Reranker.load(model)

        return Reranking(load, section.candidates, section.share)

    @cached_property
    def reranker(self) -> Generator | None:
        """The cross-encoder that the settings name: what was tuned here, or a model."""
        from lavra.workspace.generators import find_generator

        name = self.settings.search.reranker
        return find_generator(self, name) if name else None

    @cached_property
    def fusion(self) -> Fusion:
        """What joins the lexical and the dense search: the workspace's own, or the one that comes with Lavra."""
        from lavra.retrieval.fusion import Fusion

        own = self.settings.index.fusion
        return Fusion.load(self.root / own) if own else Fusion.load()

    # ── models ───────────────────────────────────────────────────────────────────────────────────────────────────

    def pull(self, *, progress: Progress = silent) -> list[ResolvedModel]:
        """Have the workspace's models on this machine."""
        from lavra.model.hub import resolve
        from lavra.workspace.generators import tuned

        models = self.settings.models
        return [
            resolve(reference, pull=True, progress=pulling(reference, progress))
            for reference in (models.generator, models.embedder, self.settings.search.reranker)
            if reference and tuned(self, reference) is None
        ]

    @cached_property
    def embedder(self) -> Embedder:
        from lavra.inference.embedder import Embedder

        return Embedder.load(self._resolved(self.settings.models.embedder))

    @cached_property
    def engine(self) -> Engine:
        from lavra.inference.engine import Engine
        from lavra.workspace.generators import find_adapters

        found = self.generator
        return Engine.load(found.model, adapters=found.adapters, named=find_adapters(self, self.adapters))

    @cached_property
    def generator(self) -> Generator:
        """The settings' model, or what was tuned here."""
        from lavra.workspace.generators import find_generator

        return find_generator(self, self.settings.models.generator)

    def writing_with(self, generator: str) -> Workspace:
        """The same workspace with another model, or an adapter by its artifact's id or name."""
        models = self.settings.models.model_copy(update={"generator": generator})
        return Workspace(self.root, self.settings.model_copy(update={"models": models}))

    def with_adapters(self, named: Mapping[str, str]) -> Workspace:
        """The same workspace with adapters to choose from beside its model, by name."""
        return Workspace(self.root, self.settings, adapters=named)

    def _resolved(self, reference: str) -> ResolvedModel:
        from lavra.model.hub import resolve

        return resolve(self._beside(reference))

    def _beside(self, reference: str) -> str:
        """A path in ``lavra.toml`` is meant from the workspace's directory, wherever the command runs."""
        if ":" not in reference and (self.root / reference).exists():
            return str(self.root / reference)
        return reference

    def _model_artifact(self, model: ResolvedModel) -> Artifact:
        """A card of the model in the store, so that pedigrees reach it; the weights stay where they are."""
        card = {"name": model.name, "reference": model.reference, "sha256": model.sha256, "format": model.format}

        def build(draft: Draft) -> None:
            (draft.path / "model.json").write_text(json.dumps({**card, "licence": model.licence}, indent=2))
            draft.licences.append(model.licence)

        return self.store.make("model", {}, card, build)

    # ── answering ────────────────────────────────────────────────────────────────────────────────────────────────

    def ready(self) -> Artifact:
        """The index's receipt, if there is something to answer from that is up to date with the corpus."""
        corpus, id = self.corpus(), self.store.ref("index")
        if corpus is None:
            raise LavraError("there are no documents yet: run `lavra ingest FOLDER`, then `lavra index`.")
        if id is None:
            raise LavraError("the documents are not indexed yet: run `lavra index`.")
        artifact = self.store.get(id)
        if artifact.manifest.inputs["corpus"] != corpus.id:
            raise LavraError("the documents changed after they were indexed: run `lavra index` again.")
        return artifact

    def assistant(self) -> Assistant:
        """The workspace's assistant, with model and index loaded, recorded in the store."""
        from lavra.workspace.answering import make_assistant

        return make_assistant(self)

    def _locate(self, document_id: str, offset: int) -> tuple[str | None, tuple[str, ...]] | None:
        corpus = self.corpus()
        document = _document(corpus.path, document_id) if corpus else None
        return document.place(offset) if document else None

    def ask(
        self,
        question: str | Sequence[Message],
        *,
        roles: Sequence[str] = (PUBLIC,),
        sampling: Sampling | None = None,
    ) -> Iterator[Event]:
        """Answer a question from the documents that one of ``roles`` may read; see ``lavra.assistants.events``."""
        from lavra.assistants.events import Message

        messages = [Message("user", question)] if isinstance(question, str) else list(question)
        yield from self.assistant().answer(messages, roles=frozenset(roles), sampling=sampling)

    # ── one at a time ────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Only one process changes the corpus, or the index, at one time; a second waits, and says so in the end."""
        try:
            lock = FileLock(self.store.root / f"{what}.lock", timeout=PATIENCE)
            lock.acquire()
        except Timeout as error:
            raise LavraError(
                f"another process has been changing the {what} for {PATIENCE / 60:.0f} minutes: wait for it or end it."
            ) from error
        try:
            yield
        finally:
            lock.release()


@lru_cache(maxsize=256)
def _document(corpus: Path, document_id: str) -> Document | None:
    """A document of a corpus; an artifact never changes, so it may be remembered."""
    from lavra.corpus.ingest import load_document

    return load_document(corpus, document_id)


class _Counted:
    """An iterable whose length is known without reading it."""

    def __init__(self, items: Iterator[Any], length: int) -> None:
        self._items, self._length = items, length

    def __iter__(self) -> Iterator[Any]:
        return self._items

    def __len__(self) -> int:
        return self._length

    def __contains__(self, item: object) -> bool:
        raise TypeError("a stream of documents is read once")


def embedder_reference(workspace: Workspace) -> ResolvedModel:
    """The embedder's place and checksum, without loading it."""
    return workspace._resolved(workspace.settings.models.embedder)


def fusion_hash(fusion: Fusion) -> str:
    """SHA-256 over the coefficients: what tells one fitted fusion from another."""
    numbers = [fusion.mean.tolist(), fusion.scale.tolist(), fusion.weights.tolist(), fusion.bias, fusion.threshold]
    return digest([list(fusion.names), numbers, fusion.acceptance and fusion.acceptance.record()])


def pulling(reference: str, progress: Progress) -> Callable[[int, int | None], None]:
    """A pull's own progress (bytes done, of how many or of nobody knows), as a step with a name."""
    what = f"Pulling {reference}"
    return lambda done, total: progress(what, done, total or 0)
