"""The routes of `/api/v1` that read and write the ledger."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from assay import __version__ as VERSION  # noqa: N812 - a constant
from assay.node.api import events, metrics
from assay.node.api.answers import (
    BINARY,
    BINARY_BODY,
    Digest,
    Height,
    answer,
    answer_bytes,
    read_body,
    show_header,
)
from assay.node.api.problems import NotFound
from assay.node.api.schemas import (
    Accepted,
    BlockView,
    EngineView,
    HeaderPage,
    SealedHeader,
    StateView,
    StatusView,
    TransactionView,
)
from assay.node.chain_store import to_block
from assay.node.core import NodeCore
from assay.protocol.encoding import encode

_MAX_WAIT: Final = 20.0
_MAX_HEADERS: Final = 1000

StateKey = Annotated[
    str,
    Path(pattern="^([0-9a-f]{2}){2,160}$", description="u16 little-endian tag of the contract, then its key, in hex"),
]


def make_router(core: NodeCore, broker: events.Broker) -> APIRouter:
    """Return the routes of one node."""
    router = APIRouter()
    _add_node(router, core, broker)
    _add_chain(router, core)
    _add_transactions(router, core, broker)
    return router


def _add_node(router: APIRouter, core: NodeCore, broker: events.Broker) -> None:
    @router.get("/status", response_model=StatusView, tags=["node"])
    async def get_status() -> Response:
        """Say where the node stands; its own word, without proof."""
        return answer(await run_in_threadpool(_describe, core))

    @router.get("/metrics", tags=["node"], responses={200: {"content": {"text/plain": {}}}})
    def get_metrics() -> Response:
        """Give the counters of the node in the text form of Prometheus."""
        return Response(core.metrics.render(), media_type=metrics.MEDIA_TYPE)

    @router.get("/events", tags=["node"], responses={200: {"content": {events.MEDIA_TYPE: {}}}})
    async def get_events(
        request: Request, after: Annotated[int | None, Query(ge=0, le=2**53, description="height to go on from")] = None
    ) -> Response:
        """Stream one event for each block above `after`, or above the height in the header `Last-Event-ID`."""
        last = request.headers.get("last-event-id", "")
        start = (
            after if after is not None else int(last) if last.isascii() and last.isdigit() and len(last) < 17 else None
        )
        if start is None:
            start = await run_in_threadpool(core.get_height)
        stream = events.stream_blocks(core.views, broker, start, core.metrics.streams)
        return StreamingResponse(stream, media_type=events.MEDIA_TYPE, headers={"cache-control": "no-store"})


def _describe(core: NodeCore) -> StatusView:
    position = core.application.info().position
    engine = core.engine.get_capabilities()
    return StatusView(
        version=VERSION,
        name=core.genesis.name,
        chain_id=core.chain_id.hex(),
        operator=core.genesis.engine.operator.hex(),
        height=position.height,
        block_id=position.block.hex(),
        block_time=position.time,
        waiting=len(core.pool),
        interval_ms=core.settings.interval_ms,
        uptime_seconds=core.get_uptime(),
        halted=core.is_halted,
        engine=EngineView(engine.name, engine.fault_model, engine.final, engine.many_machines),
    )


def _add_chain(router: APIRouter, core: NodeCore) -> None:
    @router.get("/genesis", tags=["chain"], response_class=Response, responses={200: {"content": {BINARY: {}}}})
    def get_genesis() -> Response:
        """Give the encoded genesis. It is an anchor only where it came by a way that the caller trusts."""
        return answer_bytes(encode(core.genesis))

    @router.get("/headers", response_model=HeaderPage, tags=["chain"])
    def get_headers(
        first: Annotated[int, Query(ge=1, le=2**53, description="height of the first")] = 1,
        limit: Annotated[int, Query(ge=1, le=_MAX_HEADERS, description="most headers")] = 100,
    ) -> Response:
        """List sealed headers in rising order."""
        return answer(HeaderPage([show_header(each) for each in core.views.list_headers(first, limit)]))

    @router.get("/headers/{height}", response_model=SealedHeader, tags=["chain"])
    def get_header(height: Height) -> Response:
        """Give the sealed header of a block."""
        found = core.views.get_header(height)
        if found is None:
            raise NotFound("there is no block at this height", actual=height)
        return answer(show_header(found))

    @router.get("/blocks/{height}", response_model=BlockView, tags=["chain"])
    def get_block(height: Height) -> Response:
        """Give a whole block and its results."""
        found = core.views.get_stored_block(height)
        if found is None:
            raise NotFound("there is no block at this height", actual=height)
        results = [each.result.hex() for each in found.transactions]
        return answer(BlockView(height, found.id.hex(), encode(to_block(found)).hex(), results))

    @router.get("/state/{key}", response_model=StateView, tags=["state"])
    async def get_state(key: StateKey) -> Response:
        """Give a value of the ledger state, or null, with the proof under the root of the last header."""
        raw = bytes.fromhex(key)
        found = core.try_read_state(raw)
        if found is None:  # a block is being committed
            found = await run_in_threadpool(core.read_state, raw)
        value = None if found.value is None else found.value.hex()
        return answer(StateView(key, value, encode(found.proof).hex(), show_header(found.header)))


def _add_transactions(router: APIRouter, core: NodeCore, broker: events.Broker) -> None:
    @router.post(
        "/transactions", response_model=Accepted, status_code=202, tags=["transactions"], openapi_extra=BINARY_BODY
    )
    async def post_transaction(request: Request) -> Response:
        """Take a signed transaction for one of the next blocks, or refuse it with the code of the reason."""
        data = await read_body(request)
        identity = await run_in_threadpool(core.submit, data)
        return answer(Accepted(identity.hex()), 202)

    @router.get("/transactions/{id}", response_model=TransactionView, tags=["transactions"])
    async def get_transaction(
        id: Digest,  # noqa: A002 - as it is called in the address
        wait: Annotated[float, Query(ge=0, le=_MAX_WAIT, description="seconds to wait for a block")] = 0.0,
    ) -> Response:
        """Give a transaction and its result with the paths to the header of its block; or say that it waits."""
        identity = bytes.fromhex(id)
        end = asyncio.get_running_loop().time() + wait
        while True:
            found = await run_in_threadpool(_find_transaction, core, identity)
            left = end - asyncio.get_running_loop().time()
            if found.status == "committed" or left <= 0 or broker.is_closed:
                return answer(found)
            await broker.wait(left)


def _find_transaction(core: NodeCore, identity: bytes) -> TransactionView:
    waits = core.pool.is_waiting(identity)  # asked first: a block may come in between
    found = core.views.read_transaction(identity)
    if found is not None:
        stored = found.stored
        return TransactionView(
            id=identity.hex(),
            status="committed",
            height=found.header.height,
            position=found.position,
            transaction=stored.data.hex(),
            transaction_path=[each.hex() for each in found.transaction_path],
            result=stored.result.hex(),
            result_path=[each.hex() for each in found.result_path],
            message=stored.message,
            sealed=show_header(found.header),
        )
    if not waits:
        raise NotFound("neither a block nor the node has this transaction", actual=identity.hex())
    empty: dict[str, Any] = {"transaction_path": [], "result_path": [], "transaction": "", "result": "", "message": ""}
    return TransactionView(id=identity.hex(), status="waiting", height=0, position=0, sealed=None, **empty)
