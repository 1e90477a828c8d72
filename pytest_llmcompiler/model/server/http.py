"""Requests to an OpenAI-compatible server: made again where that may help, and their errors told to people."""

from __future__ import annotations

import email.utils
import http.client
import json
import os
import random
import re
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import datetime, timezone
from email.message import Message
from typing import IO, Any
from urllib.parse import urlsplit

from pytest_llmcompiler.errors import (
    LLMCompilerError,
    ModelError,
    PromptTooLongError,
    RequestRejectedError,
    UnansweredError,
)
from pytest_llmcompiler.model.sampling import MINIMAL_ANSWER
from pytest_llmcompiler.model.server.throttle import Throttle

_API_KEYS = ("LLMC_API_KEY", "OPENAI_API_KEY")
_ATTEMPTS = 6
"""With the pauses between them, half a minute at the most for a server that is gone."""
_ATTEMPTS_BUSY = 8
"""One that is only too busy may count its requests by the minute."""
_FIRST_PAUSE = 1.0
"""Seconds; it doubles with each attempt."""
_LONGEST_PAUSE = 60.0
_LONGEST_WISH = 600.0
"""Seconds that a server may ask for before it counts as one that does not answer."""
_CONNECT_TIMEOUT = 30.0

_TOO_MANY = 429
_BUSY = frozenset((_TOO_MANY, 503, 529))
# 500 is often a worker that died of something else; a request that always ends so is given up like the others.
_TRY_AGAIN = _BUSY | {408, 500, 502, 504}
_INVALID = frozenset((400, 422))

_TIMEOUTS = 2
"""Attempts at a request that gets no answer in time. What it waited for may have been others' requests."""

# What llama.cpp, llama-cpp-python, vLLM, OpenAI and Together say of a prompt over the context.
_CONTEXT = re.compile(r"(?:maximum context length (?:is|of) |model's context length \()(\d+)")
_PROMPT = re.compile(
    r"(\d+) (?:tokens )?(?:in your prompt|in the (?:prompt|messages)|input tokens)"
    r"|(?:resulted in |input \()(\d+) tokens"
)


@dataclass(eq=False)
class _TransientError(LLMCompilerError):
    """A fault that may be gone at the next attempt."""

    failure: ModelError
    status: int | None = None
    wish: float | None = None
    """Seconds that the server asked to wait."""
    is_late: bool = False
    """Whether there was no answer in time."""


class HttpClient:
    """Thread-safe."""

    def __init__(self, root: str) -> None:
        """`root` is the API's address, which mostly ends in `/v1`. Raises ModelError where it holds a password."""
        try:
            has_password = urlsplit(root).username is not None
        except ValueError as error:
            raise ModelError(f"{root} is not a URL: {error}") from error
        if has_password:
            raise ModelError(f"leave the credentials out of the model's URL and set {_API_KEYS[0]}")
        self.root = root
        self._opener = urllib.request.build_opener(_NoRedirect, _Http, _Https)
        self._has_met = False
        """Whether the server has ever answered."""

    def ask(self, path: str, body: dict[str, Any] | None, timeout: float, throttle: Throttle) -> Any:
        """Send `body` as JSON (GET without one) and return the JSON of the reply; `timeout` is for one attempt.

        Raises PromptTooLong, Unanswered or another ModelError, and Stopped where the throttle is stopped first.
        """
        url = f"{self.root}/{path}"
        failures, timeouts, not_before = 0, 0, 0.0
        while True:
            answered = throttle.answered
            with throttle.flight(not_before) as number:
                try:
                    reply = self._send(url, body, timeout)
                except _TransientError as passing:
                    fault = passing
                    _heed(fault, number, throttle)
                else:
                    throttle.succeeded()
                    return reply
            timeouts += fault.is_late
            if timeouts >= _TIMEOUTS:
                raise fault.failure
            # A server that is busy with others' requests is well: it doesn't count.
            if fault.status not in _BUSY or throttle.answered == answered:
                failures += 1
            if failures >= (_ATTEMPTS_BUSY if fault.status in _BUSY else _ATTEMPTS):
                raise type(fault.failure)(f"{fault.failure} (given up after {failures} attempts)") from fault.failure
            not_before = time.monotonic() + _pause(failures)

    def _send(self, url: str, body: dict[str, Any] | None, timeout: float) -> Any:
        """One attempt. Raises _Passing for what may be worth another, PromptTooLong, and ModelError for all else."""
        try:
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(url, data, _headers())
            with self._opener.open(request, timeout=timeout) as response:
                text: bytes = response.read()
        except urllib.error.HTTPError as error:
            raise _failure(url, error) from error
        except OSError as error:
            raise self._unreachable(url, error, timeout) from error
        except (http.client.InvalidURL, ValueError) as error:
            raise ModelError(f"{url} is not a URL: {error}") from error
        except http.client.HTTPException as error:
            raise _TransientError(ModelError(f"{url}: the connection broke: {error!r}")) from error
        self._has_met = True
        try:
            return json.loads(text)
        except ValueError as error:
            raise ModelError(f"{url} answered something else than JSON: {head(_text(text))}") from error

    def _unreachable(self, url: str, error: OSError, timeout: float) -> Exception:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        has_connected = reason is error
        if isinstance(reason, ConnectionRefusedError):
            failure = ModelError(f"no server listens at {url}: start one, or correct the address")
        elif isinstance(reason, ConnectionError):
            return _TransientError(ModelError(f"{url}: the connection broke: {reason!r}"))
        elif isinstance(reason, TimeoutError) and has_connected:
            return _TransientError(UnansweredError(f"{url} gave no answer in {timeout:g} s"), is_late=True)
        elif isinstance(reason, TimeoutError):
            failure = ModelError(f"can't reach {url}: no connection in {min(timeout, _CONNECT_TIMEOUT):g} s")
        else:
            failure = ModelError(f"can't reach {url}: {reason}")
        # Servers are started again, networks come back; but an address that never was right doesn't become so.
        return _TransientError(failure) if self._has_met else failure


class _Connection(http.client.HTTPConnection):
    """Waits less long for the connection than for the answer, and notices a peer that is gone."""

    def connect(self) -> None:
        patience = self.timeout
        self.timeout = min(patience or _CONNECT_TIMEOUT, _CONNECT_TIMEOUT)
        super().connect()
        self.sock.settimeout(patience)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


class _SecureConnection(_Connection, http.client.HTTPSConnection):
    pass


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, req)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would send the API key to another host."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        return None


def complaint(text: str) -> tuple[str, str | None]:
    """What the body of an error reply says, and the request's field that it blames, if it has a place for that."""
    try:
        reply = json.loads(text)
    except ValueError:
        return text, None
    error = _error(reply)
    if "message" in error:
        return str(error["message"]), error.get("param")
    details = reply.get("detail") if isinstance(reply, dict) else None
    if isinstance(details, list):
        # FastAPI's; it also repeats the request, whose fields are not to blame.
        known = [one for one in details if isinstance(one, dict)]
        return "; ".join(f"{one.get('loc')}: {one.get('msg')}" for one in known), None
    return text, None


def head(text: str) -> str:
    """The first of `text`, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= 200 else line[:197] + "..."


def _headers() -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    name = next((name for name in _API_KEYS if os.environ.get(name)), None)
    if name is None:
        return headers
    key = os.environ[name].strip()
    if not (key.isascii() and key.isprintable()):
        raise ModelError(f"{name} holds a character that no HTTP header may have")
    return headers | {"Authorization": f"Bearer {key}"} if key else headers


def _heed(fault: _TransientError, number: int, throttle: Throttle) -> None:
    """Do for all requests what the server asked of this one. Raises ModelError where it asks for too much."""
    if fault.wish is not None and fault.wish > _LONGEST_WISH:
        raise ModelError(f"{fault.failure} (it asks to wait {fault.wish:.0f} s: try again then)") from fault.failure
    if fault.status == _TOO_MANY or fault.is_late:
        throttle.cut(number)
    if fault.wish is not None:
        throttle.pause(fault.wish)


def _pause(failures: int) -> float:
    # Jitter keeps those that failed together from coming together again.
    return min(_FIRST_PAUSE * 2.0 ** max(failures - 1, 0), _LONGEST_PAUSE) * random.uniform(0.5, 1.0)


def _failure(url: str, error: urllib.error.HTTPError) -> Exception:
    """What an HTTP error means: PromptTooLong where its text has the counts, else _Passing or ModelError."""
    try:
        with error:
            text = _text(error.read())
    except (OSError, http.client.HTTPException):
        text = ""
    too_long = _too_long(text)
    if too_long:
        return too_long
    hint = ""
    if error.code in (401, 403):
        hint = f" (the API key is taken from {' or '.join(_API_KEYS)})"
    elif error.code == 404 or 300 <= error.code < 400:
        hint = " (the address is that of the API's root, which mostly ends in /v1)"
    message = f"{url}: HTTP {error.code} {error.reason}{hint}: {head(text)}"
    if error.code in _BUSY:
        return _TransientError(ModelError(message), error.code, _retry_after(error.headers))
    if error.code in _TRY_AGAIN:
        return _TransientError(UnansweredError(message), error.code)
    if error.code not in _INVALID:
        return ModelError(message)
    counts = _counts(text)
    return RequestRejectedError(message, text, counts[1] - counts[0] if counts else None)


def _error(reply: Any) -> dict[str, Any]:
    """The error object of a reply: most servers wrap it, some versions of vLLM don't."""
    error = reply.get("error", reply) if isinstance(reply, dict) else None
    return error if isinstance(error, dict) else {}


def _too_long(text: str) -> PromptTooLongError | None:
    counts = _counts(text)
    # A prompt that fits was refused for its token limit.
    return PromptTooLongError(*counts) if counts and counts[0] + MINIMAL_ANSWER > counts[1] else None


def _counts(text: str) -> tuple[int, int] | None:
    """Tokens of the prompt and of the context, as an error reply tells them."""
    try:
        error = _error(json.loads(text))
        if "n_prompt_tokens" in error and "n_ctx" in error:
            return int(error["n_prompt_tokens"]), int(error["n_ctx"])
        message = str(error["message"])
    except (ValueError, KeyError, TypeError):
        return None
    prompt, context = _PROMPT.search(message), _CONTEXT.search(message)
    return (int(prompt[1] or prompt[2]), int(context[1])) if prompt and context else None


def _retry_after(headers: Message) -> float | None:
    """Seconds to wait by the Retry-After header (RFC 9110, 10.2.3: seconds or a date; some give a fraction)."""
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return float(value)
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
    return max(0.0, (aware - datetime.now(timezone.utc)).total_seconds())


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")
