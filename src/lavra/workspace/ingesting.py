"""``ingest``: files and folders into the corpus, an artifact that is made anew from all that was ever read."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavra.corpus.settings import ReadSettings
from lavra.errors import LavraError
from lavra.store import Draft
from lavra.store.manifest import recipe_hash
from lavra.workspace.workspace import Ingested, Progress, Workspace

if TYPE_CHECKING:
    from lavra.corpus.ingest import IngestReport
    from lavra.corpus.reached import Reached

UNFINISHED = "ingesting"
"""Where an ingest keeps what it has read, until it is finished."""
READER = 2
"""Raised when the readers would make another text of the same file, so that nothing old is found in its place."""


def ingest(
    workspace: Workspace, roots: Sequence[Path], reading: ReadSettings, *, fresh: bool, progress: Progress
) -> Ingested:
    """Read ``roots`` into the corpus; see :meth:`Workspace.ingest`."""
    from lavra.corpus.fingerprint import fingerprint
    from lavra.corpus.ingest import build_corpus, load_report

    for root in roots:
        if not root.exists():
            raise LavraError(f"{root} does not exist: give a file or a folder to ingest.")
    with workspace.alone("corpus"):
        previous = None if fresh else workspace.corpus()
        said = _plain(asdict(reading))
        del said["forgotten"]
        # The recipe names every root of the corpus, with the state in which it was last read: with it the corpus
        # before is only a place to take unchanged documents from, not an input.
        recipe = {
            "roots": {
                **(previous.manifest.recipe["roots"] if previous else {}),
                **{str(root.resolve()): {"files": fingerprint(root, reading), **said} for root in roots},
            },
            "forgotten": sorted(reading.forgotten),
            "reader": READER,
        }
        made: list[IngestReport] = []

        def tell(reached: Reached) -> None:
            progress("Reading files", reached.bytes, reached.all_bytes)
            if reached.documents:
                progress("Documents", reached.documents, 0 if reached.label else reached.documents)

        work = _work(workspace, roots, recipe, load_report(previous.path).roots if previous else {})

        def build(draft: Draft) -> None:
            report = build_corpus(
                roots,
                reading,
                draft.path,
                previous=previous.path if previous else None,
                work=work,
                progress=tell,
            )
            again = previous is not None and any(
                str(root.resolve()) in previous.manifest.recipe["roots"] for root in roots
            )
            new = report.kept - report.carried_over
            if not report.kept or not (new or again or report.dropped.get("duplicate")):
                raise LavraError(nothing_read(roots, report))
            draft.metrics.update(documents=report.kept, characters=report.characters)
            draft.licences.extend(stated_licences(report))
            made.append(report)

        try:
            artifact = workspace.store.make("corpus", {}, recipe, build)
        except LavraError:
            _drop(work)  # a mistake was told: what comes after it is another ingest
            raise
        workspace.store.set_ref("corpus", artifact.id)
        _drop(work)
    report = made[0] if made else load_report(artifact.path)
    return Ingested(artifact, report, found=not made)


def _work(workspace: Workspace, roots: Sequence[Path], recipe: Mapping[str, Any], known: Mapping[str, str]) -> Path:
    """Where this ingest keeps what it has read: by the roots, and by the state of their files and the settings.

    What was kept of the same roots in another state will not be continued any more. ``known``: labels of roots.
    """
    from lavra.corpus.reading import label_roots

    labelled = label_roots(roots, known)[0]
    paths = sorted(str(root.path) for root in labelled)
    read = {str(root.resolve()): recipe["roots"][str(root.resolve())] for root in roots}
    labels = {str(root.path): root.label for root in labelled}
    state = recipe_hash("corpus", {}, {**recipe, "roots": read, "labels": labels})
    here = workspace.store.root / UNFINISHED / f"{recipe_hash('corpus', {}, {'paths': paths})[:12]}-{state[:12]}"
    for other in here.parent.glob(f"{here.name.partition('-')[0]}-*"):
        if other != here:
            shutil.rmtree(other, ignore_errors=True)
    return here


def _drop(work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    with contextlib.suppress(OSError):  # another ingest may have left something there
        work.parent.rmdir()


def drop_unfinished(workspace: Workspace) -> None:
    """Remove what stopped ingests left to be continued: texts that a document which is erased must not stay in."""
    shutil.rmtree(workspace.store.root / UNFINISHED, ignore_errors=True)


def stated_licences(report: IngestReport) -> list[str]:
    """The licences that documents state; "none stated" is not one."""
    from lavra.corpus.report import NONE_STATED, OTHERS

    return [licence for licence in report.licences if licence not in (NONE_STATED, OTHERS)]


def nothing_read(roots: Sequence[Path], report: IngestReport) -> str:
    """One sentence for an ingest that found nothing to read."""
    where = ", ".join(str(root) for root in roots)
    if not report.skipped:
        return f"nothing was ingested: there are no files in {where}."
    first = report.skipped[0]
    more = f" and {report.not_kept - 1} more" if report.not_kept > 1 else ""
    return f"nothing was ingested from {where}: {first.source} ({first.reason}){more}."


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain JSON of a dataclass's values, in an order that does not vary."""
    return {
        key: sorted(value)
        if isinstance(value, (set, frozenset))
        else list(value)
        if isinstance(value, tuple)
        else value
        for key, value in values.items()
    }
