"""How many samples wait for a verdict, and which requests find a place."""

from __future__ import annotations

import time

from pytest_llmcompiler.service.http.refusals import RefusalError

_MAX_RETRY_SECONDS = 60
_RETRY_AT_THE_END = 5
"""Seconds after which a client may ask again when the server ends: another one may answer at the same address then."""
_WEIGHT = 0.05
"""The weight of the newest verdict in the mean time between two: the mean is over some 20 of them."""


class Admission:
    """The places of one server's queue, one for each sample until it has its verdict. For one event loop."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.waiting = 0
        """Samples that have a place."""
        self.answering = 0
        """Requests that were taken, and whose answer has not been sent whole."""
        self.is_closing = False
        """Whether new requests are refused, since the server ends."""
        self._pace = 0.01
        """Seconds between two verdicts while there is work: a mean."""
        self._last = 0.0

    def take(self, count: int) -> Reservation:
        """Places for the samples of a request. Raises RefusalError where there are none."""
        if self.is_closing:
            raise RefusalError(503, "closing", "the server ends and takes no more work", retry_after=_RETRY_AT_THE_END)
        if self.waiting + count > self.limit:
            text = f"{self.waiting} samples wait, of {self.limit} that may: ask again later"
            raise RefusalError(429, "queue", text, retry_after=self._estimate_seconds(count))
        if self.waiting == 0:
            self._last = time.monotonic()
        self.waiting += count
        self.answering += 1
        return Reservation(self, count)

    def end(self, left: int) -> None:
        """A request is done with, and so many of its samples have no verdict."""
        self.waiting -= left
        self.answering -= 1

    def note_verdict(self) -> None:
        """Free a place with a verdict."""
        now = time.monotonic()
        self._pace += _WEIGHT * (now - self._last - self._pace)
        self._last = now
        self.waiting -= 1

    def _estimate_seconds(self, count: int) -> int:
        """Seconds until there will be that many places, as far as the recent pace tells."""
        missing = self.waiting + count - self.limit
        return min(_MAX_RETRY_SECONDS, 1 + int(missing * self._pace))


class Reservation:
    """The places of one request, which are free again at the end of a `with` block at the latest."""

    def __init__(self, admission: Admission, count: int) -> None:
        self._admission = admission
        self.left = count
        """Samples without a verdict."""

    def note_verdict(self) -> None:
        """One more sample has its verdict."""
        self.left -= 1
        self._admission.note_verdict()

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *_: object) -> None:
        self._admission.end(self.left)
        self.left = 0
