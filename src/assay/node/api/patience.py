"""How long a connection may take to say what it wants: the one limit that an ASGI application cannot set.

uvicorn closes a connection that idles between two requests; it waits for ever for the first head, and for a head that
comes byte by byte. The protocol here closes those too.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def make_protocol(head_seconds: float) -> type[H11Protocol]:
    """Return a protocol of uvicorn that closes a connection whose next head is not complete in time.

    Args:
        head_seconds: from the connection, or the first byte of a head, to its end.
    """

    class PatientProtocol(H11Protocol):
        """Closes connections that send nothing, or their head byte by byte."""

        head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            """Start the clock of a new connection."""
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            """Stop the clock when a head is complete, start it when one has begun."""
            super().data_received(data)
            self._look()

        def on_response_complete(self) -> None:
            """Look at what came behind the request that was answered."""
            super().on_response_complete()
            self._look()

        def _look(self) -> None:
            if self.conn.their_state is not h11.IDLE:
                self._stop()
            elif self.head_timer is None and self.conn.trailing_data[0]:
                self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            """Stop the clock."""
            self._stop()
            super().connection_lost(exc)

        def _watch(self) -> None:
            self.head_timer = self.loop.call_later(head_seconds, self.transport.close)

        def _stop(self) -> None:
            if self.head_timer is not None:
                self.head_timer.cancel()
                self.head_timer = None

    return PatientProtocol
