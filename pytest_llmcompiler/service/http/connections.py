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
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                transport.abort()
            else:
                self.loop.call_later(limits.body_seconds, self._end_if_silent)

        def _end_if_silent(self) -> None:
            if self.cycle is None and not self.transport.is_closing():
                self.transport.abort()

    return LimitedProtocol
