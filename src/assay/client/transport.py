"""HTTP to one node: bounded answers, typed errors, patience where the node asks for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Final, TypeVar

import httpx
import msgspec

from assay.errors import NetworkError, UsageError
from assay.protocol.decoders import get_json_decoder

MAX_ANSWER: Final = 48 * 1024 * 1024
_BINARY: Final = "application/octet-stream"
_TRIES: Final = 5

AnswerT = TypeVar("AnswerT")


class NodeUnreachable(NetworkError):
    """No node answers at this address, or the connection broke."""

    code: ClassVar[str] = "client.unreachable"


class NodeUnavailable(NetworkError):
    """The node answers that it cannot serve now."""

    code: ClassVar[str] = "client.unavailable"


class AnswerRefused(NetworkError):
    """An answer that is longer than any, or not in its form."""

    code: ClassVar[str] = "client.answer-refused"


class RefusedByNode(UsageError):
    """The node refuses the request. `remote_code` is the stable code of its error, `status` that of HTTP."""

    code: ClassVar[str] = "client.refused"

    def __init__(self, status: int, remote_code: str, message: str, **further: Any) -> None:
        self.status = status
        self.remote_code = remote_code
        super().__init__(f"{message} ({remote_code})", **further)


class _Problem(msgspec.Struct):
    code: str = "unknown"
    detail: str = "the node gave no reason"
    expected: str | None = None
    actual: str | None = None
    nextStep: str | None = None  # noqa: N815 - as it travels


class Transport:
    """Requests to `/api/v1` of one node.

    Args:
        url: such as `http://127.0.0.1:7373`.
        timeout: seconds for any one answer.
        inner: a transport of httpx, for tests.
        sleep: waits some seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30.0,
        inner: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise UsageError("not the address of a node", expected="http://HOST:PORT", actual=ascii(url[:200]))
        self.url = url.rstrip("/")
        self._sleep = sleep
        self._client = httpx.Client(
            base_url=f"{self.url}/api/v1", timeout=timeout, transport=inner, follow_redirects=False, trust_env=False
        )

    def get(self, path: str, kind: type[AnswerT], **query: Any) -> AnswerT:
        """Return the JSON answer of a GET, decoded strictly.

        Raises:
            NetworkError: unreachable, unavailable, or no such answer.
            RefusedByNode: the node refuses.
        """
        return self.decode(self._send("GET", path, params=query), kind)

    def get_bytes(self, path: str) -> bytes:
        """Return the raw answer of a GET; raises as `get`."""
        return self._send("GET", path)

    def send(self, method: str, path: str, body: bytes, kind: type[AnswerT]) -> AnswerT:
        """Send raw bytes by POST or PUT and return the JSON answer; raises as `get`."""
        return self.decode(self._send(method, path, content=body, headers={"content-type": _BINARY}), kind)

    def _send(self, method: str, path: str, **request: Any) -> bytes:
        for left in range(_TRIES - 1, -1, -1):
            try:
                return self._send_once(method, path, **request)
            except NodeUnavailable:
                if not left:
                    raise
            self._sleep(1.0)
        raise NodeUnavailable("the node is not available")

    def _send_once(self, method: str, path: str, **request: Any) -> bytes:
        with self._network_errors(), self._client.stream(method, path, **request) as response:
            body = bytearray()
            for part in response.iter_bytes():
                body += part
                if len(body) > MAX_ANSWER:
                    raise AnswerRefused("the answer is too long", expected=f"at most {MAX_ANSWER} bytes")
        if response.status_code >= 300:
            raise _read_problem(response.status_code, bytes(body))
        return bytes(body)

    @contextmanager
    def stream_lines(self, path: str, **query: Any) -> Iterator[Iterator[bytes]]:
        """Give the lines of an answer that does not end.

        Raises:
            NetworkError: the connection broke; open it again.
        """
        timeout = httpx.Timeout(30.0)
        with self._network_errors(), self._client.stream("GET", path, params=query, timeout=timeout) as response:
            if response.status_code >= 300:
                raise _read_problem(response.status_code, response.read())
            yield _split_lines(response.iter_bytes())

    def decode(self, data: bytes, kind: type[AnswerT]) -> AnswerT:
        """Return what the bytes of an answer say.

        Raises:
            AnswerRefused: they are not in the form of `kind`.
        """
        try:
            return get_json_decoder(kind).decode(data)
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            raise AnswerRefused("the node's answer is not in its form", actual=str(error)[:200]) from None

    @contextmanager
    def _network_errors(self) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise NodeUnreachable(
                f"no answer from {self.url}",
                actual=f"{type(error).__name__}: {error}",
                next_step="is the node running? assay node status",
            ) from error

    def close(self) -> None:
        """Close all connections."""
        self._client.close()


def _split_lines(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Yield lines without their ends, however the bytes are cut.

    Raises:
        AnswerRefused: a line is longer than any answer.
    """
    waiting = b""
    for part in parts:
        *lines, waiting = (waiting + part).split(b"\n")
        yield from lines
        if len(waiting) > MAX_ANSWER:
            raise AnswerRefused("a line of the stream is too long", expected=f"at most {MAX_ANSWER} bytes")


def _read_problem(status: int, body: bytes) -> NetworkError | RefusedByNode:
    """Return the error that a problem of RFC 9457 stands for."""
    try:
        problem = get_json_decoder(_Problem).decode(body[:100_000])
    except (msgspec.MsgspecError, RecursionError, ValueError):
        problem = _Problem()
    if status in {429, 503} and problem.code in {"api.rate", "api.concurrency", "node.nothing-committed"}:
        return NodeUnavailable(problem.detail, actual=problem.code, next_step="ask again in a moment")
    if status >= 500 and status != 507:
        return NodeUnavailable(f"{problem.detail} ({problem.code})", actual=f"HTTP {status}")
    return RefusedByNode(
        status,
        problem.code,
        problem.detail,
        expected=problem.expected,
        actual=problem.actual,
        next_step=problem.nextStep,
    )
