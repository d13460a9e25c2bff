"""The demo: from a folder (by default, Lavra's own manual) to the assistant that answers best from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import lavra
from lavra.errors import LavraError
from lavra.workspace.workspace import Progress, Workspace, silent

if TYPE_CHECKING:
    from lavra.workspace.studying.run import Study

WAYS = ("prompt", "few-shot", "rag", "tune+rag:steps=32:batch_tokens=1024:context=1024")
"""What the demo's study tries: what two cores can build in a few minutes."""
QUESTIONS, ASKED = 150, 40
BUDGET = "12 min"
"""Of building and asking; making the questions before it and measuring after it take another minute or two."""


def manual() -> Path:
    """The folder of the manual: in an installed package beside the code, in a checkout under ``docs``."""
    package = Path(lavra.__file__).parent
    for folder in (package / "manual", package.parents[1] / "docs" / "guide"):
        if folder.is_dir():
            return folder
    raise LavraError("the manual did not come with this installation: name a folder, as in `lavra demo FOLDER`.")


def build(documents: Path | None, directory: Path, *, progress: Progress = silent) -> Workspace:
    """A workspace in ``directory`` over the documents, with its models pulled and its index up to date.

    Made again over another folder it answers from that folder alone; over the same one it does only what changed.
    """
    workspace = Workspace.init(directory, name="demo")
    workspace.pull(progress=progress)
    workspace.ingest([documents or manual()], fresh=True, progress=progress)
    workspace.index(progress=progress)
    return workspace


def compare(
    workspace: Workspace, *, progress: Progress = silent, say: Callable[[str], None] = lambda text: None
) -> Study:
    """A quick study of the demo's documents, by questions made of them.

    Raises:
        LavraError: where too few questions can be made of the documents.
    """
    from lavra.workspace.studying.run import plan_study, study
    from lavra.workspace.studying.settings import StudySettings

    settings = StudySettings(ways=WAYS, count=QUESTIONS, limit=ASKED, budget=BUDGET)
    return study(plan_study(workspace, settings, progress=progress), progress=progress, say=say)
