"""The backend for OpenAI-compatible HTTP servers: completions or chat, many requests at a time.

Each of `in_flight` threads takes samples of one question from the job queue, sends one request for all of them, and
delivers the answers. The throttle (`throttle.py`) sends fewer requests at a time where the server has too many.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from pytest_llmcompiler.errors import ModelError, PromptTooLongError, RequestRejectedError, UnansweredError
from pytest_llmcompiler.model.answer import Answer, Sampling, StopReason
from pytest_llmcompiler.model.queue.job_queue import Job, JobQueue
from pytest_llmcompiler.model.server.error_replies import get_head
from pytest_llmcompiler.model.server.http import HttpClient, choose_pause
from pytest_llmcompiler.model.server.request_builder import Endpoint, RequestBuilder
from pytest_llmcompiler.model.server.throttle import Throttle, ThrottleStoppedError
from pytest_llmcompiler.model.server.workers import RequestWorkers, UsageMeter

_ANSWER_TIMEOUT = 1800.0
"""Seconds for one request: a large model on a busy server may take minutes for eight long answers."""
_IN_FLIGHT = 16
"""Requests at a time, each for up to eight samples: enough for a server that batches."""
_MODELS_TIMEOUT = 30.0
"""Seconds for the list of models, which a server has ready."""
_MOST_LISTED = 20
"""Models of a server that an error message names."""


class ServerBackend:
    """Answers from a server, several samples a request where it can.

    The server's own sampling defaults hold for all but temperature, top-p, seed, the stop string and the token limit.
    """

    def __init__(
        self,
        url: str,
        sampling: Sampling,
        timeout: float = _ANSWER_TIMEOUT,
        in_flight: int = _IN_FLIGHT,
        choose_pause: Callable[[int], float] = choose_pause,
    ) -> None:
        """Ask the server at `url` for its models.

        `url` is the root of the API, which mostly ends in `/v1`: then completions are asked for. Or the root with
        `/completions` or `/chat/completions` behind it. A `#` and the name of a model may follow. `timeout` is in
        seconds for one request, `in_flight` the largest number of requests at a time. `choose_pause` gives the seconds
        before the next attempt after a number of failures.

        Raises ModelError where nothing usable answers, or the server has several models and none is named.
        """
        address, _, named = url.partition("#")
        self._url = address.rstrip("/")
        root, self._endpoint = _split_url(self._url)
        self._client = HttpClient(root, choose_pause)
        self._sampling = sampling
        self._timeout = timeout
        self._in_flight = in_flight
        self._meter = UsageMeter()
        self._name = self._choose_model(named)
        self._requests = RequestBuilder(self._endpoint, self._name, sampling, root)

    def describe(self) -> dict[str, Any]:
        """`name` is the server's name for its model."""
        return {"backend": "server", "name": self._name, "url": self._url, "sampling": asdict(self._sampling)}

    def identity(self) -> dict[str, Any]:
        """The facts that an answer depends on. They are the same for every way to write the address."""
        return {"backend": "server", "url": self._client.root, "name": self._name, "endpoint": self._endpoint}

    def usage(self) -> dict[str, float]:
        """`tokens` written, as far as the server says, and the seconds with (`busy`) and without (`idle`) a request in
        flight."""
        return {**self._meter.read(), "from_draft": 0}

    def work(self, job_queue: JobQueue) -> None:
        """Generate what the job queue wants until it is closed.

        Raises ModelError where that can't go on, once the requests in flight have ended; nothing is delivered
        afterwards. Warns where the server refuses a part of the request.
        """
        workers = RequestWorkers(job_queue, self._in_flight)
        for number in range(self._in_flight):
            # Daemon threads: a request that nobody waits for any more can't be cancelled.
            threading.Thread(target=self._serve, args=(workers,), name=f"llmc-server-{number}", daemon=True).start()
        workers.wait()

    def close(self) -> None:
        """There is nothing to free: no connection is kept open."""

    def _choose_model(self, named: str) -> str:
        """The server's name for the model to ask. Raises ModelError."""
        root = self._client.root
        reply = self._client.ask("models", None, _MODELS_TIMEOUT, Throttle(1))
        try:
            names = [str(model["id"]) for model in reply["data"]]
        except (KeyError, TypeError) as error:
            raise ModelError(f"{root}/models lists no models: {get_head(json.dumps(reply))}") from error
        if not names:
            raise ModelError(f"{root} serves no model: load one there")
        listed = f"{', '.join(names[:_MOST_LISTED])}{', …' if len(names) > _MOST_LISTED else ''}"
        if named and named not in names:
            raise ModelError(f"{root} serves no model {named!r}, but {listed}")
        if len(names) > 1 and not named:
            example = f"{self._url}#{names[0]}"
            raise ModelError(f"{root} serves {len(names)} models: name one as {example}; they are {listed}")
        return named or names[0]

    def _serve(self, workers: RequestWorkers) -> None:
        """The work of each thread."""
        while jobs := workers.take(self._requests.most_samples):
            try:
                with self._meter.measure_request():
                    self._generate(jobs, workers)
            except ThrottleStoppedError:
                pass
            except Exception as error:
                workers.fail(error)
            finally:
                workers.finish()

    def _generate(self, jobs: list[Job], workers: RequestWorkers) -> None:
        """Deliver samples of one question, as many as one request gives. The others are put back."""
        # Since the thread took these, another one may have learnt that the server gives one sample a request.
        most = self._requests.most_samples
        left = jobs[:most]
        workers.job_queue.put_back(jobs[most:])
        question = left[0].question
        request = self._requests.build(left)
        try:
            for answer in self._ask(request, [job.sample for job in left], workers.throttle):
                workers.deliver(left[0], answer)
                del left[0]
        except PromptTooLongError as reason:
            workers.job_queue.refuse(question, reason)
            left.clear()
        except UnansweredError as error:
            is_adapted = isinstance(error, RequestRejectedError) and self._requests.adapt(request, question, error)
            if not is_adapted:
                workers.refuse(question, error)
                left.clear()
        finally:
            workers.job_queue.put_back(left)

    def _ask(self, request: dict[str, Any], samples: list[int], throttle: Throttle) -> Iterator[Answer]:
        """Send a request. Yields its answers for the samples, which may be fewer, all with the seed of the request.

        Raises UnansweredError for an unusable answer, after the answers before it.
        """
        started = time.perf_counter()
        reply = self._client.ask(self._endpoint, request, self._timeout, throttle)
        seconds = round(time.perf_counter() - started, 3)
        choices = reply.get("choices") if isinstance(reply, dict) else None
        if not isinstance(choices, list) or not choices:
            raise self._unusable(reply)
        if len(choices) < request.get("n", 1):
            self._requests.refuse_samples()
        usage = reply.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        prompt_tokens, answer_tokens = _read_count(usage, "prompt_tokens"), _read_count(usage, "completion_tokens")
        self._meter.add_tokens(answer_tokens or 0)
        for sample, choice in zip(samples, choices):
            text, stop = self._read_choice(choice, reply)
            yield Answer(
                text=text,
                sample=sample,
                stop=stop,
                prompt_tokens=prompt_tokens,
                # For several answers the server gives the sum alone.
                answer_tokens=answer_tokens if len(choices) == 1 else None,
                seconds=seconds,
                seed=request.get("seed"),
            )

    def _read_choice(self, choice: Any, reply: Any) -> tuple[str, StopReason]:
        """The text of one answer, and why it ended. Raises UnansweredError."""
        try:
            text = choice["text"] if self._endpoint == "completions" else choice["message"]["content"]
            finish = choice.get("finish_reason")
        except (KeyError, TypeError, AttributeError) as error:
            raise self._unusable(reply) from error
        if text is None:  # a model that used all its tokens for reasoning, or a content filter
            text = ""
        if not isinstance(text, str):
            raise self._unusable(reply)
        return text, "length" if finish == "length" else "stop"

    def _unusable(self, reply: Any) -> UnansweredError:
        url = f"{self._client.root}/{self._endpoint}"
        return UnansweredError(f"{url} gave no completion: {get_head(json.dumps(reply))}")


def _read_count(usage: dict[str, Any], name: str) -> int | None:
    count = usage.get(name)
    return count if isinstance(count, int) else None


def _split_url(url: str) -> tuple[str, Endpoint]:
    """The root of the API, and the endpoint that answers."""
    endpoints: tuple[Endpoint, ...] = ("chat/completions", "completions")
    for endpoint in endpoints:
        if url.endswith("/" + endpoint):
            return url.removesuffix("/" + endpoint), endpoint
    return url, "completions"
