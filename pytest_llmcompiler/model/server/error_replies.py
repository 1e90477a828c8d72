"""Error replies of OpenAI-compatible servers: what they say, and what they mean for the request.

Servers agree on the status codes and on little else. Known are the replies of llama.cpp's llama-server,
llama-cpp-python, vLLM, OpenAI, Together and FastAPI.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import re
import urllib.error
from datetime import datetime, timezone
from email.message import Message
from typing import Any, NamedTuple

from pytest_llmcompiler.errors import (
    LLMCompilerError,
    ModelError,
    PromptTooLongError,
    RequestRejectedError,
    UnansweredError,
)
from pytest_llmcompiler.model.sampling import MINIMAL_ANSWER

API_KEY_VARIABLES = ("LLMC_API_KEY", "OPENAI_API_KEY")
"""The environment variables that may hold the API key; the first that is set counts."""

TOO_MANY_REQUESTS = 429
BUSY_STATUSES = frozenset((TOO_MANY_REQUESTS, 503, 529))
"""The server is well, but has too much to do. 529 is what some hosted servers send when overloaded."""
# 500 is often a worker process that died of another request.
_TRANSIENT_STATUSES = BUSY_STATUSES | {408, 500, 502, 504}
_INVALID_STATUSES = frozenset((400, 422))

_HEAD_LENGTH = 200
"""Characters of a reply that an error message shows."""

_CONTEXT_COUNT = re.compile(r"(?:maximum context length (?:is|of) |model's context length \()(\d+)")
_PROMPT_COUNT = re.compile(
    r"(\d+) (?:tokens )?(?:in your prompt|in the (?:prompt|messages)|input tokens)"
    r"|(?:resulted in |input \()(\d+) tokens"
)


class TransientError(LLMCompilerError):
    """A request failed in a way that another attempt may not."""

    def __init__(
        self,
        failure: ModelError,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        is_timeout: bool = False,
    ) -> None:
        super().__init__(str(failure))
        self.failure = failure
        """The error to raise once no further attempt is made."""
        self.status = status
        """The HTTP status; None where there was no reply."""
        self.retry_after = retry_after
        """Seconds that the server asks to wait, None where it does not say."""
        self.is_timeout = is_timeout
        """Whether there was no answer in time."""


class Complaint(NamedTuple):
    """What an error reply says."""

    message: str
    field: str | None
    """The field of the request that the reply names in a place of its own."""


class RejectedTokenCounts(NamedTuple):
    """Token counts of an error reply."""

    prompt: int
    context: int


def classify_http_error(url: str, error: urllib.error.HTTPError) -> LLMCompilerError:
    """The error to raise for an HTTP error: PromptTooLongError where the reply has the token counts of a prompt that is
    too long, TransientError where another attempt may succeed, RequestRejectedError where the request is at fault, else
    ModelError."""
    try:
        with error:
            text = decode(error.read())
    except (OSError, http.client.HTTPException):
        text = ""
    counts = _find_token_counts(text)
    # With room for an answer the server refused the token limit, not the prompt.
    if counts and counts.prompt + MINIMAL_ANSWER > counts.context:
        return PromptTooLongError(counts.prompt, counts.context)
    hint = ""
    if error.code in (401, 403):
        hint = f" (the API key is taken from {' or '.join(API_KEY_VARIABLES)})"
    elif error.code == 404 or 300 <= error.code < 400:
        hint = " (give the address of the API's root, which mostly ends in /v1)"
    message = f"{url}: HTTP {error.code} {error.reason}{hint}: {get_head(text)}"
    if error.code in BUSY_STATUSES:
        retry_after = _read_retry_after(error.headers)
        return TransientError(ModelError(message), status=error.code, retry_after=retry_after)
    if error.code in _TRANSIENT_STATUSES:
        return TransientError(UnansweredError(message), status=error.code)
    if error.code in _INVALID_STATUSES:
        return RequestRejectedError(message, text, counts.context - counts.prompt if counts else None)
    return ModelError(message)


def read_complaint(text: str) -> Complaint:
    """What the body of an error reply says; all of it where its form is unknown."""
    try:
        reply = json.loads(text)
    except ValueError:
        return Complaint(text, None)
    error = _get_error(reply)
    if "message" in error:
        return Complaint(str(error["message"]), error.get("param"))
    details = reply.get("detail") if isinstance(reply, dict) else None
    if isinstance(details, list):
        # FastAPI's form. It also repeats the request with all its fields, which must not count as named.
        known = [detail for detail in details if isinstance(detail, dict)]
        return Complaint("; ".join(f"{detail.get('loc')}: {detail.get('msg')}" for detail in known), None)
    return Complaint(text, None)


def get_head(text: str) -> str:
    """The beginning of a text on one line, at most 200 characters."""
    line = " ".join(text.split())
    return line if len(line) <= _HEAD_LENGTH else line[: _HEAD_LENGTH - 3] + "..."


def decode(data: bytes) -> str:
    """The text of a reply, whatever bytes it has."""
    return data.decode("utf-8", errors="replace")


def _get_error(reply: Any) -> dict[str, Any]:
    """The error object of a reply: most servers wrap it, some versions of vLLM don't."""
    error = reply.get("error", reply) if isinstance(reply, dict) else None
    return error if isinstance(error, dict) else {}


def _find_token_counts(text: str) -> RejectedTokenCounts | None:
    """The lengths of the prompt and of the context, where an error reply has both."""
    try:
        error = _get_error(json.loads(text))
        if "n_prompt_tokens" in error and "n_ctx" in error:
            return RejectedTokenCounts(int(error["n_prompt_tokens"]), int(error["n_ctx"]))
        message = str(error["message"])
    except (ValueError, KeyError, TypeError):
        return None
    prompt, context = _PROMPT_COUNT.search(message), _CONTEXT_COUNT.search(message)
    return RejectedTokenCounts(int(prompt[1] or prompt[2]), int(context[1])) if prompt and context else None


def _read_retry_after(headers: Message) -> float | None:
    """Seconds to wait by the Retry-After header.

    Source: RFC 9110, 10.2.3: whole seconds or a date. Some servers send a fraction of a second.
    """
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return float(value)
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
    return max(0.0, (aware - datetime.now(timezone.utc)).total_seconds())
