"""The demo: from a folder (by default, Lavra's own manual) to an assistant that answers from it."""

from __future__ import annotations

from pathlib import Path

import lavra
from lavra.errors import LavraError
from lavra.workspace.workspace import Progress, Workspace, silent


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
