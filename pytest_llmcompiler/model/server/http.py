"""Requests to an OpenAI-compatible server, with further attempts where one may succeed."""

from __future__ import annotations

import http.client
import json
import os
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from pytest_llmcompiler.errors import LLMCompilerError, ModelError, UnansweredError
from pytest_llmcompiler.model.server.connections import CONNECT_TIMEOUT, build_opener
from pytest_llmcompiler.model.server.error_replies import (
    API_KEY_VARIABLES,
    BUSY_STATUSES,
    TOO_MANY_REQUESTS,
    TransientError,
    classify_http_error,
    decode,
    get_head,
)
from pytest_llmcompiler.model.server.throttle import Throttle

_ATTEMPTS = 6
"""Attempts at a request. With the pauses between them they take at most half a minute when a server is gone."""
_ATTEMPTS_BUSY = 8
"""Attempts while the server is busy and answers no other request either: it may count requests by the minute."""
_ATTEMPTS_TIMEOUT = 2
"""Attempts that may end by a timeout: the first may have waited for other requests alone."""
_FIRST_PAUSE = 1.0
"""Seconds between the first two attempts; each further pause is twice as long."""
_LONGEST_PAUSE = 60.0
"""Seconds between two attempts at most: servers count requests by the minute."""
_LONGEST_RETRY_AFTER = 600.0
"""Seconds that a server may ask to wait. One that asks for more counts as one that does not answer."""


def choose_pause(failures: int) -> float:
    """Seconds before the next attempt, after so many failures: exponential, with jitter, which keeps requests that
    failed together from coming together again."""
    return min(_FIRST_PAUSE * 2.0 ** max(failures - 1, 0), _LONGEST_PAUSE) * random.uniform(0.5, 1.0)


class HttpClient:
    """Sends JSON and receives JSON. Thread-safe."""

    def __init__(self, root: str, choose_pause: Callable[[int], float] = choose_pause) -> None:
        """`root` is the address of the API, which mostly ends in `/v1`. `choose_pause` gives the seconds before the
        next attempt after a number of failures. Raises ModelError where the address is none, or holds a password."""
        try:
            has_password = urlsplit(root).username is not None
        except ValueError as error:
            raise ModelError(f"{root} is not a URL: {error}") from error
        if has_password:
            raise ModelError(f"leave the credentials out of the model's URL and set {API_KEY_VARIABLES[0]}")
        self.root = root
        self._choose_pause = choose_pause
        self._opener = build_opener()
        self._has_answered = False
        """Whether the server has ever answered."""

    def ask(self, path: str, body: dict[str, Any] | None, timeout: float, throttle: Throttle) -> Any:
        """Send `body` as JSON, or a GET request without one. Returns the JSON of the reply.

        `timeout` is in seconds for one attempt. Raises PromptTooLongError, UnansweredError or another ModelError, and
        ThrottleStoppedError where the throttle is stopped first.
        """
        url = f"{self.root}/{path}"
        failures, timeouts, not_before = 0, 0, 0.0
        while True:
            answered = throttle.answered
            with throttle.hold_slot(not_before) as number:
                try:
                    reply = self._send(url, body, timeout)
                except TransientError as transient:
                    error = transient
                    _apply_limits(error, number, throttle)
                else:
                    throttle.record_success()
                    return reply
            timeouts += error.is_timeout
            if timeouts >= _ATTEMPTS_TIMEOUT:
                raise error.failure
            is_busy = error.status in BUSY_STATUSES
            # A server that is busy with other requests is well, so the attempt does not count.
            if not is_busy or throttle.answered == answered:
                failures += 1
            if failures >= (_ATTEMPTS_BUSY if is_busy else _ATTEMPTS):
                raise type(error.failure)(f"{error.failure} (given up after {failures} attempts)") from error.failure
            not_before = time.monotonic() + self._choose_pause(failures)

    def _send(self, url: str, body: dict[str, Any] | None, timeout: float) -> Any:
        """Make one attempt. Raises TransientError where another may succeed, else PromptTooLongError or ModelError."""
        try:
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(url, data, _build_headers())
            with self._opener.open(request, timeout=timeout) as response:
                text: bytes = response.read()
        except urllib.error.HTTPError as error:
            raise classify_http_error(url, error) from error
        except OSError as error:
            raise self._classify_network_error(url, error, timeout) from error
        except (http.client.InvalidURL, ValueError) as error:
            raise ModelError(f"{url} is not a URL: {error}") from error
        except http.client.HTTPException as error:
            raise TransientError(ModelError(f"{url}: the connection broke: {error!r}")) from error
        self._has_answered = True
        try:
            return json.loads(text)
        except ValueError as error:
            raise ModelError(f"{url} sent something else than JSON: {get_head(decode(text))}") from error

    def _classify_network_error(self, url: str, error: OSError, timeout: float) -> LLMCompilerError:
        # urllib wraps errors of connecting; those of reading the reply come as they are.
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        is_connected = reason is error
        if isinstance(reason, ConnectionRefusedError):
            failure = ModelError(f"no server listens at {url}: start one, or correct the address")
        elif isinstance(reason, ConnectionError):
            return TransientError(ModelError(f"{url}: the connection broke: {reason!r}"))
        elif isinstance(reason, TimeoutError) and is_connected:
            return TransientError(UnansweredError(f"{url} gave no answer in {timeout:g} s"), is_timeout=True)
        elif isinstance(reason, TimeoutError):
            failure = ModelError(f"can't reach {url}: no connection in {min(timeout, CONNECT_TIMEOUT):g} s")
        else:
            failure = ModelError(f"can't reach {url}: {reason}")
        # A server may be restarted and a network come back. An address that has never answered is wrong.
        return TransientError(failure) if self._has_answered else failure


def _build_headers() -> dict[str, str]:
    """The headers of a request. Raises ModelError for an API key that no header can hold; the message hides it."""
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    name = next((name for name in API_KEY_VARIABLES if os.environ.get(name)), None)
    if name is None:
        return headers
    key = os.environ[name].strip()
    if not (key.isascii() and key.isprintable()):
        raise ModelError(f"{name} holds a character that no HTTP header may have: set it again")
    return headers | {"Authorization": f"Bearer {key}"} if key else headers


def _apply_limits(error: TransientError, number: int, throttle: Throttle) -> None:
    """Let all requests respect what the server said to this one. Raises ModelError where it asks to wait too long."""
    wait = error.retry_after
    if wait is not None and wait > _LONGEST_RETRY_AFTER:
        raise ModelError(f"{error.failure} (it asks to wait {wait:.0f} s: try again then)") from error.failure
    if error.status == TOO_MANY_REQUESTS or error.is_timeout:
        throttle.halve(number)
    if wait is not None:
        throttle.pause(wait)
