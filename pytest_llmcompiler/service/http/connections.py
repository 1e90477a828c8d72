"""Connections of clients: no more than allowed, and none that stays without a request."""

from __future__ import annotations

import asyncio
from typing import Any

from pytest_llmcompiler.service.http.limits import ServiceLimits
from pytest_llmcompiler.service.http.metrics import ServiceMetrics

_RETRY_SECONDS = 5
"""Seconds after which a client may ask again that found too many connections."""
_LINGER_SECONDS = 1.0
"""How long such a connection may stay, so that the client reads the answer."""
_TOO_MANY = (
    "HTTP/1.1 503 Service Unavailable\r\n"
    f"retry-after: {_RETRY_SECONDS}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
).encode()


def build_protocol(limits: ServiceLimits, metrics: ServiceMetrics) -> type[asyncio.Protocol]:
    """uvicorn's protocol, for one connection each, with the limits."""
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    base: Any = AutoHTTPProtocol

    class LimitedProtocol(base):  # type: ignore[misc]
        """Refuses its connection where there are too many, and closes it where no request comes."""

        def connection_made(self, transport: asyncio.Transport) -> None:
            self._deadline: asyncio.TimerHandle | None = None
            super().connection_made(transport)
            self._is_refused = len(self.connections) > limits.connections
            if self._is_refused:
                metrics.note_refusal("connections")
                self._refuse(transport)
            else:
                self._watch_head()

        def data_received(self, data: bytes) -> None:
            if not self._is_refused:
                super().data_received(data)
                self._watch_head()

        def _refuse(self, transport: asyncio.Transport) -> None:
            """Answer without a request. What the client sends is read for a moment, since a connection that is closed
            with something unread is reset, and the client loses the answer."""
            transport.write(_TOO_MANY)
            transport.write_eof()
            is_flood = len(self.connections) > 2 * limits.connections
            self.loop.call_later(0 if is_flood else _LINGER_SECONDS, transport.abort)

        def connection_lost(self, error: Exception | None) -> None:
            self._forget_deadline()
            super().connection_lost(error)

        def _watch_head(self) -> None:
            """Have a deadline while the next request is awaited or read, from its first byte on, and none while one is
            answered. What a client sends bit by bit does not move it."""
            if not self._is_between_requests():
                self._forget_deadline()
            elif self._deadline is None:
                self._deadline = self.loop.call_later(limits.body_seconds, self._end_if_silent)

        def _is_between_requests(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _forget_deadline(self) -> None:
            if self._deadline:
                self._deadline.cancel()
                self._deadline = None

        def _end_if_silent(self) -> None:
            self._deadline = None
            if self._is_between_requests() and not self.transport.is_closing():
                self.transport.abort()

    return LimitedProtocol
