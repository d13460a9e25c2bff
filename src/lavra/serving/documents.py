"""Documents over HTTP: upload into the running index, the page's status, and a source's text as JSON."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from lavra.corpus.document import Document
from lavra.serving.access import Caller, caller_of
from lavra.serving.context import Context, context_of
from lavra.serving.errors import ApiError
from lavra.serving.guard import UPLOAD_PATH
from lavra.serving.layout import lay_out
from lavra.serving.services import Added, NotAdded

router = APIRouter()

FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]')
"""In file names: control characters, what Windows forbids, marks that turn the direction of writing."""


def safe_filename(name: str) -> str:
    """The last part of a path, without what could mislead a file system or a reader; at most 150 characters.

    Raises ``ApiError`` where nothing is left.
    """
    name = unicodedata.normalize("NFC", name).replace("\\", "/").rsplit("/", 1)[-1]
    name = FORBIDDEN.sub("_", name).strip().lstrip(".")
    stem, dot, suffix = name.rpartition(".")
    if len(name) > 150:
        name = f"{stem[:130]}{dot}{suffix[:19]}" if dot else name[:150]
    if not name:
        raise ApiError("The file has no usable name: give it one and send it again.", param="file")
    return name


async def readable(context: Context, caller: Caller, document_id: str) -> Document:
    """The document, if this caller may read it. Raises ``ApiError`` 404, which does not tell one from the other."""
    document = await run_in_threadpool(context.services.document, document_id, caller.roles)
    if document is None:
        raise ApiError("No such document is here, or not for you.", status=404, code="document_not_found")
    return document


@router.post(UPLOAD_PATH)
async def add_documents(
    request: Request,
    context: Annotated[Context, Depends(context_of)],
    caller: Annotated[Caller, Depends(caller_of)],
) -> dict[str, Any]:
    """``multipart/form-data`` with one or more ``file`` parts; says of each what became of it."""
    if not caller.may_upload:
        raise ApiError("This server takes no documents from you.", status=403, code="uploads_not_allowed")
    results: list[dict[str, Any]] = []
    async with request.form(max_files=50, max_fields=10) as form:
        files = [part for part in form.getlist("file") if isinstance(part, UploadFile)]
        if not files:
            raise ApiError("No file came: send it as multipart/form-data, in parts named 'file'.", param="file")
        for file in files:
            filename = safe_filename(file.filename or "")
            data = await file.read()

            def produce(
                cancelled: Callable[[], bool], filename: str = filename, data: bytes = data
            ) -> Iterator[Added | NotAdded]:
                yield from context.services.add_document(filename, data, roles=caller.upload_roles)

            # Not cancelled when the client leaves: the document was handed over.
            async for result in context.uploads.submit(produce):
                results.append(_result(result))
                context.metrics.documents.labels(results[-1]["result"]).inc()
    return {"results": results}


def _result(result: Added | NotAdded) -> dict[str, Any]:
    if isinstance(result, Added):
        return {
            "result": "added",
            "source": result.source,
            "title": result.title,
            "document_id": result.document_id,
            "passages": result.passages,
        }
    return {"result": "skipped", "source": result.source, "reason": result.reason}


@router.get("/api/status")
async def status(
    context: Annotated[Context, Depends(context_of)],
    caller: Annotated[Caller, Depends(caller_of)],
) -> dict[str, Any]:
    """What the page shows about this server to this caller."""
    counts = await run_in_threadpool(context.services.status)
    examples = await run_in_threadpool(context.services.example_questions)
    return {
        "assistants": list(context.services.assistants),
        "counts": dict(counts),
        "examples": list(examples),
        "uploads": caller.may_upload,
    }


@router.get("/api/sources/{document_id}")
async def source(
    document_id: str,
    context: Annotated[Context, Depends(context_of)],
    caller: Annotated[Caller, Depends(caller_of)],
    start: Annotated[int, Query(ge=0)] = 0,
    end: Annotated[int, Query(ge=0)] = 0,
    part: Annotated[int | None, Query(ge=1)] = None,
) -> dict[str, Any]:
    """A part of a document, as blocks, with ``[start, end)`` marked."""
    document = await readable(context, caller, document_id)
    shown = await run_in_threadpool(lay_out, document, start=start, end=end, part=part)
    return {
        "document_id": document_id,
        "source": document.source,
        "title": document.title,
        "language": document.language,
        "licence": document.licence,
        "owner": document.owner,
        "part": shown.number,
        "parts": shown.count,
        "blocks": [
            {
                "kind": block.kind,
                "level": block.level,
                "label": block.label,
                "place": block.place,
                "pieces": block.pieces,
                "rows": block.rows,
            }
            for block in shown.blocks
        ],
    }
