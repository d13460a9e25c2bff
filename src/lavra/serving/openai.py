"""The rest of the OpenAI API: ``/v1/models`` and ``/v1/embeddings``."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool

from lavra.serving.context import Context, context_of
from lavra.serving.errors import ApiError
from lavra.serving.leaving import cancelled_on_leaving
from lavra.serving.protocol import EmbeddingRequest

if TYPE_CHECKING:
    import numpy as np

router = APIRouter(prefix="/v1")

BATCH = 32
"""Texts embedded between two looks at whether the client is still there."""


@router.get("/models")
async def models(context: Annotated[Context, Depends(context_of)]) -> dict[str, Any]:
    """The assistants, the default first, and the embedder."""
    return {"object": "list", "data": _models(context)}


@router.get("/models/{model:path}")
async def model(model: str, context: Annotated[Context, Depends(context_of)]) -> dict[str, Any]:
    for known in _models(context):
        if known["id"] == model:
            return known
    raise ApiError(f"The model '{model}' does not exist here.", status=404, code="model_not_found", param="model")


def _models(context: Context) -> list[dict[str, Any]]:
    common = {"object": "model", "created": context.started, "owned_by": "lavra"}
    found = [
        {"id": name, **common, "context_length": assistant.context_length}
        for name, assistant in context.services.assistants.items()
    ]
    if context.services.embedder is not None:
        embedder = context.services.embedder
        found.append({"id": embedder.name, **common, "dimension": embedder.dimension})
    return found


@router.post("/embeddings")
async def embeddings(
    body: EmbeddingRequest, request: Request, context: Annotated[Context, Depends(context_of)]
) -> dict[str, Any]:
    """Embed texts: vectors of length 1."""
    embedder = context.services.embedder
    if embedder is None or body.model not in (None, embedder.name):
        there = f"'{embedder.name}' is" if embedder else "none is"
        raise ApiError(
            f"The embedding model '{body.model}' does not exist here; {there} served.",
            status=404,
            code="model_not_found",
            param="model",
        )
    if body.dimensions not in (None, embedder.dimension):
        raise ApiError(
            f"'dimensions' can only be {embedder.dimension}, which this model has.",
            code="unsupported_value",
            param="dimensions",
        )
    texts = body.texts()
    embed = embedder.queries if body.input_type == "query" else embedder.documents

    def produce(cancelled: Callable[[], bool]) -> Iterator[np.ndarray]:
        for start in range(0, len(texts), BATCH):
            yield embed(texts[start : start + BATCH])

    job = context.embeddings.submit(produce)
    with cancelled_on_leaving(request, job):
        vectors = [vector async for batch in job for vector in batch]
    if len(vectors) < len(texts):
        raise ApiError("The work was cancelled.", status=503, code="cancelled")
    encode = _base64 if body.encoding_format == "base64" else _floats
    tokens = sum(await run_in_threadpool(embedder.count_tokens, texts))
    return {
        "object": "list",
        "model": embedder.name,
        "data": [
            {"object": "embedding", "index": index, "embedding": encode(vector)} for index, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _floats(vector: np.ndarray) -> list[float]:
    return [float(value) for value in vector]


def _base64(vector: np.ndarray) -> str:
    """Little-endian float32, as the official client decodes it."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
