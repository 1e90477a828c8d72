"""Requests that are refused: the status, the reason and the fields that are at fault."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Literal, NamedTuple

from pytest_llmcompiler.errors import LLMCompilerError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
"""The four types of ASGI: https://asgi.readthedocs.io/en/latest/specs/main.html"""

Reason = Literal[
    "token", "host", "media-type", "body", "batch", "json", "fields", "files", "queue", "connections", "closing", "slow"
]
"""Why a request is refused, as `/metrics` counts it."""
MAX_FIELDS = 20
"""The most fields that one answer names."""


class FieldFault(NamedTuple):
    """What is wrong with one field of a body."""

    field: str
    """The path of the field, such as `samples.3.function`."""
    message: str


class RefusalError(LLMCompilerError):
    """A request is refused. Raised and answered by `service.http`."""

    def __init__(
        self,
        status: int,
        reason: Reason,
        message: str,
        faults: Sequence[FieldFault] = (),
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        """The status of HTTP."""
        self.reason = reason
        self.faults = tuple(faults)
        self.retry_after = retry_after
        """Seconds after which the client may ask again; None where it need not try."""

    def to_json(self) -> dict[str, Any]:
        """The body of the answer."""
        fields = [fault._asdict() for fault in self.faults[:MAX_FIELDS]]
        return {"error": str(self), "reason": self.reason, **({"fields": fields} if fields else {})}


async def send_json(send: Send, status: int, content: object, headers: Sequence[tuple[str, str]] = ()) -> None:
    """Send a whole answer."""
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    names = [("content-type", "application/json"), ("content-length", str(len(body))), *headers]
    encoded = [(name.encode(), value.encode()) for name, value in names]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


async def send_refusal(send: Send, refusal: RefusalError) -> None:
    """Send the answer to a request that is refused."""
    headers = []
    if refusal.retry_after is not None:
        headers.append(("retry-after", str(refusal.retry_after)))
    if refusal.status == 401:
        headers.append(("www-authenticate", "Bearer"))
    if refusal.reason == "closing":
        headers.append(("connection", "close"))
    await send_json(send, refusal.status, refusal.to_json(), headers)
