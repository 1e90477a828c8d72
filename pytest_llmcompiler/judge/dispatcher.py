"""The thread of a pool: it starts judge processes, sends them requests and reads their replies.

One thread does all of that, for three reasons. It sees all requests that wait when it chooses one for a process. Each
sample costs the asking process one wake-up, not several. And the kernel's and Python's notions of what belongs to a
thread never matter: no thread of the user's starts a process.
"""

from __future__ import annotations

import json
import math
import os
import select
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterable

from pytest_llmcompiler.errors import JudgeError, JudgeTimeoutError
from pytest_llmcompiler.judge.messages import BEGIN, DOUBTFUL, FINAL, KEYS, PREPARED, PreparedNote
from pytest_llmcompiler.judge.recent_replies import RecentReplies
from pytest_llmcompiler.judge.schedule import Schedule
from pytest_llmcompiler.judge.ticket import Ticket
from pytest_llmcompiler.judge.worker import JudgeWorker
from pytest_llmcompiler.program.file_cache import FileState

_REPLY_SECONDS = 1800
"""Time limit for a reply. It is a last resort: compiling, linking, generating inputs and running have limits of their
own, which add up to less."""
_ATTEMPTS = 3
"""How often a request is sent, where the process dies of it: a kill from outside loses no sample, and a request that
ends every process is not repeated for ever."""
_KILLED_STARTS = 12
"""How many processes in a row may be killed before they are ready for requests, which is no request's fault."""
_LOOK_SECONDS = 0.05
"""How often it is looked whether a request has waited so long that a free process is to have it."""
_JOIN_SECONDS = 30
"""How long the end of the thread is waited for. It takes milliseconds."""


class Dispatcher:
    """Answers requests with at most so many judge processes, from now until it is stopped."""

    def __init__(self, most_workers: int) -> None:
        self.workers: list[JudgeWorker] = []
        """The processes that run."""
        self._most_workers = most_workers
        self._schedule = Schedule(self.workers, most_workers)
        self._in_flight: dict[bytes, Ticket] = {}
        """The requests that have no reply yet, by key."""
        self._recent = RecentReplies()
        self._failed_starts = 0
        """How many processes in a row were killed before they were ready for requests. One that ends by itself counts
        as several."""
        self._lock = threading.Lock()
        """Guards what other threads use: all below."""
        self._incoming: deque[Ticket] = deque()
        self._is_stopping = self.has_ended = False
        self._has_unwanted = self._has_unwanted_work = False
        """Whether somebody has given up waiting: for a request, and for one that a process may be at work on."""
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._is_awake = True
        self._poll = select.poll()
        self._poll.register(self._event, select.POLLIN)
        self._by_descriptor: dict[int, JudgeWorker] = {}
        self._thread = threading.Thread(target=self._run, name="llmc-judge", daemon=True)
        self._thread.start()

    # -- for all threads

    def submit(self, ticket: Ticket) -> bool:
        """Take a request. Returns False where the dispatcher has ended."""
        with self._lock:
            if self._is_stopping or self.has_ended:
                return False
            self._incoming.append(ticket)
            self._wake()
        return True

    def forget_unwanted(self, *, end_work: bool) -> None:
        """Forget the requests for whose replies nobody waits any more. With `end_work`, processes that are at work on
        one are ended."""
        with self._lock:
            self._has_unwanted = True
            self._has_unwanted_work = self._has_unwanted_work or end_work
            self._wake()

    def stop(self) -> None:
        """End all processes. Whoever waits for a reply gets a JudgeError."""
        with self._lock:
            self._is_stopping = True
            self._wake()
        if threading.current_thread() is not self._thread:  # garbage may be collected in that thread
            self._thread.join(_JOIN_SECONDS)

    def abandon(self) -> None:
        """Forget everything in a forked child: processes, threads and locks are the parent's."""
        for worker in list(self.workers):
            worker.abandon()
        if not self.has_ended:
            os.close(self._event)

    def _wake(self) -> None:
        if not (self._is_awake or self.has_ended):
            os.eventfd_write(self._event, 1)

    # -- the thread

    def _run(self) -> None:
        reason = ""
        try:
            while not self._is_stopping:
                self._take_incoming()
                self._assign()
                self._wait()
                self._end_late()
        except Exception:
            reason = f"the pool of judge processes failed\n{traceback.format_exc()}"
        finally:
            self._finish(reason)

    def _finish(self, reason: str) -> None:
        with self._lock:
            self.has_ended = True
            os.close(self._event)
        tickets = dict.fromkeys((*self._in_flight.values(), *self._incoming))
        for worker in self.workers:
            worker.end()
        self.workers.clear()
        for ticket in tickets:
            text = reason or f"the judge was closed before there was a verdict on {ticket.request.item}"
            ticket.fail(JudgeError(text))

    def _take_incoming(self) -> None:
        self._recent.forget_files()
        while self._incoming:
            ticket = self._incoming.popleft()
            known = self._recent.find(ticket.key)
            if known is not None:
                ticket.resolve(known)
            elif ticket.key in self._in_flight:
                self._in_flight[ticket.key].futures += ticket.futures
            else:
                self._in_flight[ticket.key] = ticket
                self._schedule.add(ticket)
        if self._has_unwanted:
            with self._lock:
                end_work, self._has_unwanted, self._has_unwanted_work = self._has_unwanted_work, False, False
            self._drop_unwanted(end_work=end_work)

    def _drop_unwanted(self, *, end_work: bool) -> None:
        for ticket in self._schedule.remove_unwanted():
            self._in_flight.pop(ticket.key, None)
        for worker in list(self.workers) if end_work else ():
            if worker.sent and not worker.sent[0].is_wanted:
                self._in_flight.pop(worker.sent[0].key, None)
                self._end(worker)

    def _assign(self) -> None:
        try:
            self._schedule.assign(self._start_worker)
        except JudgeError as error:  # perhaps there is no memory now
            if not self.workers:
                self._fail_all(self._schedule.remove_all(), error)
        for worker in self.workers:
            if worker.has_unsent or worker.input in self._by_descriptor:
                self._watch_input(worker)

    def _start_worker(self) -> JudgeWorker:
        worker = JudgeWorker(self._most_workers)
        self.workers.append(worker)
        self._by_descriptor[worker.output] = worker
        self._poll.register(worker.output, select.POLLIN)
        return worker

    def _watch_input(self, worker: JudgeWorker) -> None:
        """Wait for room in the pipe to a process as long as there is something to write."""
        if worker.has_unsent and worker.input not in self._by_descriptor:
            self._by_descriptor[worker.input] = worker
            self._poll.register(worker.input, select.POLLOUT)
        elif not worker.has_unsent:
            self._unwatch(worker.input)

    def _unwatch(self, descriptor: int) -> None:
        if descriptor in self._by_descriptor:
            del self._by_descriptor[descriptor]
            self._poll.unregister(descriptor)

    def _wait(self) -> None:
        """Wait for a reply, a request or a deadline, and read what there is."""
        self._is_awake = False
        seconds = 0.0 if self._incoming or self._is_stopping or self._has_unwanted else self._find_wait()
        events = self._poll.poll(None if seconds == math.inf else math.ceil(seconds * 1000))
        self._is_awake = True
        for descriptor, _ in events:
            worker = self._by_descriptor.get(descriptor)
            if descriptor == self._event:
                os.eventfd_read(self._event)
            elif worker and descriptor == worker.output:
                self._read(worker)
            elif worker:
                worker.flush()
                self._watch_input(worker)

    def _find_wait(self) -> float:
        """The seconds until time alone makes something happen."""
        now = time.monotonic()
        waits = [self._find_deadline(worker) - now for worker in self.workers if worker.sent]
        if self._schedule.has_free_process:
            waits.append(_LOOK_SECONDS)
        return max(0.0, min(_REPLY_SECONDS, *waits)) if waits else math.inf  # poll takes 24 days at most

    def _find_deadline(self, worker: JudgeWorker) -> float:
        """When a process must have replied to its first request."""
        seconds = worker.sent[0].seconds
        return worker.began + (seconds if seconds is not None and worker.is_judging else _REPLY_SECONDS)

    # -- what processes write

    def _read(self, worker: JudgeWorker) -> None:
        try:
            for line in worker.read():
                self._handle(worker, line[:1], line[1:])
        except EOFError:
            self._handle_death(worker)

    def _handle(self, worker: JudgeWorker, letter: bytes, data: bytes) -> None:
        now = time.monotonic()
        if letter == BEGIN:
            worker.is_judging, worker.began = False, now
        elif letter == PREPARED:
            note: PreparedNote = json.loads(data)
            self._schedule.note_loaded(worker, note["keys"], now - worker.began)
            worker.note_files(tuple(FileState.from_json(state) for state in note["files"]))
            worker.is_judging, worker.began = True, now
        elif letter == KEYS:
            self._schedule.note_ready(worker, json.loads(data))
            if not worker.has_started:
                self._failed_starts = 0
                worker.has_started, worker.is_judging, worker.began = True, True, now
        else:
            files = worker.files.get(worker.sent[0].function, ())
            ticket = self._schedule.note_reply(worker, now - worker.began, is_verdict=letter == FINAL)
            worker.is_judging, worker.began = True, now
            self._resolve(ticket, letter, data, files)

    def _resolve(self, ticket: Ticket, letter: bytes, reply: bytes, files: tuple[FileState, ...]) -> None:
        if ticket.is_done:  # two processes had it
            return
        self._in_flight.pop(ticket.key, None)
        if letter == FINAL:
            self._recent.add(ticket.key, files, reply)
        copy = ticket.split() if letter == DOUBTFUL else None
        ticket.resolve(reply)
        if copy:
            self._in_flight[copy.key] = copy
            self._schedule.add(copy)

    # -- processes that end

    def _handle_death(self, worker: JudgeWorker) -> None:
        first = worker.sent[0] if worker.sent else None
        if first and not first.is_done and worker.has_started:  # else it has not even read the request
            first.deaths += 1
            if first.deaths >= _ATTEMPTS:
                error = JudgeError(f"the judge's process died {_ATTEMPTS} times on {first.request.item}")
                # It is not the text that a process dies of while it prepares the function.
                others = () if worker.is_judging else self._schedule.remove_all(first.function)
                self._fail_all([first, *others], error)
        self._end(worker)
        if not worker.has_started:
            self._failed_starts += 1 if worker.was_killed else _KILLED_STARTS // _ATTEMPTS
            if self._failed_starts >= _KILLED_STARTS:
                self._failed_starts = 0
                error = JudgeError("the judge's processes end before they are ready; standard error may say why")
                self._fail_all(self._schedule.remove_all(), error)

    def _end_late(self) -> None:
        """End the processes that are at work on a request for too long."""
        now = time.monotonic()
        for worker in [one for one in self.workers if one.sent and self._find_deadline(one) <= now]:
            first = worker.sent[0]
            if first.seconds is not None and worker.is_judging:
                error: JudgeError = JudgeTimeoutError(f"no verdict within {first.seconds:g} s")
            else:
                error = JudgeError(f"no reply for {first.request.item} within {_REPLY_SECONDS} s")
            self._fail_all([first], error)
            self._end(worker)

    def _end(self, worker: JudgeWorker) -> None:
        """End a process, and let its requests wait for another one."""
        self.workers.remove(worker)
        self._unwatch(worker.input)
        self._unwatch(worker.output)
        worker.end()
        self._schedule.note_end(worker)
        for ticket in worker.sent:
            is_elsewhere = any(ticket in other.sent for other in self.workers)
            if ticket.key in self._in_flight and not ticket.is_done and not is_elsewhere:
                self._schedule.add(ticket)

    def _fail_all(self, tickets: Iterable[Ticket], error: JudgeError) -> None:
        """Raise an error for all that wait for a reply."""
        for ticket in tickets:
            if not ticket.is_done:
                self._in_flight.pop(ticket.key, None)
                ticket.fail(error)
