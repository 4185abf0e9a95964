"""How routes read a request and write an answer."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from fastapi import Path, Request
from starlette.responses import Response

from assay.errors import UsageError
from assay.node.api.schemas import SealedHeader
from assay.storage.chain_reads import StoredHeader

BINARY: Final = "application/octet-stream"

Digest = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="32 bytes in lower-case hex")]
Height = Annotated[int, Path(ge=1, le=2**53, description="height of a block, from 1")]

BINARY_BODY: Final[dict[str, Any]] = {
    "requestBody": {"required": True, "content": {BINARY: {"schema": {"type": "string", "format": "binary"}}}}
}
"""Tells OpenAPI what a route reads that takes raw bytes."""

PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": said, "content": {"application/problem+json": {}}}
    for status, said in (
        (400, "the request does not hold"),
        (404, "not found"),
        (408, "the body did not arrive in time"),
        (409, "conflict"),
        (413, "too large"),
        (415, "unsupported media type"),
        (422, "the request is not in its form"),
        (429, "too many requests"),
        (503, "not available now"),
        (507, "no room"),
    )
}
"""What any route may answer instead, as RFC 9457 problems."""


class MediaTypeRefused(UsageError):
    """A body that is not announced as raw bytes."""

    code = "api.media-type"
    http_status = 415


def answer(value: Any, status: int = 200) -> Response:
    """Return a value of `schemas` as JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def answer_bytes(data: bytes) -> Response:
    """Return raw bytes, which no browser shall guess a type for."""
    return Response(data, 200, {"x-content-type-options": "nosniff"}, BINARY)


async def read_body(request: Request) -> bytes:
    """Return the raw bytes of a body, which the limits bound.

    Raises:
        MediaTypeRefused: it is announced as something else.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != BINARY:
        raise MediaTypeRefused("the body must be raw bytes", expected=BINARY, actual=ascii(kind[:80]))
    return await request.body()


def show_header(stored: StoredHeader) -> SealedHeader:
    """Return a stored header in the form of the answers."""
    return SealedHeader(stored.height, stored.id.hex(), stored.header.hex(), stored.seal.hex())
