"""The corpus of a function: inputs on which it is defined, generated once and used for every sample.

Inputs made from types and names come first. Then what the runs show steers: comparisons get the values that they wait
for, and buffers that are read past their end are made as long as it takes.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from pytest_llmcompiler.corpus.mutator import Mutator, Seed, generate_simpler, lengthen_text, make_seed
from pytest_llmcompiler.corpus.provider import BACKEND
from pytest_llmcompiler.corpus.repair import append_terminator, close_rings, resize_object
from pytest_llmcompiler.emulator.coverage import Comparisons, Feature, Features
from pytest_llmcompiler.errors import LLMCompilerError
from pytest_llmcompiler.values.input import Input, list_objects
from pytest_llmcompiler.values.layout import MAX_OBJECT_BYTES

MAX_STEPS = 300_000
"""Edges that the probe may take on an input."""
_GROWTHS, _MOST_REPAIRS = 6, 64
"""How often a buffer that is too short is made longer, and how many inputs are repaired so."""
_FIRST, _STEPS = 8, 8_000
"""After so many inputs, one that takes more than these steps is too long; one as long as the others never is."""
_TRIALS, _TRIAL = 25, 100
"""Inputs that steering tries for each that is generated, and what a trial costs beside its steps, which are paid for
too: half as many are tried where they take three times as many steps each."""
_LONG, _LONG_TRIALS = 65_600, 6
"""Elements of the one input that is longer than 16 bits can count, and how many others it is tried to be made from."""
_CHEAP = 2_000
"""What a run may cost beside its steps, in steps, unless there are few such: calls out take long, and each candidate
makes them again."""
_MOST_LEADS = 2_000
"""After so many inputs to start from, one that only puts known edges together in a new way is none any more."""


class ProbeResult(NamedTuple):
    """What the probe shows on an input."""

    features: Features = frozenset()
    """Where it went."""
    compared: Comparisons | None = None
    """What it compared; None where it went nowhere new."""
    steps: int = 0
    """How far it went."""


class CorpusEntry(Protocol):
    """What is kept of an input on which the function is defined."""

    @property
    def look(self) -> ProbeResult:
        """What the probe showed."""


AnEntry = TypeVar("AnEntry", bound=CorpusEntry)


class Overrun(NamedTuple):
    """An access past the end of an object."""

    number: int
    """Of the object, as `list_objects` counts."""
    size: int
    """Bytes that the object would have to have."""


class UndefinedInputError(LLMCompilerError):
    """The reference is not defined on an input; the message says why, in few words that can be counted."""

    def __init__(self, reason: str, overrun: Overrun | None = None, *, null: bool = False) -> None:
        super().__init__(reason)
        self.overrun, self.null = overrun, null
        """`null` where the function may have used a null pointer."""


class Corpus(Generic[AnEntry]):
    """Inputs, each with what `accept` returned for it.

    `look` and `accept` are given an input, the features that are known, and how many steps it may take. Both raise
    Undefined for an input that is of no use; `accept` knows better. `effort` tells what a look cost, in steps.
    """

    def __init__(
        self,
        look: Callable[[Input, set[Feature], int], ProbeResult],
        accept: Callable[[Input, set[Feature], int], AnEntry],
        effort: Callable[[], int] = lambda: 0,
    ) -> None:
        self.entries: dict[Input, AnEntry] = {}
        self.dropped: Counter[str] = Counter()
        """How many different inputs were of no use, by reason."""
        self.repairs: list[tuple[Input, int]] = []
        """Inputs in which an object, by its number, was made just as long as the function needs it."""
        self._look, self._accept, self._effort = look, accept, effort
        self._features: set[Feature] = set()
        self._seen: set[Input] = set()
        self._leads: list[Seed] = []
        self._costs: list[int] = []
        """What the first inputs cost beside their steps."""
        self._dear = 0
        self._tried: set[Input] = set()
        """Leads that were to be taken in."""
        self._takers: dict[Feature, list[Seed]] = {}
        """The leads that take an edge, by that edge."""

    def offer(self, made: Input) -> bool:
        """Take an input in where that can be; whether it is in now. One that is read past its end is repaired."""
        if made not in self._seen:
            self._seen.add(made)
            try:
                self._take(made, self._steps)
            except UndefinedInputError as reason:
                self.dropped[str(reason)] += 1
                self._repair(made, reason)
        return made in self.entries

    def restore(self, inputs: Iterable[Input], dropped: Counter[str]) -> bool:
        """Take in the inputs of an earlier corpus; whether all of them are still of use."""
        self.dropped = dropped
        try:
            for made in inputs:
                self.entries[made] = self._accept(made, self._features, MAX_STEPS)
        except Exception:  # what is wrong, but for the inputs, shows again where others are generated
            return False
        return True

    def explore(self, inputs: st.SearchStrategy[Input], examples: int, random_seed: int) -> None:
        """Take in up to `examples` more inputs of a strategy."""
        wanted = len(self.entries) + examples

        def step(made: Input) -> None:
            before = len(self.entries)
            try:
                self.offer(made)
            except Exception as fault:
                raise _SearchDoneError from fault
            if len(self.entries) >= wanted:
                raise _SearchDoneError
            assume(made in self.entries or len(self.entries) > before)

        if examples:
            _search(inputs, step, 2 * examples, random_seed, (Phase.generate,))

    def fuzz(self, examples: int, random_seed: int, words: Iterable[bytes]) -> None:
        """Change inputs that showed something new, towards what they were compared with and at random. Of those that
        show more, up to `examples` are taken in. `words` are texts that the program knows."""
        mutator = Mutator(random_seed, words)
        for found in self._leads:
            mutator.learn(found.compared)
        choose = random.Random(random_seed)
        first = len(self._leads)
        left = _TRIALS * examples * 2 * _TRIAL if self._leads else 0
        while left > 0:
            made = mutator.changed(self._start(choose), choose.choice(self._leads).made)
            if made not in self._seen and self._try(made):
                mutator.learn(self._leads[-1].compared)
            left -= _TRIAL + self._effort()
        self._take_best(self._leads[first:], len(self.entries) + examples)

    def lengthen(self) -> None:
        """Take in an input that is longer than 16 bits can count, made from one of those that go round most often."""

        def rounds(one: Seed) -> int:
            return max((often for kind, _, often in one.features if kind == "edge"), default=0)

        for one in sorted(self._leads, key=rounds, reverse=True)[:_LONG_TRIALS]:
            made = lengthen_text(one, _LONG)
            if made is not None and self._is_cheap(made) and self._take_if_defined(made, MAX_STEPS):
                return

    def settle(self) -> None:
        """Let go of what only making inputs needs."""
        self._features, self._seen, self._tried, self._leads, self._takers = set(), set(), set(), [], {}

    def _is_cheap(self, made: Input) -> bool:
        """Whether a run on an input costs little beside its own steps."""
        with contextlib.suppress(UndefinedInputError):
            look = self._look(made, self._features, MAX_STEPS)
            return not self._is_dear(self._effort() - look.steps)
        return False

    def _start(self, choose: random.Random) -> Seed:
        """A lead to change: one of the latest, or one that takes an edge, whichever edge that is."""
        if not self._takers or choose.random() < 0.5:
            return self._leads[max(choose.randrange(len(self._leads)) for _ in range(2))]
        takers = self._takers[choose.choice(list(self._takers))]
        return takers[max(choose.randrange(len(takers)) for _ in range(2))]

    def _try(self, made: Input) -> bool:
        """Follow an input that shows something new; whether it does."""
        self._seen.add(made)
        with contextlib.suppress(UndefinedInputError):
            look = self._look(made, self._features, self._steps)
            news = {kind for kind, _, _ in look.features - self._features}
            if look.compared and (len(self._leads) < _MOST_LEADS or news != {"path"}):
                self._follow(made, look.features, look.compared)
                return True
        return False

    def _take_best(self, found: Sequence[Seed], wanted: int) -> None:
        """Take leads in until there are so many inputs: those that take a new edge or turn a comparison in a new way;
        then, for whichever edge the fewest inputs take, the latest that takes it too."""
        counts: Counter[Feature] = Counter()
        for entry in self.entries.values():
            counts.update(_ways(entry.look.features))
        rest: dict[Feature, list[Seed]] = {}
        for one in found:
            if any(not counts[way] for way in _ways(one.features)):
                self._take_lead(one, counts)
            else:
                for way in _ways(one.features):
                    rest.setdefault(way, []).append(one)
            if len(self.entries) >= wanted:
                return
        while rest and len(self.entries) < wanted:
            rarest = min(rest, key=lambda way: (counts[way], way))
            one = rest[rarest].pop()
            if not rest[rarest]:
                del rest[rarest]
            self._take_lead(one, counts)

    def _take_lead(self, one: Seed, counts: Counter[Feature]) -> None:
        if one.made in self.entries or one.made in self._tried:
            return
        self._tried.add(one.made)
        with contextlib.suppress(UndefinedInputError):
            self.entries[one.made] = self._accepted(one.made, MAX_STEPS)
            counts.update(_ways(one.features))

    @property
    def _steps(self) -> int:
        """How far an input may go: far, until there are some; then what the shortest took sets the measure."""
        if len(self.entries) < _FIRST:
            return MAX_STEPS
        least = min(entry.look.steps for entry, _ in zip(self.entries.values(), range(_FIRST)))
        return max(_STEPS, 2 * least)

    def _take(self, made: Input, steps: int) -> None:
        entry = self.entries[made] = self._accepted(made, steps)
        if entry.look.compared:
            self._follow(made, entry.look.features, entry.look.compared)

    def _accepted(self, made: Input, steps: int) -> AnEntry:
        """What is kept of an input. Of those that cost much beside their own steps there are few."""
        entry = self._accept(made, self._features, steps)
        cost = self._effort() - entry.look.steps
        if len(self._costs) < _FIRST:
            self._costs.append(cost)
        if self._is_dear(cost):
            if self._dear >= _FIRST:
                raise UndefinedInputError("runs too long")
            self._dear += 1
        return entry

    def _is_dear(self, cost: int) -> bool:
        """Whether a run costs much beside its own steps, also by the measure of the first inputs."""
        return cost >= max(_CHEAP, 2 * min(self._costs, default=0))

    def _follow(self, made: Input, features: Features, compared: Comparisons) -> None:
        self._features |= features
        self._leads.append(make_seed(made, features, compared))
        for way in _ways(features):
            self._takers.setdefault(way, []).append(self._leads[-1])

    def _repair(self, made: Input, reason: UndefinedInputError) -> None:
        """Take in an input like one that is not defined, where a small change makes it so."""
        if reason.null:
            self._take_if_defined(close_rings(made))
        elif reason.overrun and not self._take_if_defined(append_terminator(made, reason.overrun.number)):
            self._fit(made, reason.overrun)

    def _take_if_defined(self, made: Input | None, steps: int = 0) -> bool:
        if made is None or made in self._seen:
            return False
        self._seen.add(made)
        try:
            self._take(made, steps or self._steps)
        except UndefinedInputError:
            return False
        return True

    def _fit(self, made: Input, overrun: Overrun) -> None:
        """Take the input in with the least size of the buffer that it takes."""
        number = overrun.number
        if len(self.repairs) >= _MOST_REPAIRS:
            return
        low, high = list_objects(made)[number].count, self._enough(made, overrun)
        if high is None:
            return
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._is_defined(resize_object(made, number, middle)) else (middle, high)
        fitted = resize_object(made, number, high)
        if self._take_if_defined(fitted):
            self.repairs.append((fitted, number))

    def _enough(self, made: Input, overrun: Overrun) -> int | None:
        """A number of elements that is not too small for a buffer, where there is one."""
        size = max(list_objects(made)[overrun.number].element.size, 1)
        needed = overrun.size
        for _ in range(_GROWTHS):
            count = 2 * -(-needed // size)
            if count * size > MAX_OBJECT_BYTES:
                return None
            try:
                self._look(resize_object(made, overrun.number, count), self._features, self._steps)
            except UndefinedInputError as reason:
                if reason.overrun is None or reason.overrun.number != overrun.number:
                    return None
                needed = reason.overrun.size
            else:
                return count
        return None

    def _is_defined(self, made: Input) -> bool:
        try:
            self._look(made, self._features, self._steps)
        except UndefinedInputError:
            return False
        return True


def _ways(features: Features) -> list[Feature]:
    """The edges that were taken, however often, and the ways in which comparisons turned out."""
    edges = {(kind, at, 0) for kind, at, _ in features if kind == "edge"}
    return sorted(edges | {feature for feature in features if feature[0] in ("relation", "text", "letter")})


class _SearchDoneError(BaseException):
    """Ends a hypothesis search from within the test function. Its cause is the fault of the harness, if there is one.

    The base is BaseException, not LLMCompilerError, on purpose: hypothesis takes an Exception for a failing example and
    goes on to shrink it, but lets a BaseException through at once.
    """


def shrink(
    inputs: st.SearchStrategy[Input],
    first: Input,
    examples: int,
    random_seed: int,
    fails: Callable[[Input], bool],
    most: int = 600,
) -> Input:
    """The smallest input found on which `fails` is true, starting anew from the seed that the corpus had.

    `fails` is called `most` times at the most, so that the answer does not depend on the speed of the machine.
    `first` is returned where nothing smaller turns up.
    """
    best = first
    calls = 0
    seen: dict[Input, bool] = {}

    def is_failing(made: Input) -> bool:
        nonlocal calls
        if made not in seen:
            calls += 1
            if calls > most:
                raise _SearchDoneError
            try:
                seen[made] = fails(made)
            except Exception as fault:
                raise _SearchDoneError from fault
        return seen[made]

    def step(made: Input) -> None:
        nonlocal best
        if is_failing(made):
            best = made
            raise AssertionError

    with contextlib.suppress(AssertionError):
        _search(inputs, step, 2 * examples, random_seed, (Phase.generate, Phase.shrink))
    if weight(best) > weight(first):
        best = first
    # Of numbers that are drawn from a list, as those that the program itself holds, hypothesis tries no smaller ones.
    with _told_apart():
        while simple := next(filter(is_failing, generate_simpler(best)), None):
            best = simple
    return best


def weight(made: Input) -> tuple[int, int]:
    """How much there is to read in an input: bytes of buffers, and the sizes of its numbers."""
    total = sum(len(target.data) for target in list_objects(made))
    numbers = sum(int.from_bytes(value.data, "little").bit_length() for value in made.args)
    return total, numbers


def _search(
    inputs: st.SearchStrategy[Input],
    step: Callable[[Input], None],
    examples: int,
    random_seed: int,
    phases: tuple[Phase, ...],
) -> None:
    @seed(random_seed)
    @settings(
        max_examples=examples,
        backend=BACKEND,
        phases=phases,
        database=None,  # what an earlier session found must not decide: the same sample gets the same verdict
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def run(made: Input) -> None:
        step(made)

    with _told_apart(), contextlib.suppress(Unsatisfiable):
        run()


@contextlib.contextmanager
def _told_apart() -> Iterator[None]:
    """What ends with _Enough has ended, unless a fault was the cause: that is raised."""
    try:
        yield
    except _SearchDoneError as end:
        if end.__cause__:
            raise end.__cause__ from None
