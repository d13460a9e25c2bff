"""The web pages: the chat at ``/`` and a source at the cited passage at ``/sources/{document_id}``.

Rendered by Jinja with escaping always on; the scripts and styles are static files, because the content policy allows
no others.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from lavra import __version__
from lavra.serving.access import Caller, caller_of
from lavra.serving.context import Context, context_of
from lavra.serving.documents import readable
from lavra.serving.layout import lay_out
from lavra.serving.words import LANGUAGES, Words, choose

router = APIRouter()

HERE = Path(__file__).parent


class Static(StaticFiles):
    """The scripts and styles; asked for with the version in the address, kept by the browser until it is another."""

    def __init__(self) -> None:
        super().__init__(directory=HERE / "static")

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=3600"
        return response


@cache
def templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def asset(name: str) -> str:
    """The address of a static file, another one when its content is another."""
    stamp = int((HERE / "static" / name).stat().st_mtime)
    return f"/static/{name}?v={__version__}-{stamp:x}"


def _page(request: Request, template: str, context: Context, **values: Any) -> HTMLResponse:
    words = choose(request.query_params.get("lang"), request.headers.get("accept-language"))
    text = (
        templates()
        .get_template(template)
        .render(
            words=words,
            languages=LANGUAGES,
            chosen=request.query_params.get("lang") in LANGUAGES,
            settings=context.settings,
            asset=asset,
            **values,
        )
    )
    headers = {"Content-Language": words.language, "Vary": "Accept-Language"}
    return HTMLResponse(text, headers=headers)


@router.get("/", include_in_schema=False)
async def chat(request: Request, context: Annotated[Context, Depends(context_of)]) -> HTMLResponse:
    """Where there are keys, the page is empty until its script has sent one: it is given to everybody."""
    open_to_all = not context.settings.keys
    counts: dict[str, int] = {}
    examples: list[str] = []
    if open_to_all:
        counts = dict(await run_in_threadpool(context.services.status))
        examples = list(await run_in_threadpool(context.services.example_questions))
    return _page(
        request,
        "chat.html",
        context,
        counts=counts,
        examples=examples,
        wants_key=not open_to_all,
        uploads=context.settings.uploads,
    )


@router.get("/sources/{document_id}", include_in_schema=False)
async def source(
    request: Request,
    document_id: str,
    context: Annotated[Context, Depends(context_of)],
    caller: Annotated[Caller, Depends(caller_of)],
    start: Annotated[int, Query(ge=0)] = 0,
    end: Annotated[int, Query(ge=0)] = 0,
    part: Annotated[int | None, Query(ge=1)] = None,
) -> HTMLResponse:
    """A document for reading, the stretch ``[start, end)`` highlighted as ``#cite``."""
    document = await readable(context, caller, document_id)
    shown = await run_in_threadpool(lay_out, document, start=start, end=end, part=part)
    return _page(request, "source.html", context, document=document, shown=shown)


@router.get("/favicon.ico", include_in_schema=False)
async def icon() -> Response:
    return Response((HERE / "static" / "icon.svg").read_bytes(), media_type="image/svg+xml")


__all__ = ["Static", "Words", "router"]
