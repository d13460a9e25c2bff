"""Counting and logging: Prometheus metrics, one short log line a request, and a last net for faults.

What people ask and what is answered is never logged nor labelled: only routes, statuses, times and counts.
"""

from __future__ import annotations

import logging
import time

from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lavra.serving.errors import error_body

log = logging.getLogger("lavra.serving")

SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)


class Metrics:
    """One registry an application, so that two in one process do not add up."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("lavra_requests", "Requests", ["method", "route", "status"], registry=registry)
        self.latency = Histogram(
            "lavra_request_seconds", "Until the last byte", ["route"], buckets=SECONDS, registry=registry
        )
        self.first_token = Histogram(
            "lavra_time_to_first_token_seconds",
            "From the request to the first piece of the answer, waiting included",
            ["model"],
            buckets=SECONDS,
            registry=registry,
        )
        self.prompt_tokens = Counter("lavra_prompt_tokens", "Tokens read", ["model"], registry=registry)
        self.completion_tokens = Counter("lavra_completion_tokens", "Tokens written", ["model"], registry=registry)
        self.answers = Counter("lavra_answers", "Answers by how they ended", ["model", "end"], registry=registry)
        self.no_source = Counter(
            "lavra_answers_without_source", "Answers refused: nothing good was found", ["model"], registry=registry
        )
        self.documents = Counter("lavra_documents_uploaded", "Uploads", ["result"], registry=registry)
        self.waiting = Gauge("lavra_queue_length", "Answers that wait for their turn", registry=registry)
        self.running = Gauge("lavra_answers_in_flight", "Answers being made", registry=registry)


class Observe:
    """ASGI middleware, outermost: sees every request, also those the guard refuses."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if status:
                raise  # half an answer is out: closing the connection is all that is left to say
            body = error_body("The server made a mistake; its log says which.", 500)
            await JSONResponse(body, 500)(scope, receive, watched)
        finally:
            seconds = time.perf_counter() - began
            # The route's pattern, not the path: a scanner must not be able to make labels.
            route = getattr(scope.get("route"), "path", None)
            if route is None:
                route = "/static" if scope["path"].startswith("/static/") else "other"
            self.metrics.requests.labels(scope["method"], route, status or "closed").inc()
            self.metrics.latency.labels(route).observe(seconds)
            if not route.startswith(("/static", "/health", "/metrics")):
                log.info("%s %s %s %.2f s", scope["method"], route, status or "closed", seconds)
