"""How much a server may be asked at once: what it tells one request holds for all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pytest_llmcompiler.errors import LLMCompilerError


class ThrottleStoppedError(LLMCompilerError):
    """No more requests are to be sent."""


class Throttle:
    """Thread-safe. Counts requests in flight; a server that is too busy gets fewer, and slowly more again."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._flying = 0
        self._sent = 0
        self._sent_before_cut = 0
        self._not_before = 0.0
        self._changed = threading.Condition()
        self.answered = 0
        """Requests that succeeded so far."""
        self.stopped = False

    @contextmanager
    def flight(self, not_before: float = 0.0) -> Iterator[int]:
        """Wait for room and for the time, hold the room, and give the request's number. Raises Stopped."""
        number = self._take_off(not_before)
        try:
            yield number
        finally:
            with self._changed:
                self._flying -= 1
                self._changed.notify_all()

    def succeeded(self) -> None:
        """A request was answered: there may be room for more, one for each round of those in flight."""
        with self._changed:
            self.answered += 1
            self._limit = min(self._most, self._limit + 1 / self._limit)
            self._changed.notify_all()

    def cut(self, number: int) -> None:
        """The server had too many requests when it got this one: halve them."""
        with self._changed:
            # All that were in the air at the last cut are the same crowd: they count once.
            if number > self._sent_before_cut:
                self._limit = max(1.0, min(self._limit, self._flying) / 2)
                self._sent_before_cut = self._sent

    def pause(self, seconds: float) -> None:
        """Nobody sends anything for a time."""
        with self._changed:
            self._not_before = max(self._not_before, time.monotonic() + seconds)

    @property
    def room(self) -> int:
        """Requests that may be in flight now."""
        return int(self._limit)

    def stop(self) -> None:
        """Nobody sends anything any more."""
        with self._changed:
            self.stopped = True
            self._changed.notify_all()

    def _take_off(self, not_before: float) -> int:
        with self._changed:
            while not self.stopped:
                pause = max(self._not_before, not_before) - time.monotonic()
                if pause > 0:
                    self._changed.wait(pause)
                elif self._flying >= self.room:
                    self._changed.wait()
                else:
                    self._flying += 1
                    self._sent += 1
                    return self._sent
            raise ThrottleStoppedError
