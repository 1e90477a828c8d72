"""The thread that sends samples to actors of Ray.

Everything that happens (a sample comes, a call returns, an actor is ready) is an event in the queue of this thread,
which alone knows the schedule. So the schedule needs no lock, and Ray's own threads do no work here. The thread takes
all events that are there before it fills the actors that have room: samples that come together are sent together.
"""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.service.actor_schedule import LOOK_SECONDS, ActorSchedule
from pytest_llmcompiler.service.error_verdict import make_error_verdict
from pytest_llmcompiler.service.sample import Sample


class RayDispatcher:
    """Sends samples to `workers` actors, which `create_actor` creates. Any thread may submit and close."""

    def __init__(self, workers: int, create_actor: Callable[[], Any]) -> None:
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._schedule = ActorSchedule(workers, create_actor, self._events.put)
        self._owner = os.getpid()
        self._is_over = False
        self._is_closed = False
        self._lock = threading.Lock()
        """Held to add a sample and to close: no sample comes after the end."""
        self._thread = threading.Thread(target=self._run, name="llmc-ray", daemon=True)
        self._thread.start()

    def submit(self, sample: Sample) -> Future[Verdict]:
        """Start to judge a sample. The future never has an error."""
        future: Future[Verdict] = Future()
        if os.getpid() != self._owner:
            future.set_result(make_error_verdict("a judge on Ray can't be used in a forked child"))
            return future
        with self._lock:
            if self._is_closed:
                future.set_result(make_error_verdict("the judge is closed"))
            else:
                self._events.put(functools.partial(self._schedule.accept, sample, future))
        return future

    def close(self) -> None:
        """End the actors. Samples without a verdict get an inconclusive one. Does nothing in a forked child."""
        if os.getpid() != self._owner:
            return
        with self._lock:
            self._is_closed = True
            self._events.put(self._end)
        if threading.current_thread() is not self._thread:  # which may collect the judge as garbage
            self._thread.join()

    def _end(self) -> None:
        self._is_over = True

    def _run(self) -> None:
        reason = "the judge was closed before there was a verdict"
        try:
            while not self._is_over:
                for event in self._take_events():
                    event()
                self._schedule.fill()
        except Exception:  # nobody may wait for ever: neither where Ray was shut down, nor for a fault of this package
            reason = traceback.format_exc()
        with self._lock:
            self._is_closed = True
        self._schedule.close(reason)
        while not self._events.empty():
            with contextlib.suppress(Exception):
                self._events.get()()

    def _take_events(self) -> Iterator[Callable[[], None]]:
        """The next event, with all others that are there by then; none after a while in which samples wait."""
        try:
            yield self._events.get(timeout=LOOK_SECONDS if self._schedule.is_waiting else None)
        except queue.Empty:
            return
        for _ in range(self._events.qsize()):
            yield self._events.get()
