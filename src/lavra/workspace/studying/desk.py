"""One desk for all ways: the index is opened once, and of the models only the one that is asked now is in memory."""

from __future__ import annotations

import ctypes
import gc
from typing import TYPE_CHECKING

from lavra.workspace.workspace import Workspace

if TYPE_CHECKING:
    from lavra.inference.embedder import Embedder
    from lavra.inference.engine import Engine


class Desk:
    """What ways share of a workspace. A model that it has loaded already is taken over."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._own = workspace.settings.models.generator
        self._over: dict[str, Workspace] = {}
        engine = workspace.__dict__.pop("engine", None)
        self._held: tuple[str, Engine] | None = None if engine is None else (self._own, engine)

    def over(self, reference: str) -> Workspace:
        """The workspace with another model."""
        if reference not in self._over:
            self._over[reference] = self.workspace.writing_with(reference)
        return self._over[reference]

    def engine(self, reference: str) -> Engine:
        """The model, loaded; the one before leaves."""
        if self._held is None or self._held[0] != reference:
            self.leave_models()
            workspace = self.over(reference)
            self._held = (reference, workspace.engine)
            del workspace.__dict__["engine"]
        return self._held[1]

    @property
    def embedder(self) -> Embedder:
        return self.workspace.embedder

    def leave_models(self) -> None:
        """None in memory: another one comes, or something is going to be trained."""
        self._held = None
        give_back_memory()

    def return_model(self) -> None:
        """To the workspace, if it is its own: what is served next to a study loads it no second time."""
        if self._held is not None and self._held[0] == self._own:
            self.workspace.__dict__["engine"] = self._held[1]

    def lend(self, workspace: Workspace, reference: str) -> Workspace:
        """A workspace like ours that loads nothing twice."""
        self.lend_index(workspace).__dict__["engine"] = self.engine(reference)
        return workspace

    def lend_index(self, workspace: Workspace) -> Workspace:
        """The same without a model."""
        ours = self.workspace
        workspace.__dict__ |= {"live_index": ours.live_index, "embedder": ours.embedder, "fusion": ours.fusion}
        return workspace


def give_back_memory() -> None:
    """To the system, what nobody holds any more: after a training the heap is large and empty, and what the next way
    needs could not be told. Where the C library does not know how, nothing happens."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        pass
