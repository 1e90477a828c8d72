"""The JSON of requests for answers. Fields that a server refuses are left out from then on."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Sequence
from typing import Any, Literal

from pytest_llmcompiler.errors import RequestRejectedError
from pytest_llmcompiler.model.answer import Question, Sampling
from pytest_llmcompiler.model.queue.job_queue import Job
from pytest_llmcompiler.model.sampling import STOP, sample_seed
from pytest_llmcompiler.model.server.error_replies import read_complaint

Endpoint = Literal["completions", "chat/completions"]

_MOST_SAMPLES = 8
"""The largest number of samples of one request: servers limit it, and an error costs all of them."""

_OPTIONAL_FIELDS = {"seed": r"\bseed\b", "n": r"\bn(_cmpl)?\b", "top_p": r"\btop_p\b"}
"""Fields that a server may refuse, and how its error message names them: llama-server calls `n` n_cmpl."""


class RequestBuilder:
    """Builds requests, and learns from rejected ones. Thread-safe."""

    def __init__(self, endpoint: Endpoint, model: str, sampling: Sampling, server: str) -> None:
        """`model` is the server's name for its model; `server` is the server's name in warnings."""
        self._endpoint, self._model, self._sampling, self._server = endpoint, model, sampling, server
        self._refused: set[str] = set()
        """Optional fields that the server refuses."""
        self._answer_limits: dict[Question, int] = {}
        """Tokens that a prompt leaves for an answer, where the server said so."""
        self._lock = threading.Lock()

    @property
    def most_samples(self) -> int:
        """The largest number of samples of one request."""
        return 1 if "n" in self._refused else _MOST_SAMPLES

    def build(self, jobs: Sequence[Job]) -> dict[str, Any]:
        """The request for samples of one question. The seed is that of the first sample."""
        question, sampling = jobs[0].question, self._sampling
        limit = sampling.max_tokens
        request: dict[str, Any] = {
            "model": self._model,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            # Without the field servers write 16 tokens; null means all that the context leaves.
            "max_tokens": limit and min(limit, self._answer_limits.get(question, limit)),
            "stop": [STOP],
            "seed": sample_seed(sampling.seed, question.key, jobs[0].sample),
        }
        if self._endpoint == "completions":
            request["prompt"] = question.text
        else:
            request["messages"] = [{"role": "user", "content": question.text}]
            if limit is None:
                # In a chat all that the context leaves is the default, and some servers refuse null.
                del request["max_tokens"]
        if len(jobs) > 1:
            request["n"] = len(jobs)
        return {field: value for field, value in request.items() if field not in self._refused}

    def adapt(self, request: dict[str, Any], question: Question, rejection: RequestRejectedError) -> bool:
        """Learn from a rejected request: a lower token limit for its question, or a field to leave out.

        Whether there was something to learn, so that the request can be sent again. Warns of a field left out.
        """
        limit = request.get("max_tokens")
        if limit and rejection.available_tokens and rejection.available_tokens < limit:
            self._answer_limits[question] = rejection.available_tokens
            return True
        named = _find_named_fields(rejection.text, request)
        with self._lock:
            new = sorted(named - self._refused)
            self._refused |= named
        if new:
            warnings.warn(
                f"{self._server} refuses {' and '.join(new)}: left out from now on. It says: {rejection}",
                UserWarning,
                stacklevel=2,
            )
        return bool(named)

    def refuse_samples(self) -> None:
        """The server gave fewer answers than it was asked for: ask for one at a time from now on."""
        self._refused.add("n")


def _find_named_fields(text: str, request: dict[str, Any]) -> set[str]:
    """The optional fields of a request that an error reply names."""
    message, field = read_complaint(text)
    optional = _OPTIONAL_FIELDS.keys() & request.keys()
    if field in optional:
        return {field}
    return {name for name in optional if re.search(_OPTIONAL_FIELDS[name], message)}
