"""What the request threads of a server backend share: the job queue, the throttle, and when to give up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pytest_llmcompiler.errors import ModelError
from pytest_llmcompiler.model.answer import Answer, Question
from pytest_llmcompiler.model.queue.job_queue import Job, JobQueue
from pytest_llmcompiler.model.server.throttle import Throttle

_POLL_INTERVAL = 0.05
"""Seconds between two checks whether the job queue is closed, which does not notify these threads."""
_MOST_UNANSWERED = 5
"""So many questions in a row without an answer end the work: no other question is expected to get one."""


class RequestWorkers:
    """The state of the threads during one call of `ServerBackend.work`. Thread-safe."""

    def __init__(self, job_queue: JobQueue, in_flight: int) -> None:
        """`in_flight` is the largest number of requests at a time."""
        self.job_queue = job_queue
        self.throttle = Throttle(in_flight)
        self._changed = threading.Condition()
        self._busy = 0
        """Threads that have taken samples."""
        self._unanswered: set[Question] = set()
        """The questions that were given up since the last answer."""
        self._is_over = False
        self._error: Exception | None = None

    def take(self, most: int) -> list[Job]:
        """Wait for samples of one question, and take at most `most`. Each call that returns some needs a `finish`.

        Returns none once nothing more is to be generated.
        """
        jobs = self.job_queue.take(most, wait=True)
        with self._changed:
            if self.throttle.is_stopped:
                self.job_queue.put_back(jobs)
                return []
            self._busy += bool(jobs)
        return jobs

    def finish(self) -> None:
        """What a thread took is delivered or put back."""
        with self._changed:
            self._busy -= 1
            self._changed.notify_all()

    def deliver(self, job: Job, answer: Answer) -> None:
        """Deliver a sample, unless the work is over."""
        with self._changed:
            self._unanswered.clear()
            if not self._is_over:
                self.job_queue.deliver(job, answer)

    def refuse(self, question: Question, error: ModelError) -> None:
        """Give a question up. After _MOST_UNANSWERED in a row the work fails."""
        self.job_queue.refuse(question, error)
        with self._changed:
            self._unanswered.add(question)
            has_failed = len(self._unanswered) >= _MOST_UNANSWERED
        if has_failed:
            self.fail(
                ModelError(
                    f"{_MOST_UNANSWERED} questions in a row got no answer, so the server is not asked any more; "
                    f"the last error: {error}"
                )
            )

    def fail(self, error: Exception) -> None:
        """Send no more requests, for this reason."""
        with self._changed:
            self._error = self._error or error
        self.throttle.stop()

    def wait(self) -> None:
        """Return when the job queue is closed.

        After a failure wait until the other threads have delivered their answers, and raise the error.
        """
        with self._changed:
            try:
                while not self.job_queue.is_closed and (self._busy or not self._error):
                    self._changed.wait(_POLL_INTERVAL)
            finally:
                self._is_over = True
                self.throttle.stop()
        if self._error:
            raise self._error


class UsageMeter:
    """Counts tokens, and the time with and without a request in flight. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_flight = 0
        self._since = time.perf_counter()
        """Up to when time was counted."""
        self._tokens = 0
        self._busy = self._idle = 0.0

    @contextmanager
    def measure_request(self) -> Iterator[None]:
        """Count the time of the `with` block as busy."""
        self._count_time(1)
        try:
            yield
        finally:
            self._count_time(-1)

    def add_tokens(self, tokens: int) -> None:
        """Count tokens that the server wrote."""
        with self._lock:
            self._tokens += tokens

    def read(self) -> dict[str, float]:
        """The `tokens`, and the seconds `busy` and `idle`. Time after the last request is not counted."""
        self._count_time(0)
        with self._lock:
            return {"tokens": self._tokens, "busy": self._busy, "idle": self._idle}

    def _count_time(self, requests: int) -> None:
        """Count the time since the last call, then add `requests` to those in flight."""
        with self._lock:
            now = time.perf_counter()
            if self._in_flight:
                self._busy += now - self._since
            elif requests:
                self._idle += now - self._since
            if self._in_flight or requests:
                self._since = now
            self._in_flight += requests
