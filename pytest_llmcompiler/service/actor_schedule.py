"""What each actor of Ray has to do, and what becomes of the samples of one that dies.

An actor has two calls at most: so it always has the next one, and little is lost with it. A call has samples for about
a tenth of a second.

Ray restarts actors that die (`max_restarts`), anywhere in the cluster. It does not repeat their calls
(`max_task_retries` is 0 but for `describe`). Ray would send them to the same actor, once that runs again, as often as
it is told, and could not tell which sample every actor dies of. Here the samples go elsewhere at once. An actor carries
out its calls in order, so the oldest call without a reply has the sample that it died of, if it did not die before: an
actor that has nothing to do may die unseen. So that call counts as an attempt, and its samples are sent alone from then
on, each behind a question. An actor that has answered the question lives: only where it dies then, that is one more
attempt. A sample is judged again at most twice.

Samples that were sent stay. Those that wait are placed again when an actor has nothing to do, as one that was just
started.

While a first actor prepares a function, further samples for it wait: then its inputs are in the cache, and another
actor is ready in a fraction of the time.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from pytest_llmcompiler.errors import JudgeError
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.service.actor_slots import LONG_SECONDS, ActorCall, ActorSlot, KnownFunctions, QueuedSample
from pytest_llmcompiler.service.error_verdict import make_error_verdict
from pytest_llmcompiler.service.ray_actor import ActorDescription, ActorReply, TimedVerdict, describe_judge
from pytest_llmcompiler.service.sample import Sample

_MOST_CALLS = 2
"""Calls that an actor has at once."""
_CALL_SECONDS = 0.1
"""Expected time of the samples of one call: long against what a call costs the driver, half a millisecond, and short
for whoever waits for the first of its verdicts."""
_CALL_SAMPLES = 64
"""The most samples of one call."""
_MOST_DEATHS = 3
"""Actors that may die while they judge a sample."""
_MOST_FAILED_STARTS = 3
"""How often in a row an actor may fail to start, before its place is given up."""
START_SECONDS = 600.0
"""How long samples wait while there is no actor. An autoscaler takes minutes to start a machine."""

SILENT_SECONDS = 3600.0
"""How long an actor may work on a call, before another one takes its place. It is a last resort: all that a judge does
has limits of its own, which add up to less. So an actor that takes this long was stopped, or its machine is cut off."""
LOOK_SECONDS = 1.0
"""How often these times are looked at."""


class ActorSchedule:
    """The actors of one judge, each with its samples. All methods are called by one thread; `post` takes what another
    thread wants to be called there."""

    def __init__(
        self, workers: int, create_actor: Callable[[], Any], post: Callable[[Callable[[], None]], None]
    ) -> None:
        self._create_actor, self._post = create_actor, post
        self._slots = [ActorSlot(number, create_actor()) for number in range(workers)]
        self._functions = KnownFunctions(self._slots)
        self._pending: set[QueuedSample] = set()
        """All samples without a verdict."""
        self._homeless: list[QueuedSample] = []
        """Those that wait for an actor to start."""
        self._homeless_since = 0.0
        self._next_look = 0.0
        self._live = 0
        """How many actors are live."""
        self._load = 0.0
        """The load of all of them."""
        self._with_room: set[ActorSlot] = set()
        """Actors to look at when they are filled."""
        self._fault = ""
        """Why no sample can be judged any more."""
        for slot in self._slots:
            self._await_actor(slot)

    @property
    def is_waiting(self) -> bool:
        """Whether there are samples without a verdict."""
        return bool(self._pending)

    def accept(self, sample: Sample, future: Future[Verdict]) -> None:
        """Take a sample, whose verdict is for a future."""
        queued = QueuedSample(sample, self._functions.find(sample), future)
        self._pending.add(queued)
        if self._fault:
            self._settle(queued, make_error_verdict(self._fault))
        else:
            self._place(queued)

    def fill(self) -> None:
        """Send samples to the actors that have room for a call."""
        while self._with_room:
            slot = self._with_room.pop()
            while slot.is_live and len(slot.calls) < _MOST_CALLS and (batch := self._take_batch(slot)):
                self._send(slot, batch)
            if slot.is_live and not slot.calls:
                self._relieve(max(self._slots, key=lambda other: other.load))
        now = time.monotonic()
        if now > self._next_look:
            self._next_look = now + LOOK_SECONDS
            self._look_at_times(now)

    def close(self, reason: str) -> None:
        """End all actors. The samples that wait, and those that come, get `reason` in the place of a verdict."""
        self._give_up(reason)
        for slot in self._slots:
            self._end_actor(slot)

    def _look_at_times(self, now: float) -> None:
        """Notice what happens by itself: that no actor starts, and that an actor does not reply."""
        if self._homeless and now > self._homeless_since + START_SECONDS:
            self._settle_all(f"no actor of the judge was ready within {START_SECONDS:g} s")
        for slot in self._slots:
            if slot.calls and now > slot.last_heard + SILENT_SECONDS:
                self._end_actor(slot)
                slot.actor = self._create_actor()
                self._lose(slot, TimeoutError(f"the actor has not replied for {SILENT_SECONDS:g} s"))

    # -- samples

    def _place(self, queued: QueuedSample) -> None:
        """Put a sample into the queue of an actor, or of its function while that is being prepared."""
        function = queued.function
        if not function.is_prepared:
            function.first = function.first or queued
            if function.first is not queued:
                function.waiting.append(queued)
                return
        if not self._live:
            self._homeless_since = self._homeless_since if self._homeless else time.monotonic()
            self._homeless.append(queued)
            return
        slot = function.choose_slot(self._load / self._live)
        queued.seconds = function.expected_seconds
        self._add_load(slot, queued.seconds)
        slot.waiting.append(queued)
        self._with_room.add(slot)

    def _relieve(self, slot: ActorSlot) -> None:
        """Place the samples that wait for an actor again, unless they are few: another one has nothing to do."""
        if sum(queued.seconds for queued in slot.waiting) <= LONG_SECONDS:
            return
        waiting = list(slot.waiting)
        slot.waiting.clear()
        self._add_load(slot, -sum(queued.seconds for queued in waiting))
        for queued in waiting:
            self._place(queued)

    def _take_batch(self, slot: ActorSlot) -> list[QueuedSample]:
        """The samples of the next call of an actor, out of its queue."""
        batch: list[QueuedSample] = []
        seconds = 0.0
        while slot.waiting and len(batch) < _CALL_SAMPLES and seconds < _CALL_SECONDS:
            queued = slot.waiting[0]
            is_alone = queued.deaths > 0 or not queued.function.is_prepared
            if is_alone and batch:
                break
            slot.waiting.popleft()
            if not queued.is_wanted:
                self._add_load(slot, -queued.seconds)
                self._leave(queued)
                continue
            batch.append(queued)
            seconds += _CALL_SECONDS if is_alone else queued.seconds
        return batch

    def _settle(self, queued: QueuedSample, verdict: Verdict) -> None:
        if queued.is_wanted:
            queued.future.set_result(verdict)
        self._leave(queued)

    def _leave(self, queued: QueuedSample) -> None:
        """A sample needs no verdict any more: those that waited for it to prepare their function go on."""
        self._pending.discard(queued)
        function = queued.function
        if function.first is queued:
            function.first = None
            waiting, function.waiting = function.waiting, []
            for other in waiting:
                self._place(other)

    def _add_load(self, slot: ActorSlot, seconds: float) -> None:
        slot.load += seconds
        self._load += seconds

    def _give_up(self, reason: str) -> None:
        """Judge nothing any more."""
        self._fault = reason
        for slot in self._slots:
            slot.is_live = False
        self._settle_all(reason)

    def _settle_all(self, reason: str) -> None:
        """Give all samples up that have no verdict."""
        for slot in self._slots:
            slot.clear()
        self._load = 0.0
        self._homeless.clear()
        pending, self._pending = self._pending, set()
        for queued in pending:
            queued.function.first = None
            queued.function.waiting.clear()
            if queued.is_wanted:
                queued.future.set_result(make_error_verdict(reason))

    # -- calls

    def _send(self, slot: ActorSlot, batch: list[QueuedSample]) -> None:
        call = ActorCall(slot, batch)
        slot.last_heard = slot.last_heard if slot.calls else time.monotonic()
        slot.calls.append(call)
        functions = {id(queued.function): queued.function for queued in batch}.values()
        shipments = [function.shipment for function in functions if function.shipment]
        is_shipping = not batch[0].function.is_prepared and not all(slot.shares_cache for slot in self._slots)
        if batch[0].deaths:
            answer = slot.actor.describe.options(max_task_retries=0).remote()
            answer.future().add_done_callback(lambda done: self._post(functools.partial(_note_begun, call, done)))
        reply = slot.actor.judge.remote([queued.shared_sample for queued in batch], shipments, is_shipping)
        reply.future().add_done_callback(lambda done: self._post(functools.partial(self._end_call, call, done)))

    def _end_call(self, call: ActorCall, done: Future[ActorReply]) -> None:
        """Take the reply of an actor, or the error that came in its place."""
        from ray.exceptions import RayTaskError

        if call.is_over:
            return
        error = done.exception()
        if error is None:
            judged, shipment = done.result()
        elif isinstance(error, RayTaskError):  # the actor lives: the judge in it is at fault
            judged, shipment = (
                [TimedVerdict(make_error_verdict(str(error)), 0.0)] * len(call.queued),
                None,
            )
        else:
            self._lose(call.slot, error)
            return
        call.is_over = True
        call.slot.calls.remove(call)
        call.slot.last_heard = time.monotonic()
        self._with_room.add(call.slot)
        for queued, one in zip(call.queued, judged, strict=True):
            self._add_load(call.slot, -queued.seconds)
            queued.function.note_judged(one, shipment)
            self._settle(queued, one.verdict)

    # -- actors

    def _await_actor(self, slot: ActorSlot) -> None:
        """Learn when an actor is ready, be it the first time or after a restart."""
        slot.is_live = False
        description = slot.actor.describe.options(max_task_retries=-1).remote()
        description.future().add_done_callback(lambda done: self._post(functools.partial(self._welcome, slot, done)))

    def _welcome(self, slot: ActorSlot, done: Future[ActorDescription]) -> None:
        """Take an actor that is ready into the schedule, or replace one that does not start."""
        if self._fault:
            return
        error = done.exception()
        if error is None and done.result().package != describe_judge():
            error = JudgeError("the actor's machine has another version of pytest-llmcompiler or of its libraries")
        if error is not None:
            self._replace(slot, error)
            return
        slot.is_live, slot.shares_cache, slot.failed_starts = True, done.result().shares_cache, 0
        self._live += 1
        homeless, self._homeless = self._homeless, []
        for queued in homeless:
            self._place(queued)
        self._with_room.add(slot)

    def _replace(self, slot: ActorSlot, error: BaseException) -> None:
        slot.failed_starts += 1
        self._end_actor(slot)
        if slot.failed_starts < _MOST_FAILED_STARTS:
            slot.actor = self._create_actor()
            self._await_actor(slot)
            return
        warnings.warn(f"an actor of the judge does not start: {error}", RuntimeWarning, stacklevel=1)
        if all(slot.failed_starts >= _MOST_FAILED_STARTS for slot in self._slots):
            self._give_up(f"no actor of the judge starts: {error}")

    def _end_actor(self, slot: ActorSlot) -> None:
        import ray

        if ray.is_initialized():
            ray.kill(slot.actor)

    def _lose(self, slot: ActorSlot, error: BaseException) -> None:
        """An actor has died, or can't be reached: its samples go elsewhere."""
        oldest = slot.calls[0]
        for queued in oldest.queued:
            if oldest.is_begun or not queued.deaths:
                queued.deaths += 1
        self._live -= 1
        self._load -= slot.load
        slot.is_live = False
        for queued in slot.clear():
            if queued.deaths < _MOST_DEATHS:
                self._place(queued)
                continue
            message = f"{queued.deaths} actors ended while they judged the sample; the last: {_first_line(error)}"
            self._settle(queued, make_error_verdict(message))
        self._await_actor(slot)


def _note_begun(call: ActorCall, done: Future[ActorDescription]) -> None:
    """The actor has answered the question before a call, or has not."""
    call.is_begun = done.exception() is None


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
