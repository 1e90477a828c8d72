"""The judge processes of this process, and which request goes to which of them.

A request waits in a line until a process is free for it. Preparing a function takes far longer than judging a candidate
for it, so a request goes to a process that has its function ready, where there is one. While a first process prepares a
function, further requests for it wait: then the inputs are in the cache on disk, and another process is ready in a
fraction of the time. Whether another process is to load them is decided as skiers decide between renting and buying:
it is, once the requests for the function have lost, or are about to lose, as much time by waiting for the processes
that have it ready as the loading takes. So waiting and loading together cost at most about twice what they would with
the requests known in advance.

There is no thread of the pool's own. Each thread that wants a reply sends its request and reads its reply, and the
thread that frees a process hands it to the next in the line.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import OrderedDict
from dataclasses import dataclass, field

from pytest_llmcompiler.errors import JudgeError
from pytest_llmcompiler.judge.messages import Reply, Request, build_case_key, build_function_key
from pytest_llmcompiler.judge.worker import JudgeWorker

WORKER_MEGABYTES = 512
"""Memory of a judge process and of the engine's processes below it, in MiB, above which it lets prepared functions go.
One that has prepared nothing has 50."""
_LOAD_SECONDS = 0.1
"""How long it takes to prepare a function from the cache, before the pool has measured it."""
_JUDGE_SECONDS = 0.005
"""How long it takes to judge a candidate of a function, before the pool has measured it."""
_LOOK_SECONDS = 0.1
"""How often a request that waits looks whether it has waited so long that another process is to load its function."""
_MEASURED_FUNCTIONS = 4096
"""Functions of which the pool knows what `_Demand` has: those that were asked for last."""


@dataclass
class _Demand:
    """What the requests for a function cost, in seconds."""

    judging: float = _JUDGE_SECONDS
    """Judging the last candidate."""
    lost: float = 0.0
    """What all requests together have waited since the function was last loaded, although a process was free: for one
    that has the function ready."""


@dataclass(eq=False)
class _Ticket:
    """A request that waits for a process, or has one."""

    function: str
    """The key of the function."""
    case: str
    """The key of the case."""
    is_ahead: bool = False
    """Whether nobody waits for the reply: the function is only to be prepared."""
    worker: JudgeWorker | None = None
    has_changed: threading.Event = field(default_factory=threading.Event)
    """Set when the ticket has a process, or never gets one."""
    is_closed: bool = False
    """Whether the pool was closed before the ticket had a process."""
    is_loading: bool = False
    """Whether its process, which runs already, prepares the function although another has it ready."""
    judging_since: float = 0.0
    passed_over_since: float | None = None
    """Since when it waits for a process that has its function ready, although another is free."""


class JudgePool:
    """At most so many judge processes, each started when the others are busy. Thread-safe.

    A forked child starts processes of its own.
    """

    def __init__(self, most_workers: int) -> None:
        self.most_workers = most_workers
        self._load_seconds = _LOAD_SECONDS
        self._demands: OrderedDict[str, _Demand] = OrderedDict()
        """By function, the one that was asked for last at the end."""
        self._lock = threading.Lock()
        """Guards all that follows."""
        self._clear()
        _POOLS.add(self)

    def _clear(self) -> None:
        self._workers: dict[JudgeWorker, _Ticket | None] = {}
        """The processes, each with the ticket that has it."""
        self._last_case: dict[JudgeWorker, str] = {}
        """The key of the case that each process compiled last."""
        self._waiting: list[_Ticket] = []
        """In the order of arrival."""
        self._preparing: dict[str, _Ticket] = {}
        """By function: the ticket whose process prepares it, where no process has it ready."""

    @property
    def pids(self) -> list[int]:
        """The numbers of the processes that run."""
        return [pid for worker in list(self._workers) if (pid := worker.pid) is not None]

    def exchange(self, request: Request) -> Reply:
        """Send a request to a process, and wait for the reply. Raises JudgeError where there is none."""
        candidate = request["candidate"]
        is_ahead = request["action"] == "prepare"
        ticket = _Ticket(build_function_key(candidate), build_case_key(candidate), is_ahead)
        try:
            worker = self._wait_for_worker(ticket)
            ticket.judging_since = time.monotonic()
            reply = worker.exchange(request, lambda: self._note_prepared(ticket))
            self._note_judged(ticket, reply)
            return reply
        finally:
            self._leave(ticket)

    def close(self) -> None:
        """End all processes. Requests that wait for a reply get a JudgeError; the next one starts another process."""
        with self._lock:
            workers, waiting = list(self._workers), self._waiting
            self._clear()
            for ticket in waiting:
                ticket.is_closed = True
                ticket.has_changed.set()
        for worker in workers:
            worker.close()

    def abandon(self) -> None:
        """Forget everything in a forked child: processes, threads and locks are the parent's."""
        workers = list(self._workers)
        self._lock = threading.Lock()
        self._clear()
        for worker in workers:
            worker.abandon()

    # -- tickets

    def _wait_for_worker(self, ticket: _Ticket) -> JudgeWorker:
        with self._lock:
            self._waiting.append(ticket)
            self._assign()
        while not ticket.has_changed.wait(_LOOK_SECONDS):
            with self._lock:  # time alone can make it worth while to load the function once more
                self._assign()
        if ticket.worker is None:
            raise JudgeError("the judge was closed before a process was free")
        return ticket.worker

    def _note_prepared(self, ticket: _Ticket) -> None:
        """The process of a ticket has the function ready."""
        now = time.monotonic()
        with self._lock:
            if ticket.is_loading:
                self._load_seconds = (self._load_seconds + now - ticket.judging_since) / 2
            ticket.judging_since = now
            self._end_preparing(ticket)
            self._assign()

    def _note_judged(self, ticket: _Ticket, reply: Reply) -> None:
        if reply["status"] == "verdict":
            with self._lock:
                self._find_demand(ticket.function).judging = time.monotonic() - ticket.judging_since

    def _leave(self, ticket: _Ticket) -> None:
        """Take a ticket out of the line, and hand its process to the next."""
        with self._lock:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            self._end_preparing(ticket)
            for worker, holder in self._workers.items():
                if holder is ticket:
                    self._workers[worker] = None
            self._assign()
            was_closed = ticket.worker not in self._workers
        if ticket.worker and was_closed:  # by another thread, which left it to this one to free what it used
            ticket.worker.close()

    def _end_preparing(self, ticket: _Ticket) -> None:
        if self._preparing.get(ticket.function) is ticket:
            del self._preparing[ticket.function]

    # -- scheduling; the lock is held

    def _assign(self) -> None:
        """Give processes to tickets, in the order of arrival, as far as there are free ones. What is only prepared
        comes last, and never has all processes."""
        for ticket in sorted(self._waiting, key=lambda ticket: ticket.is_ahead):
            if len(self._workers) == self.most_workers and None not in self._workers.values():
                return
            worker = self._choose_worker(ticket)
            if worker is None:
                continue
            self._waiting.remove(ticket)
            demand = self._find_demand(ticket.function)
            if ticket.function not in worker.prepared:
                ticket.is_loading = worker.pid is not None and self._is_ready(ticket.function)
                self._preparing.setdefault(ticket.function, ticket)
                demand.lost = 0.0
            elif ticket.passed_over_since is not None:
                demand.lost += time.monotonic() - ticket.passed_over_since
            self._workers[worker], self._last_case[worker] = ticket, ticket.case
            ticket.worker = worker
            ticket.has_changed.set()

    def _choose_worker(self, ticket: _Ticket) -> JudgeWorker | None:
        """The process for a ticket; None where it is better to wait."""
        holders = [holder for holder in self._workers.values() if holder]
        if ticket.is_ahead and sum(holder.is_ahead for holder in holders) >= self.most_workers - 1:
            return None
        free = [worker for worker, holder in self._workers.items() if holder is None]
        ready = next((worker for worker in free if ticket.function in worker.prepared), None)
        if ready:
            return ready
        if self._is_ready(ticket.function):
            if ticket.is_ahead or not self._is_worth_loading(ticket):
                return None
        elif ticket.function in self._preparing:
            return None
        if free:
            return next((worker for worker in free if self._last_case.get(worker) == ticket.case), free[0])
        return JudgeWorker()

    def _is_ready(self, function: str) -> bool:
        return any(function in worker.prepared for worker in self._workers)

    def _is_worth_loading(self, ticket: _Ticket) -> bool:
        """Whether one more process is to load a function that others have ready, which are busy."""
        now = time.monotonic()
        ticket.passed_over_since = ticket.passed_over_since or now
        waiting = [other for other in self._waiting if other.function == ticket.function]
        processes = sum(holder is not None and holder.function == ticket.function for holder in self._workers.values())
        demand = self._find_demand(ticket.function)
        lost = demand.lost + sum(now - (other.passed_over_since or now) for other in waiting)
        return lost + len(waiting) * demand.judging / max(1, processes) > self._load_seconds

    def _find_demand(self, function: str) -> _Demand:
        demand = self._demands.setdefault(function, _Demand())
        self._demands.move_to_end(function)
        if len(self._demands) > _MEASURED_FUNCTIONS:
            self._demands.popitem(last=False)
        return demand


_POOLS: weakref.WeakSet[JudgePool] = weakref.WeakSet()
"""All pools, for forked children."""


def _abandon_pools() -> None:
    for pool in list(_POOLS):
        pool.abandon()


os.register_at_fork(after_in_child=_abandon_pools)
