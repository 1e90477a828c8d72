"""Which request goes to which judge process.

Preparing a function takes far longer than judging a candidate for it, so a request goes to a process that has its
function ready, where there is one. While a first process prepares a function, further requests for it wait: then the
inputs are in the cache on disk, and another process is ready in a fraction of the time.

A process that would have nothing to do helps with functions that others have ready. Whether it is to load one is
decided as skiers decide between renting and buying: it does, once the requests for the function have lost, or are about
to lose, as much time by waiting for the processes that have it ready as the loading takes. So waiting and loading
together cost at most about twice what they would with the requests known in advance.
"""

from __future__ import annotations

import itertools
import time
from bisect import bisect_left, insort
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from pytest_llmcompiler.judge.ticket import Ticket
from pytest_llmcompiler.judge.worker import JudgeWorker

_LOAD_SECONDS = 0.1
"""How long it takes to prepare a function from the cache, before it has been measured."""
_JUDGE_SECONDS = 0.005
"""How long it takes to judge a candidate of a function, before it has been measured."""
_MEASURED_FUNCTIONS = 4096
"""Functions whose `_Demand` is kept: those that were first asked for last."""
_SENT = 2
"""Requests that a process has at once, if no other is free: with one, it would have nothing to do from its reply until
the next request comes."""
_STUCK_SECONDS = 0.05
"""How long a request that was sent ahead waits for the one before it, until it is sent to a free process too."""
_SAME_CASE = 16
"""New functions among which one is chosen of the case that a process compiled last, which need not be compiled then."""


@dataclass
class _Demand:
    """What the requests for a function cost, in seconds."""

    judging: float = _JUDGE_SECONDS
    """Judging a candidate: the mean, in which the last ones count most."""
    lost: float = 0.0
    """What all requests together have waited since the function was last loaded, although a process was free: for one
    that has the function ready."""


class Schedule:
    """The requests that wait, and the processes that take them. Used by one thread."""

    def __init__(self, workers: list[JudgeWorker], most_workers: int) -> None:
        """`workers` are the processes that run; the list is the caller's."""
        self._workers, self._most_workers = workers, most_workers
        self._waiting: dict[str, deque[Ticket]] = {}
        """By function, each in the order of arrival."""
        self._ages: dict[str, int] = {}
        """The number of the oldest of these, by function."""
        self._oldest: list[tuple[int, str]] = []
        """The same, ascending: numbers and functions."""
        self._new: OrderedDict[str, None] = OrderedDict()
        """The functions with waiting requests that no process has ready or prepares, in the order of arrival."""
        self._ahead: deque[Ticket] = deque()
        """Functions that are only to be prepared."""
        self._owners: Counter[str] = Counter()
        """How many processes have a function ready, or prepare it."""
        self._preparing: Counter[str] = Counter()
        """How many prepare it."""
        self._passed_over: dict[str, float] = {}
        """Since when requests for a function wait although a process is free, which does not have it ready."""
        self._load_seconds = _LOAD_SECONDS
        self._demands: dict[str, _Demand] = {}
        """By function, in the order in which they were first asked for."""

    # -- requests

    def add(self, ticket: Ticket) -> None:
        """Let a request wait for a process: behind others, or in its old place."""
        if ticket.request.is_ahead:
            self._ahead.append(ticket)
            return
        waiting = self._waiting.setdefault(ticket.function, deque())
        is_first = not waiting or ticket.number < waiting[0].number
        if is_first:
            waiting.appendleft(ticket)
            self._set_age(ticket.function, ticket.number)
        else:
            waiting.append(ticket)
        self._note_owners(ticket.function)
        if is_first and ticket.deaths and ticket.function in self._new:
            self._new.move_to_end(ticket.function, last=False)

    def remove_unwanted(self) -> Iterator[Ticket]:
        """Take out the requests for whose reply nobody waits any more."""
        for function in list(self._waiting):
            tickets = self._waiting[function]
            yield from (ticket for ticket in tickets if not ticket.is_wanted)
            self._waiting[function] = deque(ticket for ticket in tickets if ticket.is_wanted)
            self._note_oldest(function)
        yield from (ticket for ticket in self._ahead if not ticket.is_wanted)
        self._ahead = deque(ticket for ticket in self._ahead if ticket.is_wanted)

    def remove_all(self, function: str | None = None) -> list[Ticket]:
        """Take out all requests, or all for a function."""
        functions = [function] if function is not None else list(self._waiting)
        tickets = [ticket for name in functions for ticket in self._waiting.pop(name, ())]
        for name in functions:
            self._new.pop(name, None)
            self._set_age(name, None)
        if function is None:
            tickets += self._ahead
            self._ahead.clear()
        return tickets

    # -- processes

    def send(self, worker: JudgeWorker, ticket: Ticket) -> None:
        """Send a request to a process."""
        now = time.monotonic()
        if not worker.sent:
            worker.began = now
        function = ticket.function
        demand = self._find_demand(function)
        if function not in worker.prepared:
            demand.lost = 0.0
            worker.preparing = function
            self._owners[function] += 1
            self._preparing[function] += 1
            self._note_owners(function)
        worker.last_case = ticket.request.case
        worker.send(ticket)

    def note_ready(self, worker: JudgeWorker, keys: Iterable[str]) -> None:
        """A process has other functions ready than before."""
        old, worker.prepared = worker.prepared, frozenset(keys)
        self._owners.update(worker.prepared - old)
        self._owners.subtract(old - worker.prepared)
        for function in old - worker.prepared:
            self._note_owners(function)

    def note_loaded(self, worker: JudgeWorker, keys: Iterable[str], seconds: float) -> None:
        """A process has prepared the function of its request, in so many seconds. It has these functions ready now."""
        function = worker.sent[0].function
        if worker.preparing == function and self._owners[function] > self._preparing[function]:  # others had it ready
            self._load_seconds = (self._load_seconds + seconds) / 2
        self.note_ready(worker, keys)
        self._end_preparing(worker)

    def note_reply(self, worker: JudgeWorker, seconds: float, *, is_verdict: bool) -> Ticket:
        """A process has replied to its first request, on which it was at work for so many seconds."""
        ticket = worker.sent.popleft()
        self._end_preparing(worker)
        if is_verdict:
            demand = self._find_demand(ticket.function)
            demand.judging += (seconds - demand.judging) / 4
        return ticket

    def note_end(self, worker: JudgeWorker) -> None:
        """A process has ended, and is no longer among the workers."""
        self.note_ready(worker, ())
        self._end_preparing(worker)

    def _end_preparing(self, worker: JudgeWorker) -> None:
        function, worker.preparing = worker.preparing, None
        if function is not None:
            self._owners[function] -= 1
            self._preparing[function] -= 1
            self._note_owners(function)

    def _note_owners(self, function: str) -> None:
        """The number of processes that have a function ready, or its number of requests, has changed."""
        if self._owners[function] > 0:
            self._new.pop(function, None)
            return
        del self._owners[function], self._preparing[function]
        if function in self._waiting:
            self._new.setdefault(function)

    # -- choices

    def assign(self, start: Callable[[], JudgeWorker]) -> None:
        """Send waiting requests to processes, as far as these can take some. `start` starts a further process, and
        raises JudgeError where that fails."""
        while True:
            idle = [worker for worker in self._workers if not worker.sent]
            if not idle and len(self._workers) == self._most_workers:
                self._passed_over.clear()
                for worker in self._workers:
                    self._send_ahead(worker)
                return
            busy = [worker for worker in idle if self._give_work(worker)]
            if busy:
                continue
            if idle or not (self._new or self._ahead or self._find_help(())):
                return
            if not self._give_work(start()):
                return

    @property
    def has_free_process(self) -> bool:
        """Whether time alone can make it worth while to send a request to a free process."""
        is_free = len(self._workers) < self._most_workers or not all(worker.sent for worker in self._workers)
        return is_free and (bool(self._waiting) or any(len(worker.sent) > 1 for worker in self._workers))

    def _give_work(self, worker: JudgeWorker) -> bool:
        """Send a request to a process that has nothing to do. Returns whether there is one for it."""
        ticket = self._take_next(worker) or self._take_help(worker) or self._take_stuck(worker)
        ticket = ticket or self._take_ahead(worker)
        if ticket:
            self.send(worker, ticket)
        return ticket is not None

    def _send_ahead(self, worker: JudgeWorker) -> None:
        """Let a process that is at work have its next request already, where it has the function ready."""
        while len(worker.sent) < _SENT and worker.preparing is None:
            function = self._find_ready(worker)
            if function is None:
                return
            self.send(worker, self._take(function))

    def _find_ready(self, worker: JudgeWorker) -> str | None:
        """The function with the oldest waiting request, of those that a process has ready."""
        return next((function for _, function in self._oldest if function in worker.prepared), None)

    def _take_next(self, worker: JudgeWorker) -> Ticket | None:
        """The oldest request for a function that a process has ready, or that no process has ready yet."""
        found = [name for name in (self._find_ready(worker), self._find_new(worker)) if name is not None]
        return self._take(min(found, key=self._ages.__getitem__)) if found else None

    def _find_new(self, worker: JudgeWorker) -> str | None:
        """A function that no process has ready: the first one, or one of the case that the process compiled last."""
        first = list(itertools.islice(self._new, _SAME_CASE))
        same = (name for name in first if self._waiting[name][0].request.case == worker.last_case)
        return next(same, first[0] if first else None)

    def _take_help(self, worker: JudgeWorker) -> Ticket | None:
        """A request for a function that others have ready, which have too much to do."""
        function = self._find_help(worker.prepared)
        return self._take(function) if function is not None else None

    def _find_help(self, prepared: Collection[str]) -> str | None:
        """The function, not among `prepared`, whose requests are worth that one more process loads it; of several, that
        with most work."""
        now, most, best = time.monotonic(), 0.0, None
        for function, tickets in self._waiting.items():
            owners = self._owners[function]
            if function in prepared or owners <= 0 or self._preparing[function] > 0:
                continue
            demand = self._find_demand(function)
            since = self._passed_over.setdefault(function, now)
            work = len(tickets) * demand.judging
            is_worth = demand.lost + len(tickets) * (now - since) + work / owners > self._load_seconds
            if is_worth and work > most:
                most, best = work, function
        return best

    def _take_stuck(self, worker: JudgeWorker) -> Ticket | None:
        """A request that waits in a process for one that takes long."""
        now = time.monotonic()
        for other in self._workers:
            waited = now - other.began
            if len(other.sent) < _SENT or waited < _STUCK_SECONDS or other.sent[1].is_doubled:
                continue
            if other.sent[1].function in worker.prepared or waited > self._load_seconds:
                other.sent[1].is_doubled = True
                return other.sent[1]
        return None

    def _take_ahead(self, worker: JudgeWorker) -> Ticket | None:
        """A function to prepare before its first candidates come. Never do all processes that there may be so."""
        busy = sum(bool(other.sent) and other.sent[0].request.is_ahead for other in self._workers)
        if busy + 1 >= self._most_workers:
            return None
        for ticket in self._ahead:
            if ticket.function in worker.prepared or self._owners[ticket.function] <= 0:
                self._ahead.remove(ticket)
                return ticket
        return None

    def _take(self, function: str) -> Ticket:
        """The oldest waiting request for a function."""
        ticket = self._waiting[function].popleft()
        since = self._passed_over.pop(function, None)
        if since is not None:
            self._find_demand(function).lost += time.monotonic() - since
        self._note_oldest(function)
        return ticket

    def _note_oldest(self, function: str) -> None:
        """The first of the requests for a function is another one now, or there is none any more."""
        if self._waiting[function]:
            self._set_age(function, self._waiting[function][0].number)
        else:
            del self._waiting[function]
            self._set_age(function, None)
            self._new.pop(function, None)
            self._passed_over.pop(function, None)

    def _set_age(self, function: str, number: int | None) -> None:
        """Note the number of the oldest request for a function; None where there is none."""
        old = self._ages.pop(function, None)
        if old is not None:
            del self._oldest[bisect_left(self._oldest, (old, function))]
        if number is not None:
            self._ages[function] = number
            insort(self._oldest, (number, function))

    def _find_demand(self, function: str) -> _Demand:
        demand = self._demands.get(function)
        if demand is None:
            demand = self._demands[function] = _Demand()
            if len(self._demands) > _MEASURED_FUNCTIONS:
                del self._demands[next(iter(self._demands))]
        return demand
