"""The judge processes of this process, and the requests to them."""

from __future__ import annotations

import json
import os
import threading
import weakref
from collections.abc import Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from pytest_llmcompiler.errors import CaseError, JudgeError
from pytest_llmcompiler.judge.messages import ListingReply, PreparedReply, Reply, Request, VerdictReply
from pytest_llmcompiler.judge.ticket import EncodedRequest, Ticket

if TYPE_CHECKING:
    from pytest_llmcompiler.judge.dispatcher import Dispatcher

WORKER_MEGABYTES = 768
"""Memory of a judge process and of the engine's processes below it, in MiB, which it may take however little is free.
Above that, and above its part of what is free, it lets prepared functions go. One that has prepared nothing has 60, and
a function of `cases/` takes 11."""


class JudgePool:
    """At most so many judge processes, each started when the others are busy. Thread-safe.

    The processes end with `close`, with the pool, and with this process, however that ends. A forked child starts
    processes of its own.
    """

    def __init__(self, most_workers: int) -> None:
        self.most_workers = most_workers
        self._dispatchers = _Dispatchers(most_workers)
        weakref.finalize(self, self._dispatchers.close)

    @property
    def pids(self) -> list[int]:
        """The numbers of the processes that run."""
        dispatcher = self._dispatchers.current
        return [worker.pid for worker in list(dispatcher.workers)] if dispatcher else []

    def submit(self, request: EncodedRequest, text: str, seconds: float | None = None) -> Future[bytes]:
        """Send a request about a text to a process. The result is the reply as JSON, for `read_reply`.

        The same request about the same text is sent once. Its reply is kept for some time, unless it may be another one
        the next time.

        `seconds` is a time limit. It begins when a process has the request and has prepared the function. The future
        raises JudgeTimeoutError then, and JudgeError where there is no reply for another reason. Who does not wait for
        it any more calls `forget`. Raises JudgeError where the pool was closed for good.
        """
        ticket = Ticket(request, text, seconds)
        future = ticket.futures[0]
        while not self._dispatchers.open().submit(ticket):
            pass  # it was closed, or failed, in this moment
        return future

    def exchange(self, request: Request, text: str) -> VerdictReply | ListingReply | PreparedReply:
        """Send a request about a text to a process, and wait for the reply. Raises CaseError where the case is at
        fault, JudgeError where the harness is."""
        return self.wait(self.submit(EncodedRequest(request), text))

    def wait(self, future: Future[bytes]) -> VerdictReply | ListingReply | PreparedReply:
        """The reply that `submit` promised. Raises as `exchange` does. Where the wait is interrupted, a process that is
        at work on the request is ended."""
        try:
            return read_reply(future.result())
        finally:
            if not future.done():
                self.forget([future], end_work=True)

    def forget(self, futures: Iterable[Future[bytes]], *, end_work: bool = False) -> None:
        """Take back requests that wait for a process. Where one is at work on a request, it goes on, unless
        `end_work`."""
        cancelled = sum(future.cancel() for future in futures)
        dispatcher = self._dispatchers.current
        if cancelled and dispatcher:
            dispatcher.forget_unwanted(end_work=end_work)

    def close(self, *, for_good: bool = False) -> None:
        """End all processes. Requests that wait for a reply get a JudgeError. The next one starts another process, or
        raises JudgeError too where it is `for_good`."""
        self._dispatchers.close(for_good=for_good)


def read_reply(data: bytes) -> VerdictReply | ListingReply | PreparedReply:
    """A reply. Raises CaseError where the case is at fault, JudgeError where the harness is."""
    reply: Reply = json.loads(data.decode())  # of bytes, it would look for the encoding first
    if reply["status"] == "case-error":
        raise CaseError(reply["message"])
    if reply["status"] == "judge-error":
        raise JudgeError(reply["message"])
    return reply


class _Dispatchers:
    """The dispatcher of a pool in this process. It has no reference to the pool, which so ends with its last user."""

    def __init__(self, most_workers: int) -> None:
        self._most_workers = most_workers
        self._lock = threading.Lock()
        self.current: Dispatcher | None = None
        """None where nothing was asked for yet, or since `close`."""
        self._is_closed = False
        _ALL.add(self)

    def open(self) -> Dispatcher:
        """The dispatcher, which is started if there is none that runs. Raises JudgeError if it was closed for good."""
        from pytest_llmcompiler.judge.dispatcher import Dispatcher

        with self._lock:
            if self._is_closed:
                raise JudgeError("the judge is closed")
            if self.current is None or self.current.has_ended:
                self.current = Dispatcher(self._most_workers)
            return self.current

    def close(self, *, for_good: bool = True) -> None:
        """End the dispatcher."""
        with self._lock:
            self._is_closed = self._is_closed or for_good
            dispatcher, self.current = self.current, None
        if dispatcher:
            dispatcher.stop()

    def abandon(self) -> None:
        """Forget everything in a forked child."""
        self._lock = threading.Lock()
        dispatcher, self.current = self.current, None
        if dispatcher:
            dispatcher.abandon()


_ALL: weakref.WeakSet[_Dispatchers] = weakref.WeakSet()
"""Those of all pools, for forked children."""


def _abandon_all() -> None:
    for dispatchers in list(_ALL):
        dispatchers.abandon()


os.register_at_fork(after_in_child=_abandon_all)
