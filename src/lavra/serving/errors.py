"""Every error leaves in OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}``."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from lavra.errors import LavraError

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class ApiError(LavraError):
    """A refusal that names the parameter at fault and a code that programs can act on."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, status=status)
        self.code = code
        self.param = param
        self.headers = dict(headers or {})


def error_body(message: str, status: int, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The body of an error; its ``type`` follows from the status."""
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_body_of(error: LavraError) -> dict[str, Any]:
    return error_body(
        str(error),
        error.status,
        param=getattr(error, "param", None),
        code=getattr(error, "code", None),
    )


def error_response(error: LavraError) -> JSONResponse:
    return JSONResponse(error_body_of(error), error.status, headers=getattr(error, "headers", None))


def _validation(error: RequestValidationError) -> ApiError:
    """The first thing wrong with a request, as a sentence."""
    first = error.errors()[0]
    location = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    param = ".".join(location) or None
    if first["type"] == "extra_forbidden":
        return ApiError(
            f"Unknown parameter '{param}': this server would ignore it, so remove it.",
            code="unknown_parameter",
            param=param,
        )
    if first["type"] == "json_invalid":
        return ApiError(f"The body is not JSON: {first['ctx']['error']}.", code="invalid_json")
    message = str(first["msg"]).removeprefix("Value error, ")
    if param is None:
        return ApiError(f"The body is not what this route takes: {message}.")
    code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
    return ApiError(f"Invalid '{param}': {message.rstrip('.')}.", code=code, param=param)


def install_error_handlers(app: FastAPI) -> None:
    """Own errors, validation, and what the router itself refuses. ``observe`` catches the rest."""

    @app.exception_handler(LavraError)
    async def lavra_error(request: Request, error: LavraError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        return error_response(_validation(error))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        message = str(error.detail)
        path = request.url.path
        if error.status_code == 404 and message == HTTPStatus.NOT_FOUND.phrase:
            message = f"Nothing is at {path}."
        elif error.status_code == 405:
            message = f"{request.method} is not allowed at {path}."
        body = error_body(message, error.status_code)
        return JSONResponse(body, error.status_code, headers=error.headers)
