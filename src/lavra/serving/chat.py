"""``POST /v1/chat/completions``: an answer, whole or streamed.

The answer is made in a worker thread. When the client leaves, which is all that a stop button does, the thread is told
and the model stops at its next token.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from lavra.assistants.events import Answer, Event, Retrieved, TextDelta
from lavra.errors import LavraError
from lavra.serving.access import Caller, caller_of
from lavra.serving.context import Context, context_of
from lavra.serving.errors import ApiError, error_body, error_body_of
from lavra.serving.leaving import cancelled_on_leaving
from lavra.serving.observe import Metrics, log
from lavra.serving.protocol import ChatRequest, Completion, citation_json, finish_reason, grounds
from lavra.serving.work import Job

router = APIRouter()

PATIENCE = 0.5
"""Seconds for which a stream's headers are held back, so that an early error still gets its own status."""


@router.post("/v1/chat/completions")
async def chat_completions(
    body: ChatRequest,
    request: Request,
    context: Annotated[Context, Depends(context_of)],
    caller: Annotated[Caller, Depends(caller_of)],
) -> Response:
    """Answer the last message of a conversation."""
    body.refuse_unsupported()
    name, assistant = context.assistant(body.model)
    messages = body.conversation()
    sampling = body.sampling(getattr(assistant, "sampling", None))
    if sampling is not None:
        # Many clients ask for as much as any model could say; half the window stays for the sources and the question.
        sampling = replace(sampling, max_tokens=min(sampling.max_tokens, assistant.context_length // 2))

    def produce(cancelled: Callable[[], bool]) -> Iterator[Event]:
        return assistant.answer(messages, roles=caller.roles, sampling=sampling, cancelled=cancelled)

    job: Job[Event] = context.answers.submit(produce)
    leave = contextlib.ExitStack()
    leave.enter_context(cancelled_on_leaving(request, job))
    with leave:
        events = _counted(job, name, context.metrics)
        completion = Completion(name)
        if not body.stream:
            answer = await _last(events)
            return JSONResponse(completion.whole(answer)) if answer else Response(status_code=499)
        first = asyncio.ensure_future(anext(events, None))
        await asyncio.wait({first}, timeout=PATIENCE)
        if first.done():
            first.result()  # an error here is answered with its own status
        include_usage = bool(body.stream_options and body.stream_options.include_usage)
        lines = _lines(first, events, job, completion, include_usage, context.settings.keep_alive_seconds)
        return EventStream(lines, leave.pop_all().close)


async def _counted(job: Job[Event], name: str, metrics: Metrics) -> AsyncIterator[Event]:
    """The events of an answer; counts them, and holds the stream's promise: text first, then one ``Answer``."""
    began = time.perf_counter()
    end = "cancelled"
    sent = ""
    try:
        async for event in job:
            if isinstance(event, TextDelta):
                if not event.text:
                    continue
                if not sent:
                    metrics.first_token.labels(name).observe(time.perf_counter() - began)
                sent += event.text
            elif isinstance(event, Answer):
                if rest := event.text[len(sent) :] if event.text.startswith(sent) else "":
                    yield TextDelta(rest)  # an assistant that says it all at the end
                end = event.finish_reason if event.answerable else "no source"
                metrics.prompt_tokens.labels(name).inc(event.prompt_tokens)
                metrics.completion_tokens.labels(name).inc(event.completion_tokens)
                if not event.answerable:
                    metrics.no_source.labels(name).inc()
            yield event
    except LavraError:
        end = "refused"
        raise
    except Exception:
        end = "failed"
        raise
    finally:
        metrics.answers.labels(name, end).inc()


async def _last(events: AsyncIterator[Event]) -> Answer | None:
    """The answer at the end; None where the client left before it."""
    answer = None
    async for event in events:
        if isinstance(event, Answer):
            answer = event
    return answer


async def _lines(
    first: asyncio.Future[Event | None],
    events: AsyncIterator[Event],
    job: Job[Event],
    completion: Completion,
    include_usage: bool,
    keep_alive: float,
) -> AsyncGenerator[str, None]:
    """The stream's lines: server-sent events of chunks, comments while nothing happens, ``[DONE]``."""
    answer: Answer | None = None
    upcoming = first
    try:
        while True:
            while not upcoming.done():
                await asyncio.wait({upcoming}, timeout=keep_alive)
                if not upcoming.done():
                    yield f": {job.ahead} ahead\n\n"
            event = upcoming.result()
            if event is None:
                break
            upcoming = asyncio.ensure_future(anext(events, None))
            if isinstance(event, Retrieved):
                offered = [citation_json(citation) for citation in event.citations]
                yield _data(completion.chunk({"role": "assistant", "content": ""}, retrieved=offered))
            elif isinstance(event, TextDelta):
                yield _data(completion.chunk({"content": event.text}))
            else:
                answer = event
    except LavraError as error:
        yield _data(error_body_of(error))
        return
    except Exception:
        log.exception("an answer failed")
        yield _data(error_body("The server made a mistake; its log says which.", 500))
        return
    finally:
        upcoming.cancel()
    if answer is None:
        yield _data(error_body_of(ApiError("The answer ended early.", status=500, code="cancelled")))
        return
    yield _data(completion.chunk({}, finish_reason(answer), **grounds(answer)))
    if include_usage:
        yield _data(completion.usage_chunk(answer))
    yield "data: [DONE]\n\n"


def _data(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


class EventStream(Response):
    """Server-sent events; ``closed`` is called when the last has gone out or nobody listens any more.

    Starlette's own streaming response would read the request's messages too, where this room's watch already does.
    """

    media_type = "text/event-stream"

    def __init__(self, lines: AsyncGenerator[str, None], closed: Callable[[], None]) -> None:
        # X-Accel-Buffering: nginx in front must not collect the stream into blocks.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(headers=headers)
        del self.headers["content-length"]
        self.lines = lines
        self.closed = closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with contextlib.aclosing(self.lines) as lines:
                async for line in lines:
                    await send({"type": "http.response.body", "body": line.encode(), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self.closed()
