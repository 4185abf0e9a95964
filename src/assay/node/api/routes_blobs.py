"""The routes of blobs: bundles of submissions, and the objects that they name.

Nothing is taken but bytes to which the ledger state committed, so that an upload needs no signature: a bundle is taken
if its BLAKE3 stands in a submission, an object if its BLAKE3 and length stand in such a bundle.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from assay.node.api.answers import BINARY, BINARY_BODY, Digest, answer, answer_bytes, read_body
from assay.node.api.schemas import MissingObject, MissingView
from assay.node.bundles import Bundles


def make_blob_router(bundles: Bundles) -> APIRouter:
    """Return the routes of one node's blobs."""
    router = APIRouter(prefix="/blobs", tags=["blobs"])

    @router.put("/bundles/{submission}", response_model=MissingView, openapi_extra=BINARY_BODY)
    async def put_bundle(submission: Digest, request: Request) -> Response:
        """Take the bundle of a submission, and say which of its objects are missing; again and again as one likes."""
        data = await read_body(request)
        await run_in_threadpool(bundles.put_bundle, bytes.fromhex(submission), data)
        return answer(await run_in_threadpool(_list_missing, bundles, submission))

    @router.get("/bundles/{submission}", response_class=Response, responses={200: {"content": {BINARY: {}}}})
    def get_bundle(submission: Digest) -> Response:
        """Give the bundle of a submission."""
        return answer_bytes(bundles.get_bundle(bytes.fromhex(submission)))

    @router.get("/bundles/{submission}/missing", response_model=MissingView)
    def get_missing(submission: Digest) -> Response:
        """List the objects of a bundle that nobody uploaded yet."""
        return answer(_list_missing(bundles, submission))

    @router.put("/{digest}", openapi_extra=BINARY_BODY)
    async def put_blob(digest: Digest, request: Request) -> Response:
        """Take an object that a bundle names; it is durable when this answers."""
        data = await read_body(request)
        await run_in_threadpool(bundles.blobs.put, bytes.fromhex(digest), data)
        return answer({"size": len(data)})

    @router.get("/{digest}", response_class=Response, responses={200: {"content": {BINARY: {}}}})
    def get_blob(digest: Digest) -> Response:
        """Give an object, read from the disk and verified now."""
        return answer_bytes(bundles.blobs.open(bytes.fromhex(digest)))

    return router


def _list_missing(bundles: Bundles, submission: str) -> MissingView:
    missing = bundles.list_missing(bytes.fromhex(submission))
    return MissingView([MissingObject(each.digest.hex(), each.size) for each in missing])
