"""The HTTP server of a node: from its first answer to its last, in one thread or as the main thread of a process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from typing import ClassVar, Final

import uvicorn
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from assay import __version__ as VERSION  # noqa: N812 - a constant
from assay.errors import NetworkError
from assay.node.api import problems
from assay.node.api.answers import PROBLEMS
from assay.node.api.events import Broker
from assay.node.api.limits import LimitedApp
from assay.node.api.patience import make_protocol
from assay.node.api.routes import make_router
from assay.node.api.routes_blobs import make_blob_router
from assay.node.core import NodeCore
from assay.node.logs import log

PREFIX: Final = "/api/v1"
_GRACE: Final = 10  # seconds for requests in progress
_BACKLOG: Final = 512


class AddressTaken(NetworkError):
    """The node cannot listen on this address."""

    code: ClassVar[str] = "node.address"


def build_app(core: NodeCore, broker: Broker) -> FastAPI:
    """Return the application of `/api/v1` without its limits."""
    app = FastAPI(
        title="Assay node",
        version=VERSION,
        description="Writes are signed transactions. Check headers by their seal, and everything else by its proof.",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # its pages would load scripts from elsewhere
        redoc_url=None,
        responses=PROBLEMS,
    )
    problems.install(app)
    app.include_router(make_router(core, broker), prefix=PREFIX)
    app.include_router(make_blob_router(core.bundles), prefix=PREFIX)
    return app


class _CountingApp:
    """Counts answers by route and status, and logs what failed."""

    def __init__(self, app: FastAPI, core: NodeCore) -> None:
        self._app = app
        self._core = core

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._core.metrics.requests.labels(route, status).inc()
            if status >= 500:
                log("request failed", method=scope["method"], path=scope["path"], status=status)


class NodeServer:
    """Answers for a node between `run` and `stop`.

    Args:
        core: the node, opened and not yet started.

    Raises:
        AddressTaken: another process listens there, or the address is not of this machine.
    """

    def __init__(self, core: NodeCore) -> None:
        self._core = core
        self._broker = Broker()
        limits = core.settings.limits
        app = LimitedApp(
            _CountingApp(build_app(core, self._broker), core),
            limits,
            lambda code: core.metrics.refused.labels(code).inc(),
        )
        self._socket = _listen(core.settings.host, core.settings.port)
        config = uvicorn.Config(
            app,
            http=make_protocol(limits.head_seconds),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=limits.idle_seconds,
            timeout_graceful_shutdown=_GRACE,
            h11_max_incomplete_event_size=64 * 1024,
            limit_concurrency=limits.requests + limits.blobs + limits.streams + 64,
        )
        self._server = _Server(config)
        core.listen(self._broker.wake, self.stop)

    @property
    def url(self) -> str:
        """Where the node answers."""
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def run(self, on_ready: Callable[[], None] | None = None) -> None:
        """Start the node, answer until `stop`, then close the node; returns when everything is written.

        Args:
            on_ready: called when requests are answered.
        """
        try:
            asyncio.run(self._serve(on_ready))
        finally:
            self._socket.close()
            self._core.close()

    async def _serve(self, on_ready: Callable[[], None] | None) -> None:
        self._broker.bind(asyncio.get_running_loop())
        await asyncio.to_thread(self._core.start)
        collecting = asyncio.create_task(self._collect())
        self._server.on_started = on_ready
        log("listening", url=self.url)
        await self._server.serve(sockets=[self._socket])
        collecting.cancel()

    async def _collect(self) -> None:
        while True:
            await asyncio.sleep(_COLLECT_SECONDS)
            try:
                await asyncio.to_thread(self._core.collect)
            except Exception as error:  # noqa: BLE001 - the next turn tries again; the node goes on
                log("collecting blobs failed", error=f"{type(error).__name__}: {error}")

    def stop(self) -> None:
        """Let requests in progress finish, end the streams, take no new ones; may be called from any thread."""
        self._broker.wake(closing=True)
        self._server.should_exit = True


_COLLECT_SECONDS: Final = 60.0


class _Server(uvicorn.Server):
    """A server that leaves the signals of its process alone, and says when it answers."""

    on_started: Callable[[], None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        if self.on_started is not None:
            self.on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Do nothing: the command line installs its own."""
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol must be named: asyncio switches off the delay of small packets only where it sees TCP.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise AddressTaken(
            f"the node cannot listen on {host}, port {port}",
            actual=str(error),
            next_step="choose another --port; is a node running already? assay node status",
        ) from None
    return listening
