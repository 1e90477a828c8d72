"""What the threads share that answer for one desk."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pytest_llmcompiler.errors import ModelError
from pytest_llmcompiler.model.answer import Answer, Question
from pytest_llmcompiler.model.queue.job_queue import Job, JobQueue
from pytest_llmcompiler.model.server.throttle import Throttle

_GLANCE = 0.05
"""Seconds between two looks at whether the desk is closed."""
_HOPELESS = 5
"""Questions without an answer, and none with one between them, after which no other is expected to get one."""


class RequestWorkers:
    """One `work`: from the first sample to the desk's closing, or to a fault."""

    def __init__(self, job_queue: JobQueue, in_flight: int) -> None:
        self.job_queue = job_queue
        self.throttle = Throttle(in_flight)
        self._changed = threading.Condition()
        self._busy = 0
        self._in_vain: set[Question] = set()
        """Those that were given up since the last answer."""
        self._is_over = False
        self._fault: Exception | None = None

    def take(self, most: int) -> list[Job]:
        """Samples of one question to make; `done` ends it. None once nothing more is to be made."""
        jobs = self.job_queue.take(most, wait=True)
        with self._changed:
            if self.throttle.stopped:
                self.job_queue.put_back(jobs)
                return []
            self._busy += bool(jobs)
        return jobs

    def done(self) -> None:
        """What was taken is delivered or put back."""
        with self._changed:
            self._busy -= 1
            self._changed.notify_all()

    def deliver(self, job: Job, answer: Answer) -> None:
        """Hand in a sample, unless nobody is there any more to take it."""
        with self._changed:
            self._in_vain.clear()
            if not self._is_over:
                self.job_queue.deliver(job, answer)

    def refuse(self, question: Question, fault: ModelError) -> None:
        """Give a question up, and all others too where none gets an answer any more."""
        self.job_queue.refuse(question, fault)
        with self._changed:
            self._in_vain.add(question)
            is_hopeless = len(self._in_vain) >= _HOPELESS
        if is_hopeless:
            self.fail(ModelError(f"{_HOPELESS} questions one after the other got no answer; of the last: {fault}"))

    def fail(self, fault: Exception) -> None:
        """No more requests are to be sent."""
        with self._changed:
            self._fault = self._fault or fault
        self.throttle.stop()

    def wait(self) -> None:
        """Return when the desk is closed; raise a thread's fault when the others have handed in what they had."""
        with self._changed:
            try:
                while not self.job_queue.closed and (self._busy or not self._fault):
                    self._changed.wait(_GLANCE)
            finally:
                self._is_over = True
                self.throttle.stop()
        if self._fault:
            raise self._fault


class UsageMeter:
    """Thread-safe. How much was written, and for how long something was being written."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._since = time.perf_counter()
        self._tokens = 0
        self._busy = self._idle = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Something is being written."""
        self._add(1)
        try:
            yield
        finally:
            self._add(-1)

    def count(self, tokens: int) -> None:
        """So much was written."""
        with self._lock:
            self._tokens += tokens

    def read(self) -> dict[str, float]:
        """`tokens`, and seconds `busy` and `idle`; what comes after the last of the work is not counted."""
        self._add(0)
        with self._lock:
            return {"tokens": self._tokens, "busy": self._busy, "idle": self._idle}

    def _add(self, running: int) -> None:
        with self._lock:
            now = time.perf_counter()
            if self._running:
                self._busy += now - self._since
            elif running:
                self._idle += now - self._since
            if self._running or running:
                self._since = now
            self._running += running
