"""What every request passes: the token or the name of the server, the end of the server, the count in the metrics, the
answer to a refusal."""

from __future__ import annotations

import base64
import hmac
import ipaddress
import re
import time
from collections.abc import Awaitable, Callable, Collection

from pytest_llmcompiler.service.http.limits import ServiceLimits
from pytest_llmcompiler.service.http.metrics import ServiceMetrics
from pytest_llmcompiler.service.http.refusals import Message, Receive, RefusalError, Scope, Send, send_refusal
from pytest_llmcompiler.service.http.request_body import discard_body, find_header

OPEN_PATHS = frozenset({"/health"})
"""Paths without a token: what asks whether the server lives has none."""
_CLIENT_GONE = 499
"""The status, in metrics, of a request whose client left before the answer; nginx uses the same number."""


class Gate:
    """An ASGI application around another."""

    def __init__(
        self,
        application: Callable[[Scope, Receive, Send], Awaitable[None]],
        token: str | None,
        limits: ServiceLimits,
        metrics: ServiceMetrics,
        paths: Collection[str],
    ) -> None:
        self._application, self._limits, self._metrics, self._paths = application, limits, metrics, frozenset(paths)
        self._token = token.encode() if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        start, status = time.monotonic(), 0

        async def send_counted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            self._check_token(scope)
            await self._application(scope, receive, send_counted)
        except RefusalError as refusal:
            self._metrics.note_refusal(refusal.reason)
            await discard_body(scope, receive, self._limits)
            await send_refusal(send_counted, refusal)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.note_request(path, status or _CLIENT_GONE, time.monotonic() - start)

    def _check_token(self, scope: Scope) -> None:
        """Raises RefusalError for a request without the token; where there is none, for one to another server's name.

        A page in a browser can have its own name lead to this machine (DNS rebinding), and then ask what it likes. It
        asks by that name.
        """
        if self._token is None:
            host = find_header(scope, "host")
            if host is not None and not is_loopback(re.sub(r":\d*$", "", host.strip())):
                raise RefusalError(421, "host", "a server without a token answers to localhost alone")
            return
        if scope["path"] in OPEN_PATHS:
            return
        token = _read_credentials(find_header(scope, "authorization") or "")
        if not hmac.compare_digest(token, self._token):
            raise RefusalError(401, "token", "the token is missing or wrong: Authorization: Bearer TOKEN")


def is_loopback(host: str) -> bool:
    """Whether a name or an address, which may have brackets, is that of the machine itself, to itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def _read_credentials(header: str) -> bytes:
    """The token in a header: that of `Bearer TOKEN`, or the password of `Basic`, which a client makes of a URL with a
    user (`http://llmc:TOKEN@HOST/`); empty where there is none."""
    kind, _, credentials = header.partition(" ")
    if kind.lower() == "bearer":
        return credentials.strip().encode("latin-1")
    if kind.lower() != "basic":
        return b""
    try:
        return base64.b64decode(credentials, validate=True).partition(b":")[2]
    except ValueError:
        return b""
