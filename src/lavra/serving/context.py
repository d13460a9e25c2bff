"""What the routes of one application share."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from lavra.assistants.events import Answering
from lavra.serving.errors import ApiError
from lavra.serving.observe import Metrics
from lavra.serving.services import Services
from lavra.serving.settings import ServeSettings
from lavra.serving.work import WorkQueue


@dataclass(frozen=True, slots=True)
class Context:
    services: Services
    settings: ServeSettings
    metrics: Metrics
    answers: WorkQueue
    embeddings: WorkQueue
    uploads: WorkQueue
    """One thread: the index has one writer."""
    started: int
    """Unix time."""

    def assistant(self, name: str | None) -> tuple[str, Answering]:
        """The assistant of this name, the first where there is none. Raises ``ApiError`` 404."""
        assistants = self.services.assistants
        if name is None:
            name = next(iter(assistants), "")
        if name not in assistants:
            known = ", ".join(assistants) or "none"
            raise ApiError(
                f"The model '{name}' does not exist here; these do: {known}.",
                status=404,
                code="model_not_found",
                param="model",
            )
        return name, assistants[name]


def context_of(request: Request) -> Context:
    """The application's context (a FastAPI dependency)."""
    context = request.app.state.context
    assert isinstance(context, Context)
    return context
