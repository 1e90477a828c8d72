"""A model behind an OpenAI-compatible HTTP server: `GET /v1/models` and `POST /v1/completions`."""

from __future__ import annotations

import email.utils
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from datetime import datetime, timezone
from email.message import Message
from typing import IO, Any
from urllib.parse import urlsplit

from pytest_llmcompiler.model.answer import Answer, ModelError, Prompt, PromptTooLong, Sampling, Stop
from pytest_llmcompiler.model.drawing import MINIMAL_ANSWER, STOP, sample_seed

_API_KEYS = ("LLMC_API_KEY", "OPENAI_API_KEY")
_TRY_AGAIN = frozenset((429, 502, 503, 504))
_ATTEMPTS = 4
_LONGEST_PAUSE = 60.0
_GREETING_TIMEOUT = 30.0
_STOPS: dict[str | None, Stop] = {"stop": "stop", "length": "length", None: "stop"}

# What llama.cpp, llama-cpp-python, vLLM and OpenAI say of a prompt over the context.
_CONTEXT = re.compile(r"maximum context length (?:is|of) (\d+)")
_PROMPT = re.compile(r"(\d+) (?:in your prompt|in the (?:prompt|messages)|input tokens)")


class ServerModel:
    """Answers from a server's completions, one request a sample.

    The server's own sampling defaults hold for all but temperature, top-p, seed, the stop string and the
    token limit.
    """

    def __init__(self, url: str, sampling: Sampling, timeout: float = 1800.0) -> None:
        """Ask the server at `url` (which ends in `/v1`) for its model. `timeout`: seconds for one answer.

        Raises ModelError where nothing usable answers there. Warns where the server has several models.
        """
        if urlsplit(url).username is not None:
            raise ModelError(f"leave the credentials out of the model's URL and set {_API_KEYS[0]}")
        self._url = url.rstrip("/")
        self._sampling = sampling
        self._timeout = timeout
        self._name = self._first_model()

    def describe(self) -> dict[str, Any]:
        """`name` is what the server calls its model."""
        return {"backend": "server", "name": self._name, "url": self._url}

    def answers(self, prompt: Prompt, samples: int) -> Iterator[Answer]:
        """Yield `samples` answers, each with a seed of its own."""
        for sample in range(samples):
            yield self._answer(prompt, sample)

    def close(self) -> None:
        """No connection is held open."""

    def _first_model(self) -> str:
        reply = self._ask("models", None, _GREETING_TIMEOUT)
        try:
            names = [str(model["id"]) for model in reply["data"]]
        except (KeyError, TypeError) as error:
            raise ModelError(f"{self._url}/models lists no models: {_head(json.dumps(reply))}") from error
        if not names:
            raise ModelError(f"{self._url} serves no model")
        if len(names) > 1:
            warnings.warn(
                f"{self._url} serves {len(names)} models; the first, {names[0]}, answers",
                UserWarning,
                stacklevel=4,
            )
        return names[0]

    def _answer(self, prompt: Prompt, sample: int) -> Answer:
        seed = sample_seed(self._sampling.seed, prompt.key, sample)
        request = {
            "model": self._name,
            "prompt": prompt.text,
            "temperature": self._sampling.temperature,
            "top_p": self._sampling.top_p,
            # Without a number servers fall back on 16 tokens; null is all that the context leaves.
            "max_tokens": self._sampling.max_tokens,
            "stop": [STOP],
            "seed": seed,
        }
        started = time.perf_counter()
        reply = self._ask("completions", request, self._timeout)
        seconds = round(time.perf_counter() - started, 3)
        try:
            choice = reply["choices"][0]
            text, finish = choice["text"], choice.get("finish_reason")
            if not isinstance(text, str):
                raise TypeError("text")
        except (KeyError, IndexError, TypeError) as error:
            raise ModelError(f"{self._url}/completions gave no completion: {_head(json.dumps(reply))}") from error
        if finish not in _STOPS:
            raise ModelError(f"{self._url}: the answer ended for the unknown reason {finish!r}")
        usage = reply.get("usage") or {}
        return Answer(
            text=text,
            sample=sample,
            stop=_STOPS[finish],
            prompt_tokens=usage.get("prompt_tokens"),
            answer_tokens=usage.get("completion_tokens"),
            seconds=seconds,
            seed=seed,
        )

    def _ask(self, path: str, body: dict[str, Any] | None, timeout: float) -> Any:
        """One request, made again a few times where the server is busy or drops the connection."""
        url = f"{self._url}/{path}"
        for attempt in range(_ATTEMPTS):
            pause = 2.0**attempt
            try:
                return _request(url, body, timeout)
            except urllib.error.HTTPError as error:
                failure = _failure(url, error)
                if error.code not in _TRY_AGAIN:
                    raise failure from error
                pause = min(_retry_after(error.headers, pause), _LONGEST_PAUSE)
            except (ConnectionResetError, http.client.HTTPException) as error:
                failure = ModelError(f"{url}: the connection broke: {error!r}")
            if attempt + 1 < _ATTEMPTS:
                time.sleep(pause)
        raise failure


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would send the API key to another host."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        return None


def _request(url: str, body: dict[str, Any] | None, timeout: float) -> Any:
    """Send `body` as JSON (GET without one) and return the JSON of the reply.

    Raises HTTPError, ConnectionResetError and HTTPException, which may be worth another try, and ModelError
    for all else.
    """
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    key = next((os.environ[name] for name in _API_KEYS if os.environ.get(name)), None)
    if key:
        headers["Authorization"] = f"Bearer {key}"
    try:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers)
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout) as response:
            text: bytes = response.read()
    except (urllib.error.HTTPError, ConnectionResetError):
        raise
    except (TimeoutError, urllib.error.URLError) as error:
        raise _unreachable(url, error, timeout) from error
    except (http.client.InvalidURL, ValueError) as error:
        raise ModelError(f"{url} is not a URL: {error}") from error
    try:
        return json.loads(text)
    except ValueError as error:
        raise ModelError(f"{url} answered something else than JSON: {_head(_text(text))}") from error


def _unreachable(url: str, error: OSError, timeout: float) -> Exception:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ConnectionResetError):
        return reason
    if isinstance(reason, ConnectionRefusedError):
        return ModelError(f"no server listens at {url}: start one, or correct the address")
    if isinstance(reason, TimeoutError):
        return ModelError(f"{url} gave no answer in {timeout:g} s")
    return ModelError(f"can't reach {url}: {reason}")


def _failure(url: str, error: urllib.error.HTTPError) -> Exception:
    """What an HTTP error means: PromptTooLong where its text has the counts, else ModelError."""
    text = _text(error.read())
    too_long = _too_long(text)
    if too_long:
        return too_long
    hint = ""
    if error.code in (401, 403):
        hint = f" (the API key is taken from {' or '.join(_API_KEYS)})"
    elif error.code == 404 or 300 <= error.code < 400:
        hint = " (the address is that of the API's root, which mostly ends in /v1)"
    return ModelError(f"{url}: HTTP {error.code} {error.reason}{hint}: {_head(text)}")


def _too_long(text: str) -> PromptTooLong | None:
    try:
        error = json.loads(text)["error"]
        message = str(error["message"])
    except (ValueError, KeyError, TypeError):
        return None
    if "n_prompt_tokens" in error and "n_ctx" in error:
        prompt, context = int(error["n_prompt_tokens"]), int(error["n_ctx"])
    else:
        counts = _PROMPT.search(message), _CONTEXT.search(message)
        if not counts[0] or not counts[1]:
            return None
        prompt, context = int(counts[0][1]), int(counts[1][1])
    # A prompt that fits was refused for its token limit: then the server's own words say more.
    return PromptTooLong(prompt, context) if prompt + MINIMAL_ANSWER > context else None


def _retry_after(headers: Message, otherwise: float) -> float:
    """Seconds to wait by the Retry-After header (RFC 9110, 10.2.3: seconds or a date)."""
    value = headers.get("Retry-After", "")
    if value.isdigit():
        return float(value)
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return otherwise
    aware = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
    return max(0.0, (aware - datetime.now(timezone.utc)).total_seconds())


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


def _head(text: str) -> str:
    """The first of `text`, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= 200 else line[:197] + "..."
