"""What any caller may take of a node: bytes of a body, requests a second, requests at a time, time for a body.

A plain ASGI layer around the application, so that a refusal costs almost nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assay.errors import UsageError
from assay.node.api.problems import make_problem

_MAX_CALLERS: Final = 10_000
_STREAMS: Final = "/api/v1/events"
_BLOBS: Final = "/api/v1/blobs"
_MAX_HEADERS: Final = 32 * 1024


@dataclass(frozen=True)
class Limits:
    """Bounds of the HTTP door.

    Attributes:
        body_bytes: longest body of a request, but of blobs.
        blob_bytes: longest body of a request below `/api/v1/blobs`.
        requests_per_second: for one address, on average; 0: no bound.
        burst: requests that one address may make at once.
        requests: requests that are worked on at the same time.
        blobs: of those below `/api/v1/blobs`, which hold whole objects in memory.
        streams: streams of events that are open at the same time.
        body_seconds: longest time for a body to arrive.
        head_seconds: longest time for the head of a request to arrive.
        idle_seconds: after which a connection without a request is closed.
    """

    body_bytes: int = 256 * 1024
    blob_bytes: int = 17 * 1024 * 1024
    requests_per_second: int = 2_000
    burst: int = 4_000
    requests: int = 256
    blobs: int = 16
    streams: int = 256
    body_seconds: float = 30.0
    head_seconds: float = 10.0
    idle_seconds: int = 30


class BodyTooLong(UsageError):
    """A body that is longer than it may be, found out in the midst of it."""

    code = "api.body"
    http_status = 413


class BodyTooSlow(UsageError):
    """A body that did not arrive in time."""

    code = "api.slow"
    http_status = 408


class RateLimit:
    """A bucket of tokens for each address; the longest unused ones are forgotten.

    Args:
        per_second: tokens that are added each second; 0: no bound.
        burst: most tokens.
        clock: seconds that never go back.
    """

    def __init__(self, per_second: int, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def is_within(self, caller: str) -> bool:
        """Take one token of the caller; return whether there was one."""
        if not self._per_second:
            return True
        now = self._clock()
        tokens, last = self._buckets.pop(caller, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - last) * self._per_second)
        self._buckets[caller] = (max(tokens - 1, 0.0), now)
        if len(self._buckets) > _MAX_CALLERS:
            self._buckets.popitem(last=False)
        return tokens >= 1


class LimitedApp:
    """An ASGI application within limits.

    Args:
        app: what is inside.
        limits: the bounds.
        on_refused: called with the reason, for the metrics.
    """

    def __init__(self, app: ASGIApp, limits: Limits, on_refused: Callable[[str], None]) -> None:
        self._app = app
        self._limits = limits
        self._on_refused = on_refused
        self._rate = RateLimit(limits.requests_per_second, limits.burst)
        self._most = {"requests": limits.requests, "blobs": limits.blobs, "streams": limits.streams}
        self._active = dict.fromkeys(self._most, 0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        caller = scope["client"][0] if scope.get("client") else ""
        if not self._rate.is_within(caller):
            await self._refuse(scope, receive, send, 429, "api.rate", "too many requests from this address")
            return
        kind = _classify(scope["path"])
        if self._active[kind] >= self._most[kind]:
            await self._refuse(scope, receive, send, 503, "api.concurrency", f"too many {kind} at a time")
            return
        self._active[kind] += 1
        try:
            most = self._limits.blob_bytes if kind == "blobs" else self._limits.body_bytes
            await self._answer(scope, receive, send, most)
        finally:
            self._active[kind] -= 1

    async def _answer(self, scope: Scope, receive: Receive, send: Send, most: int) -> None:
        headers = scope["headers"]
        announced = dict(headers).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > most:
            await self._refuse(scope, receive, send, 413, "api.body", f"a body has at most {most} bytes")
        elif sum(len(name) + len(value) for name, value in headers) > _MAX_HEADERS:
            await self._refuse(scope, receive, send, 431, "api.headers", f"headers have at most {_MAX_HEADERS} bytes")
        elif scope.get("http_version") not in {"1.0", "1.1"}:
            await self._refuse(scope, receive, send, 505, "api.http-version", "this is a door for HTTP/1.1")
        else:
            await self._app(scope, self._bound(receive, most), send)

    def _bound(self, receive: Receive, most: int) -> Receive:
        """Return a source of the body that counts bytes and seconds."""
        left, finished = most, False
        deadline = time.monotonic() + self._limits.body_seconds

        async def take() -> Message:
            nonlocal left, finished
            if finished:  # what comes now is only the end of the connection
                return await receive()
            try:
                async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                    message = await receive()
            except TimeoutError:
                self._on_refused(BodyTooSlow.code)
                raise BodyTooSlow("the body did not arrive in time") from None
            left -= len(message.get("body", b""))
            finished = not message.get("more_body", False)
            if left < 0:
                self._on_refused(BodyTooLong.code)
                raise BodyTooLong("the body is too long", expected=f"at most {most} bytes")
            return message

        return take

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, status: int, code: str, detail: str) -> None:
        self._on_refused(code)
        response = make_problem(status, code, detail)
        response.headers["connection"] = "close"
        await response(scope, receive, send)


def _classify(path: str) -> str:
    return "streams" if path == _STREAMS else "blobs" if path.startswith(_BLOBS) else "requests"
