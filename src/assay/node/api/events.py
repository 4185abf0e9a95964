"""Events by server-sent events: one for each block, resumable by height.

A stream reads committed blocks from the chain, so that a slow or returning reader misses none and costs no queue. An
event says what happened; whoever acts on it reads the state with its proof.

Source: WHATWG HTML, "Server-sent events".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from prometheus_client import Gauge
from starlette.concurrency import run_in_threadpool

from assay.node.views import ChainViews

MEDIA_TYPE: Final = "text/event-stream"
_HEARTBEAT: Final = 10.0
_PAGE: Final = 200


class Broker:
    """Wakes the streams when a block was committed; `wake` may be called from any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self._closed = False

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the loop in which the streams run."""
        self._loop = loop

    def wake(self, *, closing: bool = False) -> None:
        """Let every stream look for new blocks, or end."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._turn, closing)

    def _turn(self, closing: bool) -> None:  # noqa: FBT001 - `call_soon_threadsafe` takes positional arguments
        self._closed = self._closed or closing
        self._news.set()
        self._news = asyncio.Event()

    @property
    def is_closed(self) -> bool:
        """Whether the streams shall end."""
        return self._closed

    async def wait(self, seconds: float) -> None:
        """Return when there is news, or after a while."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return


async def stream_blocks(views: ChainViews, broker: Broker, after: int, streams: Gauge) -> AsyncIterator[bytes]:
    """Yield an event for each block above `after`, and a comment when nothing happens for a while.

    Args:
        views: of the chain.
        broker: says when to look again.
        after: height to go on from.
        streams: counts what is open.
    """
    with streams.track_inprogress():
        yield b": assay\n\n"
        while not broker.is_closed:
            found = await run_in_threadpool(views.list_events, after, _PAGE)
            for height, body in found:
                yield b"event: block\nid: %d\ndata: %s\n\n" % (height, body)
                after = height
            if not found:
                await broker.wait(_HEARTBEAT)
                yield b": still here\n\n"
