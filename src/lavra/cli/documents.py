"""From documents to an index: ``lavra init``, ``ingest`` and ``index``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from lavra.cli.given import (
    DirectoryOption,
    JsonOption,
    open_workspace,
    require_models,
)

if TYPE_CHECKING:
    from lavra.corpus.walking import Skipped
    from lavra.workspace.workspace import Ingested


def init(
    directory: Annotated[Path, typer.Argument(help="Where; made if it is not there.")] = Path(),
    name: Annotated[str | None, typer.Option(help="The assistant's name; by default the directory's.")] = None,
) -> None:
    """Make a workspace: lavra.toml (the settings, commented) and .lavra (the store)."""
    from lavra.workspace.settings import NAME
    from lavra.workspace.workspace import Workspace

    there = (directory / NAME).exists()
    workspace = Workspace.init(directory, name=name)
    print(f"{'There was a workspace already' if there else 'Made a workspace'} in {workspace.root}.")
    print("Next: lavra ingest FOLDER")


def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders; folders are read with all below them.")],
    licence: Annotated[str | None, typer.Option(help="Licence of everything read now (an SPDX identifier).")] = None,
    owner: Annotated[str | None, typer.Option(help="Owner of everything read now.")] = None,
    role: Annotated[
        list[str] | None, typer.Option("--role", "-r", help="A role that may read it; repeat for several.")
    ] = None,
    max_megabytes: Annotated[int | None, typer.Option(min=1, help="The largest file that is read.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin with an empty corpus.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Write nothing: say what each stage of a cleaning makes of the files.")
    ] = False,
    as_json: JsonOption = False,
    workspace: DirectoryOption = None,
) -> None:
    """Read documents into the corpus: PDF, office files, HTML, Markdown, text, CSV, JSONL, EPUB, source code."""
    from lavra.cli.console import progress

    here = open_workspace(workspace)
    if explain:
        from lavra.cli.corpora import show_explained

        for path in paths:
            show_explained(here, path, licence=licence, owner=owner, roles=role, max_megabytes=max_megabytes)
        return
    with progress() as report:
        done = here.ingest(
            paths,
            licence=licence,
            owner=owner,
            roles=role,
            max_megabytes=max_megabytes,
            fresh=fresh,
            progress=report,
        )
    if as_json:
        print((done.artifact.path / "report.json").read_text(encoding="utf-8"))
        return
    _show_ingested(done)
    print("Next: lavra index")


def _show_ingested(done: Ingested) -> None:
    report = done.report
    if done.found:
        print(f"Nothing changed since the last time: {report.kept} documents in {done.artifact.id}.")
        return
    print(f"{report.kept} documents, {report.characters:,} characters, in {done.artifact.id}.")
    repeated = [one for one in report.skipped if one.kind == "duplicate"]
    # What is rare comes first: a thousand of one kind must not hide the one that matters.
    unread = sorted(
        (one for one in report.skipped if one.kind != "duplicate"), key=lambda one: report.dropped[one.kind]
    )
    copies = report.dropped.get("duplicate", 0)
    _name_some("Not read", unread[:50], report.not_kept - copies)
    _name_some("Left out, for another has the same text", repeated[:5], copies)
    if report.not_kept:
        print(f"All of them, with the counts: {done.artifact.path / 'report.md'}")


def _name_some(title: str, some: Sequence[Skipped], count: int) -> None:
    if count:
        print(f"{title}: {count:,}")
        for skipped in some:
            print(f"  {skipped.source}: {skipped.reason}")
        if count > len(some):
            print(f"  … and {count - len(some):,} more")


def index(
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Begin from nothing (after a change of embedder).")
    ] = False,
    questions: Annotated[
        Path | None,
        typer.Option(
            help="Fit the search to your own questions: a JSONL file of {text, docs}, docs being sources or ids. "
            "About 100 are enough."
        ),
    ] = None,
    workspace: DirectoryOption = None,
) -> None:
    """Cut the documents into passages and make them findable; only what changed is touched."""
    from lavra.cli.console import progress

    here = open_workspace(workspace)
    require_models(here, embedder_only=True)
    with progress() as report:
        done = here.index(rebuild=rebuild, progress=report)
    said = done.report
    print(
        f"{done.artifact.manifest.metrics['chunks']} passages in {done.artifact.id} "
        f"({said.added} documents added, {said.changed} changed, {said.removed} removed, "
        f"{said.unchanged} as they were; {said.seconds:.1f} s)."
    )
    if questions:
        from lavra.workspace.fitting import fit

        fitted = fit(here, questions)
        print(
            f"Fitted the search to {fitted.questions} questions: recall@5 {fitted.recall_before:.3f} → "
            f"{fitted.recall_after:.3f}, MRR@10 {fitted.mrr_before:.3f} → {fitted.mrr_after:.3f} (cross-validated). "
            + (f"Kept in {fitted.path}." if fitted.kept else "It did not help, so nothing was changed.")
        )
    print('Next: lavra ask "…" or lavra serve')


def register(app: typer.Typer) -> None:
    """Make them commands of ``app``."""
    for function in (init, ingest, index):
        app.command()(cast(Any, function))
