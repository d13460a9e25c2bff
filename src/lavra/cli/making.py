"""What the commands that train have in common: the base is there, the name can be used, the plan is agreed to."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lavra.errors import LavraError

if TYPE_CHECKING:
    from lavra.training.callbacks import Callback
    from lavra.training.progress import TerminalProgress
    from lavra.training.ranks import Ranks
    from lavra.workspace.runs import Tuned
    from lavra.workspace.workspace import Workspace

TAKEN = ("corpus", "tokens", "index", "assistant", "questions", "study", "embedder", "reranker", "classifier")
"""Names that Lavra gives."""


def check_name(name: str | None) -> None:
    """That a result can be called so."""
    if name is not None and (not re.fullmatch(r"[a-z][a-z0-9_.-]{0,63}", name) or name in TAKEN):
        raise LavraError(
            f"--name {name} cannot be used: take small letters, digits, '-', '_' and '.', a letter first, and no name "
            "that Lavra uses itself."
        )


def check_place(to: Path | None) -> None:
    """That a copy can be written there."""
    if to is not None and to.exists():
        raise LavraError(f"{to} exists already: choose another place for --to.")


def check_trackers(track: Sequence[str] | None) -> None:
    """That there are such trackers."""
    if track:
        from lavra.training.trackers import require_known

        require_known(track)


def require_base(here: Workspace, model: str | None, ranks: Ranks) -> None:
    """Pull the base the first time; one of several processes does."""
    from lavra.cli.console import progress
    from lavra.model.hub import resolve
    from lavra.workspace.generators import tuned
    from lavra.workspace.workspace import pulling

    reference = model or here.settings.models.generator
    if ranks.first and tuned(here, reference) is None:
        try:
            resolve(here._beside(reference))
        except LavraError:
            with progress() as report:
                resolve(here._beside(reference), pull=True, progress=pulling(reference, report))
    ranks.wait()


def callbacks(
    run: Path, recipe: Mapping[str, Any], track: Sequence[str] | None, yes: bool, ranks: Ranks
) -> list[Callback]:
    """The terminal, and whoever else is told how the run goes: by the first process."""
    from lavra.training.run import RunDirectory
    from lavra.training.trackers import make_trackers

    if not ranks.first:
        return []
    return [_progress(yes), *make_trackers(track or None, RunDirectory(run), recipe, say=say)]


def say(text: str) -> None:
    """On the terminal, beside the results."""
    from lavra.cli.console import err

    err.print(text, markup=False)


def _progress(yes: bool) -> TerminalProgress:
    from lavra.training.plan import Plan
    from lavra.training.progress import TerminalProgress

    class Asking(TerminalProgress):
        asked = yes or not sys.stdin.isatty() or not sys.stderr.isatty()

        def begin(self, plan: Plan, step: int) -> None:
            if not self.asked:
                self.show(plan)
                if not typer.confirm("Train?", default=True, err=True):
                    raise LavraError("nothing was trained.")
                type(self).asked = True
                self.show = lambda plan: None  # type: ignore[method-assign]
            super().begin(plan, step)

    return Asking()


def export(here: Workspace, done: Tuned, to: Path | None, ranks: Ranks) -> None:
    """A copy for other programs, where one is asked for."""
    from lavra.workspace.tuning.export import export_tuned

    if to is not None and ranks.first:
        print(f"{export_tuned(here, done.artifact, to)}: read again and the same.")
