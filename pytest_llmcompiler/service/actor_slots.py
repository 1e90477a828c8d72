"""Where a sample goes: the actors of a judge on Ray, the functions that they judge, and the work before each.

Which actors a function prefers is decided by rendezvous hashing (Thaler and Ravishankar, 1998): each pair of a function
and an actor has a weight, which is a hash of the two, and the actor with the highest weight comes first. So all drivers
agree without a word, and where an actor is lost only its own functions move. How far down this order a sample goes is
decided by the load (Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2018).
"""

from __future__ import annotations

import collections
import hashlib
import itertools
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.service.ray_actor import Shipment, TimedVerdict
from pytest_llmcompiler.service.sample import Sample

LONG_SECONDS = 0.2
"""Work before a sample, in seconds, above which the next actor takes it: what it takes to load a function from the
cache. Below that, waiting for the actor that has the function ready is cheaper than loading it once more."""
MOST_OF_MEAN = 1.25
"""Above this multiple of the mean load, an actor takes no more either, where all have much to do. Any value above 1
leaves at least one actor that takes the sample. A lower one makes loads more even, and sends samples further down the
order."""
_JUDGE_SECONDS = 0.005
"""Expected time of a sample of a function before one was measured."""
_PREPARE_SECONDS = 0.5
"""Expected time of the first sample of a function, which has to be prepared."""
_NEWEST_SHARE = 0.25
"""The share of the newest sample in the mean time of a function's samples."""
_WITHOUT_CODE = ("no-answer", "truncated")
"""The verdicts that need no function to be prepared."""
_MOST_FUNCTIONS = 4096
"""Functions that are remembered: those that were asked for last."""


@dataclass(eq=False)
class QueuedSample:
    """A sample on its way to a verdict."""

    sample: Sample
    function: KnownFunction
    future: Future[Verdict]
    deaths: int = 0
    """Actors that died while they judged the sample. The first one may have died before."""
    seconds: float = 0.0
    """What it counts in the load of its actor."""

    @property
    def shared_sample(self) -> Sample:
        """The sample with the one object for the text that all samples of its function have."""
        if self.sample.source is self.function.source:
            return self.sample
        return replace(self.sample, source=self.function.source)

    @property
    def is_wanted(self) -> bool:
        """Whether anybody waits for the verdict. Once asked, it can't be given up any more."""
        return self.future.running() or self.future.set_running_or_notify_cancel()


@dataclass(eq=False)
class ActorCall:
    """Samples that were sent to an actor together."""

    slot: ActorSlot
    queued: list[QueuedSample]
    is_begun: bool = False
    """Whether the actor is known to have begun with it."""
    is_over: bool = False
    """Whether its samples have verdicts, or were sent elsewhere."""


@dataclass(eq=False)
class ActorSlot:
    """The place of an actor, and of those that replace it."""

    number: int
    actor: Any
    is_live: bool = False
    shares_cache: bool = False
    """Whether its cache folder is the driver's."""
    failed_starts: int = 0
    """How often it failed to start since it was live."""
    waiting: collections.deque[QueuedSample] = field(default_factory=collections.deque)
    calls: collections.deque[ActorCall] = field(default_factory=collections.deque)
    """Those without a reply, in the order in which they were sent, which is that in which the actor works on them."""
    load: float = 0.0
    """Expected seconds of all its samples."""
    last_heard: float = 0.0
    """When it last replied, or had no call to reply to."""

    def clear(self) -> list[QueuedSample]:
        """Take all samples away, the oldest first."""
        queued = [*(queued for call in self.calls for queued in call.queued), *self.waiting]
        for call in self.calls:
            call.is_over = True
        self.calls.clear()
        self.waiting.clear()
        self.load = 0.0
        return queued


@dataclass(eq=False)
class KnownFunction:
    """A function that samples were asked for."""

    source: Any
    """The object that the sources of all its samples are replaced with, so that a call has the text once."""
    ranking: Sequence[ActorSlot]
    """All actors, in the order in which the function prefers them."""
    is_prepared: bool = False
    """Whether some actor has prepared it. Until then one sample is under way, and the others wait."""
    first: QueuedSample | None = None
    """The sample that is under way."""
    waiting: list[QueuedSample] = field(default_factory=list)
    seconds: float = _JUDGE_SECONDS
    """The mean time of a sample."""
    shipment: Shipment | None = None

    @property
    def expected_seconds(self) -> float:
        """Expected time of the next sample."""
        return self.seconds if self.is_prepared else _PREPARE_SECONDS

    def note_judged(self, judged: TimedVerdict, shipment: Shipment | None) -> None:
        """A sample has a verdict. `shipment` has the files that it took, if they are to be sent to other actors."""
        if self.is_prepared:
            self.seconds += _NEWEST_SHARE * (judged.seconds - self.seconds)
        elif judged.verdict.kind not in _WITHOUT_CODE:
            self.is_prepared, self.shipment = True, shipment

    def choose_slot(self, mean_load: float) -> ActorSlot:
        """The actor for the next sample, where at least one is live. `mean_load` is that of all live actors."""
        most = max(LONG_SECONDS, MOST_OF_MEAN * mean_load)
        live = (slot for slot in self.ranking if slot.is_live)
        first = next(live)
        return next((slot for slot in itertools.chain([first], live) if slot.load < most), first)


class KnownFunctions:
    """The functions that were asked for last, by all that makes them differ."""

    def __init__(self, slots: Sequence[ActorSlot]) -> None:
        self._slots = slots
        self._functions: collections.OrderedDict[tuple[object, ...], KnownFunction] = collections.OrderedDict()

    def find(self, sample: Sample) -> KnownFunction:
        """The function of a sample."""
        key = (sample.source, sample.function, sample.target, sample.cflags, sample.program)
        function = self._functions.get(key)
        if function is None:
            function = self._functions[key] = KnownFunction(sample.source, rank_slots(repr(key), self._slots))
            if len(self._functions) > _MOST_FUNCTIONS:
                self._functions.popitem(last=False)
        self._functions.move_to_end(key)
        return function


def rank_slots(key: str, slots: Sequence[ActorSlot]) -> list[ActorSlot]:
    """The slots in the order in which a function prefers them, by the highest weight."""
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return sorted(slots, key=lambda slot: _weigh(digest, slot.number), reverse=True)


def _weigh(digest: bytes, number: int) -> bytes:
    return hashlib.blake2b(digest + number.to_bytes(8, "little"), digest_size=8).digest()
