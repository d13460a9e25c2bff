"""``/health`` for supervisors and ``/metrics`` for Prometheus."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from lavra.serving.context import Context, context_of

router = APIRouter()


@router.get("/health/live")
async def live() -> dict[str, str]:
    """The process answers; a supervisor restarts it when not."""
    return {"status": "ok"}


@router.get("/health")
@router.get("/health/ready")
async def ready(context: Annotated[Context, Depends(context_of)]) -> JSONResponse:
    """There is an assistant and room in the queue; a balancer sends nobody here when not (503)."""
    full = context.answers.waiting >= max(context.answers.limit, 1)
    checks: dict[str, Any] = {"assistant": bool(context.services.assistants), "queue": not full}
    good = all(checks.values())
    return JSONResponse({"status": "ok" if good else "unready", "checks": checks}, 200 if good else 503)


@router.get("/metrics")
async def metrics(context: Annotated[Context, Depends(context_of)]) -> Response:
    context.metrics.waiting.set(context.answers.waiting)
    context.metrics.running.set(context.answers.running)
    return Response(generate_latest(context.metrics.registry), media_type=CONTENT_TYPE_LATEST)
