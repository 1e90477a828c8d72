"""How many requests a server gets at a time. What the server tells one request holds for all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pytest_llmcompiler.errors import LLMCompilerError


class ThrottleStoppedError(LLMCompilerError):
    """No more requests may be sent: the work is over, or has failed."""


class Throttle:
    """Limits the requests in flight. The limit halves when the server has too many, and grows slowly with each success:
    additive increase, multiplicative decrease, as TCP does. Thread-safe."""

    def __init__(self, most: int) -> None:
        """`most` is the largest number of requests in flight, and the limit at first."""
        self._most = most
        self._limit = float(most)
        self._in_flight = 0
        self._sent = 0
        self._sent_before_halving = 0
        self._not_before = 0.0
        self._changed = threading.Condition()
        self.answered = 0
        """Requests that succeeded so far."""
        self.is_stopped = False

    @contextmanager
    def hold_slot(self, not_before: float = 0.0) -> Iterator[int]:
        """Wait until a request may be sent, and count it as in flight for the length of the `with` block.

        `not_before` is a time by time.monotonic. The value is the number of the request. Raises ThrottleStoppedError.
        """
        number = self._acquire_slot(not_before)
        try:
            yield number
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def record_success(self) -> None:
        """A request was answered. The limit grows by one with each round of the requests in flight."""
        with self._changed:
            self.answered += 1
            self._limit = min(self._most, self._limit + 1 / self._limit)
            self._changed.notify_all()

    def halve(self, number: int) -> None:
        """Halve the limit: the server had too many requests when it got the one with this number."""
        with self._changed:
            # All requests in flight at the last halving were too many together: they count once.
            if number > self._sent_before_halving:
                self._limit = max(1.0, min(self._limit, self._in_flight) / 2)
                self._sent_before_halving = self._sent

    def pause(self, seconds: float) -> None:
        """Send nothing for some time."""
        with self._changed:
            self._not_before = max(self._not_before, time.monotonic() + seconds)

    @property
    def limit(self) -> int:
        """The number of requests that may be in flight now."""
        return int(self._limit)

    def stop(self) -> None:
        """Send no more requests."""
        with self._changed:
            self.is_stopped = True
            self._changed.notify_all()

    def _acquire_slot(self, not_before: float) -> int:
        with self._changed:
            while not self.is_stopped:
                pause = max(self._not_before, not_before) - time.monotonic()
                if pause > 0:
                    self._changed.wait(pause)
                elif self._in_flight >= self.limit:
                    self._changed.wait()
                else:
                    self._in_flight += 1
                    self._sent += 1
                    return self._sent
            raise ThrottleStoppedError("no more requests may be sent")
