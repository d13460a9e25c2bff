"""``lavra questions``: questions with answers and sources, made from the workspace's corpus and checked.

Made by rules, by a model, or both; then judged by ``assistants.questions.checks``, split by document, joined by
questions that nothing answers, and kept as an artifact whose file a person may copy, edit and read back.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lavra.assistants.questions.checks import WITHIN, Seen, finds, self_contained, supported
from lavra.assistants.questions.items import Item, as_jsonl, find_quote, read_items
from lavra.assistants.questions.rules import GRAMMARS, make
from lavra.assistants.questions.unanswerable import Texts, held_out, swapped
from lavra.corpus.document import PUBLIC, Document
from lavra.errors import LavraError
from lavra.store.files import digest, write_atomically
from lavra.workspace.workspace import Progress, Workspace, silent

if TYPE_CHECKING:
    from lavra.assistants.questions.endpoint import Writer
    from lavra.retrieval.chunking import Chunk
    from lavra.retrieval.index import Index
    from lavra.store import Artifact, Draft

RULES = 1
"""Raised when the rules make other questions of the same documents."""
KINDS = ("faq", "definition", "how", "number", "date", "name", "place", "list", "glossary", "table", "asked")


@dataclass(frozen=True)
class QuestionSettings:
    """What to make; all of it is in the artifact's recipe."""

    count: int = 200
    """At most so many, those that nothing answers among them."""
    by: Literal["rules", "model", "both"] = "rules"
    language: str = "auto"
    """``pt``, ``en``, ``es``: only these documents by rules, questions in this language by a model."""
    unanswerable: float = 0.1
    """Share of all."""
    split: tuple[int, int] | None = (80, 20)
    """Parts of the documents for training and for testing."""
    within: int = WITHIN
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise LavraError(f"count is {self.count}: ask for at least one question.")
        if self.by not in ("rules", "model", "both"):
            raise LavraError(f"by is {self.by!r}: write rules, model or both.")
        if self.language not in ("auto", *GRAMMARS):
            raise LavraError(f"the language is {self.language!r}: write auto, {', '.join(GRAMMARS)}.")
        if not 0 <= self.unanswerable <= 0.9:
            raise LavraError(f"the share of unanswerable questions is {self.unanswerable}: write 0 to 0.9.")
        if self.split is not None and (min(self.split) < 0 or sum(self.split) <= 0):
            raise LavraError(f"the split is {self.split[0]}:{self.split[1]}: write parts such as 80:20.")

    def recipe(self) -> dict[str, Any]:
        """As plain JSON."""
        split = list(self.split) if self.split else None
        return {
            "count": self.count, "by": self.by, "language": self.language, "unanswerable": self.unanswerable,
            "split": split, "within": self.within, "seed": self.seed, "rules": RULES,
        }  # fmt: skip


@dataclass(frozen=True)
class Questions:
    """What was made, and what was refused and why; ``checked``: whether an index judged the retrieval."""

    artifact: Artifact
    items: Sequence[Item]
    report: Mapping[str, Any]
    found: bool = False
    """True: it had been made before."""

    @property
    def checked(self) -> bool:
        return bool(self.report["retrieval_checked"])


@dataclass
class _Making:
    """What one run works with."""

    documents: list[Document]
    settings: QuestionSettings
    index: Index | None
    roles: frozenset[str]
    progress: Progress
    refused: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.by_source = {document.source: document for document in self.documents}
        self.texts = Texts([document.text for document in self.documents])
        self.seen = Seen(self.index.embedder if self.index else None)


def questions(
    workspace: Workspace,
    settings: QuestionSettings | None = None,
    *,
    writer: Writer | None = None,
    held_out_from: Path | None = None,
    roles: Sequence[str] = (PUBLIC,),
    progress: Progress = silent,
) -> Questions:
    """Make questions of the documents that one of ``roles`` may read.

    ``writer``: the model that writes them where ``settings.by`` says so; ``held_out_from``: a file or folder outside
    the corpus, whose questions the corpus does not answer.

    Raises:
        LavraError: where there is no corpus, nothing could be made, or the writer fails for good (run it again).
    """
    settings = settings or QuestionSettings()
    reader = frozenset({PUBLIC, *roles})
    corpus = workspace.corpus()
    if corpus is None:
        raise LavraError("there are no documents to ask about: run `lavra ingest FOLDER` first.")
    if settings.by != "rules" and writer is None:
        raise LavraError("there is nobody to write questions: give a model or an endpoint, or make them by rules.")
    documents = _documents(workspace, reader)
    foreign = _foreign(workspace, held_out_from) if held_out_from else []
    index, inputs = _index(workspace), {"corpus": corpus.id}
    if index is not None:
        inputs["index"] = workspace.ready().id
    recipe: dict[str, Any] = {**settings.recipe(), "roles": sorted(reader)}
    if settings.by != "rules" and writer is not None:
        from lavra.assistants.questions.by_model import prompt

        engine = getattr(writer, "engine", None)
        recipe["model"] = {"name": writer.name, "prompt": prompt().hash, "sha256": getattr(engine, "sha256", "")}
        recipe["model"]["endpoint"] = getattr(writer, "url", "")
    if foreign:
        recipe["held_out"] = digest(sorted(document.hash for document in foreign))

    def build(draft: Draft) -> None:
        making = _Making(documents, settings, index, reader, progress)
        kept = workspace.store.root / "questioning" / f"{digest([inputs, recipe])[:16]}.jsonl"
        items = _made(making, writer, kept)
        items += _unanswerable(making, items, foreign)
        items = _split(items, making)
        if not items:
            why = ", ".join(f"{count} {reason}" for reason, count in making.refused.most_common(3))
            raise LavraError(
                f"no question could be made of {len(documents)} documents{f' ({why})' if why else ''}: "
                "give documents in Portuguese, English or Spanish, or --by model."
            )
        report = _report(items, making, writer)
        (draft.path / "questions.jsonl").write_bytes(as_jsonl(items))
        (draft.path / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False), encoding="utf-8")
        draft.metrics.update(questions=len(items), unanswerable=report["unanswerable"])
        draft.licences.extend(corpus.manifest.licences)

    before = workspace.store.find("questions", inputs, recipe)
    artifact = before or workspace.store.make("questions", inputs, recipe, build)
    workspace.store.set_ref("questions", artifact.id)
    kept = workspace.store.root / "questioning" / f"{digest([inputs, recipe])[:16]}.jsonl"
    kept.unlink(missing_ok=True)  # it is in the artifact now
    report = json.loads((artifact.path / "report.json").read_text(encoding="utf-8"))
    return Questions(artifact, read_items(artifact.path / "questions.jsonl"), report, found=before is not None)


def parse_split(text: str) -> tuple[int, int] | None:
    """``80:20`` → (80, 20); ``none`` → None."""
    if text == "none":
        return None
    train, colon, test = text.partition(":")
    if not (colon and train.isdecimal() and test.isdecimal()):
        raise LavraError(f"the split is {text!r}: write TRAIN:TEST, such as 80:20, or none.")
    return int(train), int(test)


def asker(
    workspace: Workspace,
    by: str,
    *,
    model: str | None = None,
    endpoint: str | None = None,
    endpoint_model: str | None = None,
    key_env: str | None = None,
    as_json: bool = True,
) -> Writer | None:
    """Who writes questions: the endpoint, the model named, or the workspace's own; None where rules do. ``as_json``: a
    server is asked for JSON, where it knows how.

    Raises:
        LavraError: where what was named contradicts itself, or is not here.
    """
    if by == "rules":
        if model or endpoint:
            raise LavraError("a model was named but questions are made by rules: add --by model or --by both.")
        return None
    if model and endpoint:
        raise LavraError("a model and an endpoint were named: give one of --model and --endpoint.")
    from lavra.assistants.questions.endpoint import Endpoint, OwnModel

    if endpoint:
        if not endpoint_model:
            raise LavraError("the endpoint's model was not named: add --endpoint-model NAME.")
        return Endpoint(endpoint, endpoint_model, key_env=key_env, as_json=as_json)
    if model:
        from lavra.inference.engine import Engine

        return OwnModel(Engine.load(workspace._resolved(model)))
    return OwnModel(workspace.engine)


def read_edited(workspace: Workspace, path: Path, *, roles: Sequence[str] = (PUBLIC,)) -> list[Item]:
    """The items of a file that a person edited, each quote checked against the corpus; see ``items.read_items``."""
    documents = _documents(workspace, frozenset({PUBLIC, *roles}))
    return read_items(path, {document.source: document for document in documents})


def write_raft(
    workspace: Workspace,
    items: Sequence[Item],
    path: Path,
    *,
    without: float = 0.2,
    seed: int = 0,
    roles: Sequence[str] = (PUBLIC,),
    progress: Progress = silent,
) -> Mapping[str, int]:
    """RAFT conversations of the items that are not held out for testing; how many of each sort.

    Rendered by the workspace's own prompt, with as many passages as its assistant reads.

    Raises:
        LavraError: where the index is not there or not up to date.
    """
    from lavra.assistants.questions.raft import conversations
    from lavra.prompting import load_template

    if not 0 <= without <= 1:
        raise LavraError(f"the share without its passage is {without}: write 0 to 1.")
    workspace.ready()
    reader = frozenset({PUBLIC, *roles})
    section = workspace.settings.answer
    own = workspace.root / section.prompt
    template = load_template(str(own) if section.prompt.endswith(".toml") else section.prompt)
    documents = {document.source: document for document in _documents(workspace, reader)}
    rows = list(
        conversations(
            items, documents, workspace.live_index, template, roles=reader, read=section.read, without=without,
            seed=seed, progress=lambda done, total: progress("Finding distractors", done, total),
        )
    )  # fmt: skip
    if not rows:
        raise LavraError("no training conversation could be made: all questions are held out, or find no passage.")
    write_atomically(
        path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "replace")
    )
    refusals = sum(row["gold"] is None for row in rows)
    return {"conversations": len(rows), "answered": len(rows) - refusals, "refused": refusals}


def _documents(workspace: Workspace, roles: frozenset[str]) -> list[Document]:
    from lavra.corpus.ingest import load_documents

    corpus = workspace.corpus()
    return [d for d in load_documents(corpus.path) if roles & set(d.roles)] if corpus else []


def _foreign(workspace: Workspace, path: Path) -> list[Document]:
    """Documents that are not in the corpus, read as it would read them."""
    import tempfile

    from lavra.corpus.ingest import build_corpus, load_documents

    if not path.exists():
        raise LavraError(f"{path} does not exist: give a file or folder of documents that are not in the corpus.")
    with tempfile.TemporaryDirectory() as scratch:
        build_corpus([path], workspace.read_settings(), Path(scratch))
        return list(load_documents(Path(scratch)))


def _index(workspace: Workspace) -> Index | None:
    """The index where it is up to date; without one, retrieval is not checked."""
    try:
        workspace.ready()
        return workspace.live_index
    except LavraError:
        return None


def _made(making: _Making, writer: Writer | None, kept: Path) -> list[Item]:
    """Checked items, as many as are answerable of those wanted, spread over documents and kinds."""
    settings = making.settings
    wanted = max(1, settings.count - round(settings.unanswerable * settings.count))
    found: list[Item] = []
    if settings.by != "model":
        share = wanted if settings.by == "rules" else -(-wanted // 2)
        candidates = [
            item
            for document in making.documents
            if settings.language in ("auto", document.language)
            for item in make(document)
        ]
        found += _good(making, _spread(candidates, settings.seed), share)
    if settings.by != "rules" and writer is not None:
        found += _good(making, _asked(making, writer, kept, wanted - len(found)), wanted - len(found))
    return found


def _asked(making: _Making, writer: Writer, kept: Path, wanted: int) -> Iterator[Item]:
    """What the model writes, passage by passage in a shuffled order, as long as somebody takes it."""
    from lavra.assistants.questions.by_model import FEWEST_WORDS, PER_PASSAGE, ask

    passages = [
        (document, chunk)
        for document in making.documents
        for chunk in _chunks(making, document)
        if len(chunk.text.split()) >= FEWEST_WORDS
    ]
    random.Random(making.settings.seed).shuffle(passages)
    expected = min(len(passages), -(-wanted // PER_PASSAGE))
    for done, items in ask(writer, passages, making.settings.language, kept):
        making.progress("Asking", done, max(done, expected))
        yield from items


def _chunks(making: _Making, document: Document) -> list[Chunk]:
    """As the index has them, so that their ids are the same."""
    from lavra.retrieval.chunking import split

    return split(document, making.index.chunking if making.index else None)


def _spread(items: Iterable[Item], seed: int) -> list[Item]:
    """In turn from each kind and each document, so that a small number is of all sorts."""
    piles: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in items:
        piles[item.kind, item.document].append(item)
    draw = random.Random(seed)
    by_kind: dict[str, list[Item]] = {}
    for kind in KINDS:
        own = [draw.sample(pile, len(pile)) for (k, _), pile in sorted(piles.items()) if k == kind]
        draw.shuffle(own)
        by_kind[kind] = [
            pile[turn] for turn in range(max(map(len, own), default=0)) for pile in own if turn < len(pile)
        ]
    longest = max(map(len, by_kind.values()), default=0)
    return [by_kind[kind][turn] for turn in range(longest) for kind in KINDS if turn < len(by_kind[kind])]


def _good(making: _Making, candidates: Iterable[Item], wanted: int) -> list[Item]:
    """The first ``wanted`` candidates that pass every check, each with its chunk."""
    found: list[Item] = []
    for item in candidates:
        if len(found) >= wanted:
            break
        document = making.by_source[item.document]
        reason = self_contained(item.question, item.language) or ("" if supported(item) else "not supported")
        if not reason and making.index is not None:
            known = finds(making.index, item, document.id, roles=making.roles, within=making.settings.within)
            reason = "" if known else "not found by the search"
        if not reason and not making.seen.new([item]):
            reason = "asked already"
        if reason:
            making.refused[reason] += 1
            continue
        chunk = next((c for c in _chunks(making, document) if c.start <= item.start < c.end), None)
        found.append(replace(item, chunk=chunk.id if chunk else ""))
        making.progress("Checking", len(found), wanted)
    return found


def _unanswerable(making: _Making, items: Sequence[Item], foreign: Sequence[Document]) -> list[Item]:
    """Questions that nothing answers, to be the wanted share of all; of documents held out first."""
    share = making.settings.unanswerable
    wanted = min(round(len(items) * share / (1 - share)), making.settings.count - len(items))
    if wanted <= 0:
        return []
    own = {document.hash for document in making.documents}
    theirs = [item for document in foreign if document.hash not in own for item in make(document)]
    candidates = [
        *held_out(
            _spread(theirs, making.settings.seed), making.texts, [(d.text, d.language) for d in making.documents]
        ),
        *swapped(items, making.texts, seed=making.settings.seed),
    ]
    good = [item for item in candidates if not self_contained(item.question, item.language)]
    return making.seen.new(good)[:wanted]


def _split(items: Sequence[Item], making: _Making) -> list[Item]:
    """Each document on one side: equal texts together, and no quote of the test side in the training side's text."""
    parts = making.settings.split
    if parts is None:
        return list(items)
    share = parts[1] / sum(parts)
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        document = making.by_source.get(item.document)
        groups[document.hash if document else item.document].append(item)
    order = sorted(groups, key=lambda name: digest([making.settings.seed, name]))
    wanted, taken = share * len(items), 0
    test: set[str] = set()
    for name in order:
        size = len(groups[name])
        if wanted and taken + size / 2 <= wanted and len(test) < len(order) - 1:
            test.add(name)
            taken += size
    if wanted and not test and len(order) > 1:  # few documents: rather a test that is too large than none
        test.add(min(order, key=lambda name: len(groups[name])))
    sided = [replace(item, split="test" if name in test else "train") for name in order for item in groups[name]]
    training = [
        making.by_source[s].text for s in {i.document for i in sided if i.split == "train"} & making.by_source.keys()
    ]
    kept = []
    for item in sided:
        if item.split == "test" and item.quote and any(find_quote(text, item.quote) for text in training):
            making.refused["in both splits"] += 1
        else:
            kept.append(item)
    return kept


def _report(items: Sequence[Item], making: _Making, writer: Writer | None) -> dict[str, Any]:
    def count(values: Collection[Any] | Iterator[Any]) -> dict[str, int]:
        return dict(Counter(str(value) for value in values).most_common())

    return {
        "questions": len(items),
        "unanswerable": sum(not item.answerable for item in items),
        "kinds": count(item.kind for item in items),
        "languages": count(item.language for item in items),
        "splits": count(item.split for item in items),
        "documents": len({item.document for item in items}),
        "refused": dict(making.refused.most_common()),
        "retrieval_checked": making.index is not None,
        "model": dict(writer.counts) if writer is not None else {},
    }
