"""``corpus clean``: a corpus to train on out of the workspace's corpus, with its account; and comparing two."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavra.errors import LavraError
from lavra.store import Artifact, Draft
from lavra.store.manifest import recipe_hash
from lavra.workspace.generators import find_generator
from lavra.workspace.perplexity import reader
from lavra.workspace.workspace import Progress, Workspace, silent

if TYPE_CHECKING:
    from lavra.corpus.cleaning.report import CleaningReport
    from lavra.corpus.cleaning.settings import Cleaning

CLEANER = 1
"""Raised when a stage would make something else of the same document, so that nothing old is found in its place."""
NAME = "clean"
UNFINISHED = "cleaning"
"""Where a cleaning keeps what it treated, until it is finished."""
_SHOWN = {"documents": "Cleaning", "perplexity": "Reading what stays with the model"}


@dataclass(frozen=True)
class Cleaned:
    """``found``: the same had been made before."""

    artifact: Artifact
    report: CleaningReport
    found: bool


def cleaning_settings(workspace: Workspace, **flags: Any) -> Cleaning:
    """``[corpus]`` of ``lavra.toml``, with what flags say on top; paths lie beside the file."""
    from lavra.corpus.cleaning.settings import Cleaning

    values = workspace.settings.corpus.model_dump()
    values.update({name: value for name, value in flags.items() if value is not None})
    values["languages"] = workspace.settings.documents.languages
    values["evaluation_sets"] = {
        name: str(path if Path(path).is_absolute() else workspace.root / path)
        for name, path in values["evaluation_sets"].items()
    }
    if values["classifier"] is not None:
        values["classifier"] = str(_classifier(workspace, values["classifier"]).path)
    return Cleaning(**values)


def _classifier(workspace: Workspace, name: str) -> Artifact:
    artifact = workspace.store.get(name)
    if artifact.manifest.kind != "model" or artifact.manifest.recipe.get("of") != "quality":
        raise LavraError(f"{artifact.id} is no quality classifier: make one with `lavra corpus classifier GOOD BAD`.")
    return artifact


def train_classifier(workspace: Workspace, good: Path, bad: Path, *, name: str = "quality") -> Artifact:
    """A quality classifier of one's own from good and bad texts (files or folders that could be ingested).

    Raises LavraError where there are too few of either, or one text is both.
    """
    from lavra.corpus.cleaning.engine import engine
    from lavra.corpus.quality.classifier import train

    engine()  # says what to install
    sides = {kind: _texts(workspace, place) for kind, place in (("good", good), ("bad", bad))}
    hashes = {kind: hashlib.sha256("\0".join(sorted(texts)).encode()).hexdigest() for kind, texts in sides.items()}

    def build(draft: Draft) -> None:
        made = train(sides["good"], sides["bad"])
        made.save(draft.path)
        draft.metrics.update(auc=made.auc, good=made.good, bad=made.bad)

    artifact = workspace.store.make("model", {}, {"of": "quality", **hashes}, build)
    workspace.store.set_ref(name, artifact.id)
    return artifact


def _texts(workspace: Workspace, place: Path) -> list[str]:
    from lavra.corpus.document import Document
    from lavra.corpus.reading import read_paths

    if not place.exists():
        raise LavraError(f"{place} does not exist: give a file or a folder of texts.")
    return [item.text for item in read_paths([place], workspace.read_settings()) if isinstance(item, Document)]


def clean(
    workspace: Workspace,
    settings: Cleaning,
    *,
    corpus: str | None = None,
    against: Sequence[str] = (),
    name: str = NAME,
    progress: Progress = silent,
) -> Cleaned:
    """Clean the workspace's corpus (or the one with this id or name) and keep the result as ``name``.

    Documents that are nearly the same as one of the corpora ``against`` are dropped.

    A cleaning that was stopped is continued. Raises LavraError where there is no corpus, where nothing at all would
    stay, or where a setting is wrong.
    """
    from lavra.corpus.cleaning.report import load_cleaning
    from lavra.corpus.cleaning.run import clean_corpus

    source = workspace.store.get(corpus) if corpus else workspace.corpus()
    if source is None:
        raise LavraError("there is nothing to clean yet: run `lavra ingest FOLDER` first.")
    others = {other: workspace.store.get(other) for other in against}
    for artifact in (source, *others.values()):
        if artifact.manifest.kind != "corpus" or artifact.manifest.erased is not None:
            raise LavraError(f"{artifact.id} is no corpus that could be read: give a corpus of the store.")
    settings.rule_sets()
    recipe = {**json.loads(json.dumps(asdict(settings))), "cleaner": CLEANER}
    if settings.balance is not None:
        recipe["parts"] = 1  # without them a corpus was balanced that nothing could be trained on by
    inputs = {"corpus": source.id, **{f"against {other.id}": other.id for other in others.values()}}
    if settings.classifier is not None:
        inputs["classifier"] = recipe["classifier"] = Path(settings.classifier).name
    score = None
    if settings.has("perplexity"):
        generator = find_generator(workspace, str(settings.perplexity_model))
        inputs["perplexity"] = (generator.artifact or workspace._model_artifact(generator.model)).id
        score = reader(generator, settings.perplexity_tokens)
    recipe["evaluation_sets"] = {
        set_name: _hash(Path(path)) for set_name, path in sorted(settings.evaluation_sets.items())
    }
    work = workspace.store.root / UNFINISHED / recipe_hash("corpus", inputs, recipe)
    made: list[CleaningReport] = []

    def build(draft: Draft) -> None:
        report = clean_corpus(
            source.path,
            draft.path,
            settings,
            work,
            against={other: artifact.path for other, artifact in others.items()},
            score=score,
            progress=lambda done, total, what: progress(_SHOWN[what], done, total),
        )
        if not report.documents_kept:
            shutil.rmtree(work, ignore_errors=True)  # the same settings would end the same way
            raise LavraError(_why_nothing_stays(report, settings))
        draft.metrics.update(
            documents=report.documents_kept,
            bytes=report.bytes_kept,
            dropped=report.documents_in - report.documents_kept,
        )
        if report.mixture:
            draft.metrics["mixture"] = report.mixture
        stated = report.representation.get("licences", {})
        draft.licences.extend(licence for licence in stated if licence != "none stated")
        made.append(report)

    with workspace.alone("clean"):
        artifact = workspace.store.make("corpus", inputs, recipe, build)
        workspace.store.set_ref(name, artifact.id)
    shutil.rmtree(work, ignore_errors=True)
    return Cleaned(artifact, made[0] if made else load_cleaning(artifact.path), found=not made)


def _why_nothing_stays(report: CleaningReport, settings: Cleaning) -> str:
    """The stage that drops most, and what to do."""
    worst = max(report.stages, key=lambda stage: stage.documents_dropped)
    if worst.name == "licence" and settings.unlicensed == "drop" and "none stated" in worst.reasons:
        return (
            f"nothing would stay: {worst.reasons['none stated']} of {report.documents_in} documents state no licence, "
            "and what states none is not trained on. Say whose it is with `lavra ingest --licence`, or decide that it "
            "may be with --unlicensed keep."
        )
    return (
        f"nothing would stay of {report.documents_in} documents, {worst.documents_dropped} are dropped by the stage "
        f"{worst.name!r}: switch it off with --without {worst.name}, or change [corpus] in lavra.toml."
    )


def _hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise LavraError(f"the evaluation set {path} cannot be read: {error.strerror}.") from None


def drop_unfinished(workspace: Workspace) -> None:
    """Remove what stopped cleanings left to be continued: texts that a document which is erased must not stay in."""
    shutil.rmtree(workspace.store.root / UNFINISHED, ignore_errors=True)


@dataclass(frozen=True)
class Difference:
    """What changed between two corpora. A document is the same one where its source is."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    """Sources whose text is another."""
    same: int
    characters: tuple[int, int]
    languages: dict[str, tuple[int, int]]
    licences: dict[str, tuple[int, int]]


def difference(workspace: Workspace, before: str, after: str) -> Difference:
    """What changed from one corpus of the store to another. Raises LavraError where one is no corpus."""
    sides = [_contents(workspace, name) for name in (before, after)]
    (left, left_counts), (right, right_counts) = sides
    both = left.keys() & right.keys()
    changed = sorted(source for source in both if left[source] != right[source])
    return Difference(
        added=tuple(sorted(right.keys() - left.keys())),
        removed=tuple(sorted(left.keys() - right.keys())),
        changed=tuple(changed),
        same=len(both) - len(changed),
        characters=(left_counts["characters"].total(), right_counts["characters"].total()),
        languages=_together(left_counts["languages"], right_counts["languages"]),
        licences=_together(left_counts["licences"], right_counts["licences"]),
    )


def _contents(workspace: Workspace, name: str) -> tuple[dict[str, str], dict[str, Counter[str]]]:
    from lavra.corpus.ingest import load_documents

    artifact = workspace.store.get(name)
    if artifact.manifest.kind != "corpus" or artifact.manifest.erased is not None:
        raise LavraError(f"{artifact.id} is no corpus that could be read: give two corpora of the store.")
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("languages", "licences", "characters")}
    hashes = {}
    for document in load_documents(artifact.path):
        hashes[document.source] = document.hash
        counts["languages"][document.language] += 1
        counts["licences"][document.licence or "none stated"] += 1
        counts["characters"]["all"] += len(document.text)
    return hashes, counts


def _together(left: Counter[str], right: Counter[str]) -> dict[str, tuple[int, int]]:
    names = sorted(left.keys() | right.keys(), key=lambda name: (-max(left[name], right[name]), name))
    return {name: (left[name], right[name]) for name in names if left[name] != right[name]}
