"""Which actor of Ray a sample goes to. Nothing here needs Ray."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Future

from pytest_llmcompiler import Sample, Verdict
from pytest_llmcompiler.service.actor_slots import (
    LONG_SECONDS,
    MOST_OF_MEAN,
    ActorCall,
    ActorSlot,
    KnownFunction,
    KnownFunctions,
    QueuedSample,
    rank_slots,
)
from pytest_llmcompiler.service.ray_actor import TimedVerdict

KEYS = [f"function {number}" for number in range(400)]


def live_slots(count: int) -> list[ActorSlot]:
    return [ActorSlot(number, actor=None, is_live=True) for number in range(count)]


def spread(function: KnownFunction, slots: list[ActorSlot], samples: int, seconds: float) -> Counter[int]:
    """Samples of a function by the numbers of the actors that took them, where none of them ends."""
    taken: Counter[int] = Counter()
    for _ in range(samples):
        slot = function.choose_slot(sum(one.load for one in slots) / len(slots))
        slot.load += seconds
        taken[slot.number] += 1
    return taken


def test_functions_are_spread_evenly_and_only_those_of_a_lost_actor_move() -> None:
    slots = live_slots(8)
    first = {key: rank_slots(key, slots)[0] for key in KEYS}
    assert max(Counter(slot.number for slot in first.values()).values()) < 2 * len(KEYS) / len(slots)
    lost = slots[3]
    rest = [slot for slot in slots if slot is not lost]
    moved = {key for key in KEYS if rank_slots(key, rest)[0] is not first[key]}
    assert moved == {key for key in KEYS if first[key] is lost}
    new = {rank_slots(key, rest)[0].number for key in moved}
    assert len(new) > 4  # its functions do not all go to the same one


def test_samples_of_one_function_stay_together_while_the_queue_is_short() -> None:
    slots = live_slots(4)
    function = KnownFunction("", rank_slots("f", slots))
    assert spread(function, slots, 30, LONG_SECONDS / 40) == {function.ranking[0].number: 30}


def test_a_long_queue_sends_samples_down_the_order() -> None:
    slots = live_slots(4)
    function = KnownFunction("", rank_slots("f", slots))
    taken = spread(function, slots, 1000, LONG_SECONDS / 40)
    assert set(taken) == set(range(4))
    loads = [slot.load for slot in slots]
    assert max(loads) <= MOST_OF_MEAN * sum(loads) / len(loads) + LONG_SECONDS
    assert taken[function.ranking[0].number] >= taken[function.ranking[3].number]


def test_an_actor_that_is_not_live_is_left_out() -> None:
    slots = live_slots(3)
    function = KnownFunction("", rank_slots("f", slots))
    function.ranking[0].is_live = False
    assert function.choose_slot(0.0) is function.ranking[1]


def test_a_function_is_prepared_by_the_first_answer_with_code() -> None:
    function = KnownFunction("", live_slots(1))
    function.note_judged(TimedVerdict(Verdict("no-answer"), 0.001), None)
    assert not function.is_prepared
    expected = function.expected_seconds
    function.note_judged(TimedVerdict(Verdict("mismatch"), 2.0), None)
    assert function.is_prepared
    assert function.expected_seconds < expected  # the two seconds were for preparing
    for _ in range(20):
        function.note_judged(TimedVerdict(Verdict("mismatch"), 1.0), None)
    assert 0.9 < function.expected_seconds < 1.0


def test_samples_that_differ_in_the_answer_alone_have_one_function() -> None:
    functions = KnownFunctions(live_slots(2))
    source = "int f(void) { return 1; }"
    function = functions.find(Sample(source, "f", "one"))
    other = Sample("".join(source), "f", "two", passes="O2")
    assert functions.find(other) is function
    assert functions.find(Sample(source, "g", "one")) is not function
    assert functions.find(Sample(source, "f", "one", cflags=["-DX"])) is not function
    assert QueuedSample(other, function, Future()).shared_sample.source is source


def test_a_slot_gives_its_samples_back_in_the_order_in_which_they_came() -> None:
    [slot] = live_slots(1)
    function = KnownFunction("", [slot])
    one, two, three = (QueuedSample(Sample("", "f", text), function, Future()) for text in "123")
    call = ActorCall(slot, [one, two])
    slot.calls.append(call)
    slot.waiting.append(three)
    slot.load = 3.0
    assert slot.clear() == [one, two, three]
    assert (call.is_over, slot.load, len(slot.calls), len(slot.waiting)) == (True, 0.0, 0, 0)
