"""A model behind an OpenAI-compatible HTTP server: completions or chat, many requests at a time."""

from __future__ import annotations

import json
import re
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from pytest_llmcompiler.errors import ModelError, PromptTooLongError, RequestRejectedError, UnansweredError
from pytest_llmcompiler.model.answer import Answer, Question, Sampling, StopReason
from pytest_llmcompiler.model.queue.job_queue import Job, JobQueue
from pytest_llmcompiler.model.sampling import STOP, sample_seed
from pytest_llmcompiler.model.server.http import HttpClient, complaint, head
from pytest_llmcompiler.model.server.throttle import Throttle, ThrottleStoppedError
from pytest_llmcompiler.model.server.workers import RequestWorkers, UsageMeter

_MOST_AT_ONCE = 8
"""Samples of one request."""
_GREETING_TIMEOUT = 30.0
_LISTED = 20
"""Models of a server that a message names."""
_COMPLETIONS, _CHAT = "completions", "chat/completions"

# Fields that a server may refuse, and what its complaint calls them (llama-server's own name for n is n_cmpl).
_OPTIONAL = {"seed": r"\bseed\b", "n": r"\bn(_cmpl)?\b", "top_p": r"\btop_p\b"}


class ServerBackend:
    """Answers from a server, several samples a request where it can.

    The server's own sampling defaults hold for all but temperature, top-p, seed, the stop string and the
    token limit.
    """

    def __init__(self, url: str, sampling: Sampling, timeout: float = 1800.0, in_flight: int = 16) -> None:
        """Ask the server at `url` for its model.

        `url` is the API's root, which mostly ends in `/v1`: then completions are asked for. Or it is that with
        `/completions` or `/chat/completions`. Behind a `#` it names the model. `timeout`: seconds for one answer.
        `in_flight`: requests at a time.

        Raises ModelError where nothing usable answers there, or several models do and none is named.
        """
        address, _, named = url.partition("#")
        self._url = address.rstrip("/")
        root, self._endpoint = _split(self._url)
        self._client = HttpClient(root)
        self._sampling = sampling
        self._timeout = timeout
        self._in_flight = in_flight
        self._refused: set[str] = set()
        """Optional fields that the server can't do with."""
        self._room: dict[Question, int] = {}
        """Tokens that a prompt leaves for an answer, where the server said so."""
        self._refusing = threading.Lock()
        self._meter = UsageMeter()
        self._name = self._model(named)

    def describe(self) -> dict[str, Any]:
        """`name` is what the server calls its model."""
        return {"backend": "server", "name": self._name, "url": self._url, "sampling": asdict(self._sampling)}

    def identity(self) -> dict[str, Any]:
        """The same for each way to write the address."""
        return {"backend": "server", "url": self._client.root, "name": self._name, "endpoint": self._endpoint}

    def usage(self) -> dict[str, float]:
        """Tokens written as far as the server tells, and seconds with and without a request in flight."""
        return {**self._meter.read(), "from_draft": 0}

    def work(self, job_queue: JobQueue) -> None:
        """Make what the desk wants until it is closed.

        Raises ModelError where that can't go on, once the requests in flight have ended; nothing is handed in
        afterwards. Warns where the server can't do with a part of the request.
        """
        shift = RequestWorkers(job_queue, self._in_flight)
        for number in range(self._in_flight):
            # Daemons: a request that nobody waits for any more can't be called back.
            threading.Thread(target=self._serve, args=(shift,), name=f"llmc-server-{number}", daemon=True).start()
        shift.wait()

    def close(self) -> None:
        """No connection is held open."""

    def _model(self, named: str) -> str:
        root = self._client.root
        reply = self._client.ask("models", None, _GREETING_TIMEOUT, Throttle(1))
        try:
            names = [str(model["id"]) for model in reply["data"]]
        except (KeyError, TypeError) as error:
            raise ModelError(f"{root}/models lists no models: {head(json.dumps(reply))}") from error
        if not names:
            raise ModelError(f"{root} serves no model")
        known = f"{', '.join(names[:_LISTED])}{', …' if len(names) > _LISTED else ''}"
        if named and named not in names:
            raise ModelError(f"{root} serves no model {named!r}, but {known}")
        if len(names) > 1 and not named:
            raise ModelError(f"{root} serves {len(names)} models: name one as {self._url}#{names[0]}; they are {known}")
        return named or names[0]

    def _serve(self, shift: RequestWorkers) -> None:
        """What each thread does."""
        while jobs := shift.take(self._at_once):
            try:
                with self._meter.running():
                    self._make(jobs, shift)
            except ThrottleStoppedError:
                pass
            except Exception as error:
                shift.fail(error)
            finally:
                shift.done()

    @property
    def _at_once(self) -> int:
        return 1 if "n" in self._refused else _MOST_AT_ONCE

    def _make(self, jobs: list[Job], shift: RequestWorkers) -> None:
        """Hand in samples of one question, as many as one request gives. The others are put back."""
        # The server's limit may have become known while the thread waited for these.
        most = self._at_once
        left = jobs[:most]
        shift.job_queue.put_back(jobs[most:])
        request = self._request(left)
        try:
            for answer in self._answers(request, left[0].question, [job.sample for job in left], shift.throttle):
                shift.deliver(left[0], answer)
                del left[0]
        except PromptTooLongError as reason:
            shift.job_queue.refuse(left[0].question, reason)
            left.clear()
        except UnansweredError as fault:
            if not (isinstance(fault, RequestRejectedError) and self._can_mend(request, left[0].question, fault)):
                shift.refuse(left[0].question, fault)
                left.clear()
        finally:
            shift.job_queue.put_back(left)

    def _can_mend(self, request: dict[str, Any], question: Question, rejection: RequestRejectedError) -> bool:
        """Whether a request that was rejected can be sent otherwise, as it is from now on."""
        asked = request.get("max_tokens")
        if asked and rejection.room and rejection.room < asked:
            self._room[question] = rejection.room
            return True
        return self._do_without(_blamed(rejection.text, request), rejection)

    def _request(self, jobs: list[Job]) -> dict[str, Any]:
        question, sampling = jobs[0].question, self._sampling
        limit = sampling.max_tokens
        request: dict[str, Any] = {
            "model": self._name,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            # Without a number servers fall back on 16 tokens; null is all that the context leaves.
            "max_tokens": limit and min(limit, self._room.get(question, limit)),
            "stop": [STOP],
            "seed": sample_seed(sampling.seed, question.key, jobs[0].sample),
        }
        if self._endpoint == _COMPLETIONS:
            request["prompt"] = question.text
        else:
            request["messages"] = [{"role": "user", "content": question.text}]
            if sampling.max_tokens is None:
                # In a chat that is the default, and not each server takes null.
                del request["max_tokens"]
        if len(jobs) > 1:
            request["n"] = len(jobs)
        return {field: value for field, value in request.items() if field not in self._refused}

    def _answers(
        self, request: dict[str, Any], question: Question, samples: list[int], throttle: Throttle
    ) -> Iterator[Answer]:
        """Send the request; yield what it gives for the samples, which may be fewer. Each has the seed that was sent.

        Raises Unanswered after the answers before one of no use.
        """
        started = time.perf_counter()
        reply = self._client.ask(self._endpoint, request, self._timeout, throttle)
        seconds = round(time.perf_counter() - started, 3)
        choices = reply.get("choices") if isinstance(reply, dict) else None
        if not isinstance(choices, list) or not choices:
            raise self._no_completion(reply)
        if len(choices) < request.get("n", 1):
            self._refused.add("n")
        usage = reply.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        asked, written = (_count(usage.get(f"{name}_tokens")) for name in ("prompt", "completion"))
        self._meter.count(written or 0)
        for sample, choice in zip(samples, choices):
            text, stop = self._text(choice, reply)
            yield Answer(
                text=text,
                sample=sample,
                stop=stop,
                prompt_tokens=asked,
                # Of several answers only the sum is told.
                answer_tokens=written if len(choices) == 1 else None,
                seconds=seconds,
                seed=request.get("seed"),
            )

    def _text(self, choice: Any, reply: Any) -> tuple[str, StopReason]:
        try:
            text = choice["text"] if self._endpoint == _COMPLETIONS else choice["message"]["content"]
            finish = choice.get("finish_reason")
        except (KeyError, TypeError, AttributeError) as error:
            raise self._no_completion(reply) from error
        if text is None:  # a model that spent all of its tokens on thinking, or a filter
            text = ""
        if not isinstance(text, str):
            raise self._no_completion(reply)
        return text, "length" if finish == "length" else "stop"

    def _no_completion(self, reply: Any) -> UnansweredError:
        return UnansweredError(f"{self._client.root}/{self._endpoint} gave no completion: {head(json.dumps(reply))}")

    def _do_without(self, fields: set[str], rejection: RequestRejectedError) -> bool:
        """Leave optional fields out of the requests from now on. Whether there were any to leave out."""
        with self._refusing:
            new = sorted(fields - self._refused)
            self._refused |= fields
        if new:
            warnings.warn(
                f"{self._client.root} can't do with {' and '.join(new)}: left out from now on. It says: {rejection}",
                UserWarning,
                stacklevel=2,
            )
        return bool(fields)


def _count(told: Any) -> int | None:
    return told if isinstance(told, int) else None


def _split(url: str) -> tuple[str, str]:
    """The API's root, and the endpoint that answers."""
    for endpoint in (_CHAT, _COMPLETIONS):
        if url.endswith("/" + endpoint):
            return url.removesuffix("/" + endpoint), endpoint
    return url, _COMPLETIONS


def _blamed(text: str, request: dict[str, Any]) -> set[str]:
    """The optional fields of the request that the text of an error reply names."""
    message, field = complaint(text)
    here = _OPTIONAL.keys() & request.keys()
    if field in here:
        return {field}
    return {name for name in here if re.search(_OPTIONAL[name], message)}
