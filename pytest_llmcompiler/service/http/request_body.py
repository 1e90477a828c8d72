"""The body of a request, as bytes: no longer and no later than the limits allow."""

from __future__ import annotations

import asyncio

from pytest_llmcompiler.errors import LLMCompilerError
from pytest_llmcompiler.service.http.limits import ServiceLimits
from pytest_llmcompiler.service.http.refusals import Receive, RefusalError, Scope

_DISCARD_SECONDS = 5.0
"""Seconds for which the rest of a body is read that nobody wants."""


class ClientGoneError(LLMCompilerError):
    """The client closed its connection before the answer. Raised and handled by `service.http`."""


def find_header(scope: Scope, name: str) -> str | None:
    """The value of a header, by its name in small letters; None without one."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name.encode()), None)


async def read_body(scope: Scope, receive: Receive, limits: ServiceLimits) -> bytes:
    """The body. Raises RefusalError for a long, a slow and a foreign one, ClientGoneError where the client leaves."""
    media_type = (find_header(scope, "content-type") or "").partition(";")[0].strip().lower()
    if media_type != "application/json":  # a page in a browser can send any other type without being asked
        await discard_body(scope, receive, limits)
        raise RefusalError(415, "media-type", "the body is JSON: Content-Type: application/json")
    length = find_header(scope, "content-length") or ""
    if length.isdecimal() and int(length) > limits.body_bytes:
        await discard_body(scope, receive, limits)
        raise _describe_long_body(limits)
    try:
        body, is_whole = await asyncio.wait_for(_read_chunks(receive, limits.body_bytes), limits.body_seconds)
    except asyncio.TimeoutError:
        raise RefusalError(408, "slow", f"the body was not there after {limits.body_seconds:g} s") from None
    if not is_whole:
        await discard_body(scope, receive, limits)
    if len(body) > limits.body_bytes:
        raise _describe_long_body(limits)
    return body


async def discard_body(scope: Scope, receive: Receive, limits: ServiceLimits) -> None:
    """Read what is left of a body, as far as it is short and comes soon. A client that still sends reads no answer, and
    an answer on a connection that is closed with unread bytes is lost."""
    if find_header(scope, "expect"):  # the client has sent nothing, and waits for an answer
        return

    async def discard() -> None:
        rest = limits.body_bytes
        while rest > 0:
            message = await receive()
            rest -= len(message.get("body", b""))
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                return

    try:
        await asyncio.wait_for(discard(), _DISCARD_SECONDS)
    except asyncio.TimeoutError:
        return


async def _read_chunks(receive: Receive, most_bytes: int) -> tuple[bytes, bool]:
    """The body, or more than `most_bytes` of it, and whether it is whole. Raises ClientGoneError."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError("the client left while it sent the body")
        body += message.get("body", b"")
        is_whole = not message.get("more_body")
        if is_whole or len(body) > most_bytes:
            return bytes(body), is_whole


def _describe_long_body(limits: ServiceLimits) -> RefusalError:
    return RefusalError(413, "body", f"a body has at most {limits.body_bytes:,} bytes: send fewer samples at once")
