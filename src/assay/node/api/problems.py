"""Errors as HTTP sends them: RFC 9457 problem details, with the stable code of the error class.

Source: RFC 9457, section 3.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from assay.errors import (
    AssayError,
    InvalidTransaction,
    NetworkError,
    StorageError,
    UsageError,
    VerificationError,
)
from assay.storage.files import DiskFull
from assay.storage.retained_blobs import HoldMissing, NotDeclared, ObjectMissing, QuotaExceeded

MEDIA_TYPE: Final = "application/problem+json"

_STATUS: Final[tuple[tuple[type[AssayError], int], ...]] = (
    (QuotaExceeded, 507),
    (DiskFull, 507),
    (HoldMissing, 404),
    (NotDeclared, 404),
    (ObjectMissing, 404),
    (StorageError, 503),
    (UsageError, 400),
    (InvalidTransaction, 400),
    (VerificationError, 400),
    (NetworkError, 503),
)
"""The first family that fits decides. A subclass may say otherwise by an attribute `http_status`."""

_TITLES: Final = {
    400: "the request does not hold",
    404: "not found",
    405: "method not allowed",
    413: "too large",
    415: "unsupported media type",
    408: "too slow",
    409: "conflict",
    422: "the request is not in its form",
    429: "too many requests",
    431: "headers too large",
    503: "not available now",
    505: "version not supported",
    507: "no room",
}


class NotFound(UsageError):
    """There is no such block, transaction, key, submission or page."""

    code = "api.not-found"
    http_status = 404


def get_status(error: AssayError) -> int:
    """Return the HTTP status that an error stands for."""
    own = getattr(error, "http_status", None)
    if own is not None:
        return int(own)
    return next((status for family, status in _STATUS if isinstance(error, family)), 500)


def make_problem(status: int, code: str, detail: str, **further: Any) -> Response:
    """Return a response of RFC 9457.

    Args:
        status: the HTTP status.
        code: the stable code of the error; `type` is `urn:assay:error:` and this.
        detail: what went wrong.
        further: more members, left out where None.
    """
    body = {"type": f"urn:assay:error:{code}", "title": _TITLES.get(status, "error"), "status": status, "code": code}
    members = {key: str(value)[:2000] for key, value in further.items() if value is not None}
    headers = {"retry-after": "1"} if status in {429, 503} else None
    return Response(msgspec.json.encode({**body, "detail": detail, **members}), status, headers, MEDIA_TYPE)


def describe_error(error: AssayError) -> Response:
    """Return the response that an error of Assay stands for."""
    return make_problem(
        get_status(error),
        error.code,
        error.message,
        expected=error.expected,
        actual=error.actual,
        nextStep=error.next_step,
    )


def install(app: FastAPI) -> None:
    """Let every failure of a route leave as a problem; what was not foreseen leaves without its words."""

    async def on_assay(_: Request, error: Exception) -> Response:
        return describe_error(error) if isinstance(error, AssayError) else _unexpected()

    async def on_http(_: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            return _unexpected()
        return make_problem(error.status_code, f"api.http-{error.status_code}", str(error.detail))

    async def on_invalid(_: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            return _unexpected()
        found = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:5])
        return make_problem(422, "api.invalid", "the request is not in its form", actual=ascii(found))

    async def on_fault(_: Request, __: Exception) -> Response:
        return _unexpected()

    app.add_exception_handler(Exception, on_fault)
    app.add_exception_handler(AssayError, on_assay)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_invalid)


def _unexpected() -> Response:
    return make_problem(500, "unexpected", "the node failed; its log says how")
