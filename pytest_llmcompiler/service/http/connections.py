"""Connections of clients: no more than allowed, and none that stays without a request."""

from __future__ import annotations

import asyncio
from typing import Any

from pytest_llmcompiler.service.http.limits import ServiceLimits


def build_protocol(limits: ServiceLimits) -> type[asyncio.Protocol]:
    """uvicorn's protocol, for one connection each, with the limits."""
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    base: Any = AutoHTTPProtocol

    class LimitedProtocol(base):  # type: ignore[misc]
        """Closes its connection where there are too many, or where no request comes."""

        def connection_made(self, transport: asyncio.Transport) -> None:
            self._deadline: asyncio.TimerHandle | None = None
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                transport.abort()
            else:
                self._watch_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch_head()

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
