"""The application: routes, the door in front of them, and what they share."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from lavra import __version__
from lavra.serving import chat, documents, health, openai, pages
from lavra.serving.context import Context
from lavra.serving.errors import install_error_handlers
from lavra.serving.guard import Guard
from lavra.serving.observe import Metrics, Observe
from lavra.serving.services import Services
from lavra.serving.settings import ServeSettings
from lavra.serving.work import WorkQueue


def create_app(services: Services, settings: ServeSettings | None = None) -> FastAPI:
    """The ASGI application over ``services``."""
    settings = settings or ServeSettings()
    metrics = Metrics()
    context = Context(
        services=services,
        settings=settings,
        metrics=metrics,
        answers=WorkQueue("answer", parallel=settings.parallel, waiting=settings.queue),
        embeddings=WorkQueue("embed", parallel=1, waiting=settings.queue),
        uploads=WorkQueue("upload", parallel=1, waiting=settings.queue),
        started=int(time.time()),
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        for queue in (context.answers, context.embeddings, context.uploads):
            queue.close()

    # FastAPI's own documentation pages load scripts from elsewhere; the schema itself stays.
    app = FastAPI(title=settings.title, version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.context = context
    for room in (chat, openai, documents, health, pages):
        app.include_router(room.router)
    app.mount("/static", pages.Static(), name="static")
    install_error_handlers(app)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Observe, metrics=metrics)  # added last: outermost
    return app
