"""Mending inputs of functions with preconditions that nobody wrote down.

`while (*p != ':') p++;` is defined on texts with a colon, `int **grid, int n` wants n rows of n. Few drawn inputs are
so, and one repair is not enough. So where most inputs are dropped, small changes are tried one after the other. A
change is kept if the function gets further with it, which is to say that its run takes more steps. Example, for the
sum of `grid[i][j]` with n = 2, one row and no elements:

    run ends at            change that is kept                                steps
    grid[0], past grid     grid gets two elements, both null                  3
    *grid[0], null         both pointers lead to rows of four elements        9, defined
    -                      both rows get shorter until one element is missed  two elements each

An input on which the function is defined is all that comes of this: what a candidate must do is still the reference's
to say.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from pytest_llmcompiler.corpus.budget import Budget
from pytest_llmcompiler.corpus.input_edits import (
    append_element,
    change_numbers,
    fill_null_pointers,
    set_last_element,
)
from pytest_llmcompiler.corpus.input_numbers import InputNumber, InputNumbers, set_number
from pytest_llmcompiler.corpus.probing import Overrun, UndefinedInputError
from pytest_llmcompiler.corpus.relations import ObjectEnd
from pytest_llmcompiler.corpus.repair import close_rings, resize_object
from pytest_llmcompiler.emulator.coverage import ComparedOperands, Comparisons
from pytest_llmcompiler.values.c_types import Int, Pointer
from pytest_llmcompiler.values.input import Alias, Input, Links, Object, graft_argument, list_objects

_LEAST_DROPPED = 16
"""Dropped inputs from which on a function may need help: fewer can be chance."""
_MAX_RUNS, _MAX_MENDED = 3_000, 40
"""Runs of the probe for one corpus, and inputs that are mended. A run takes some 0.3 ms: a second in all."""
_MAX_FAILURES = 60
"""Inputs in a row that no change mends. Then no further one is tried."""
_MAX_ROUNDS = 16
"""Changes of one input that are kept, one after the other."""
_MAX_GROWN_BYTES = 256
"""Size up to which objects are lengthened, in bytes. A search without an end runs through longer ones for nothing."""
_MAX_STEPS_SHARE = 0.1
"""The share of the budget that the runs may cost, since inputs that need no help come after."""
_MAX_END_VALUES = 8
"""Compared values that are tried at the end of an object."""

_LARGE, _MAX_REDUCED = 16, 7
"""Arguments above the first number are replaced by small ones, up to the second number."""
_MAX_GROWTHS = 5
"""How often the objects of one input are lengthened."""
_MAX_PAIRED = 4
"""Values of which two are tried at the end of an object: those that were compared most often."""


@dataclass(frozen=True)
class _Failure:
    """A run on an input on which the function is not defined."""

    error: UndefinedInputError
    steps: int
    comparisons: Comparisons


class _Change(NamedTuple):
    """A changed input."""

    kind: str
    """What was changed. Kinds that helped before are tried first."""
    input: Input
    tail: ObjectEnd | None = None
    """What an object ends with now, if this is the change."""
    must_mend: bool = False
    """Whether the change is kept only if the function is defined then: it gets further with any longer object."""

    @property
    def rank(self) -> tuple[str, ObjectEnd | None]:
        """What changes are ordered by."""
        return self.kind, self.tail


class Mender:
    """Mends inputs with the help of the corpus.

    `probe` and `add_if_defined` are as for a `Repairer`. `effort` and `comparisons` tell of the probe's last run, how
    long it was and what it compared, also where it failed. `restricted` are the positions of the `restrict` parameters.
    """

    def __init__(
        self,
        probe: Callable[[Input], object],
        add_if_defined: Callable[[Input], bool],
        effort: Callable[[], int],
        comparisons: Callable[[], Comparisons],
        budget: Budget,
        restricted: Collection[int],
    ) -> None:
        self._probe, self._add_if_defined = probe, add_if_defined
        self._effort, self._comparisons, self._budget = effort, comparisons, budget
        self._restricted = restricted
        self._cost_left = int(_MAX_STEPS_SHARE * budget.total)
        self._runs_left, self._failures = _MAX_RUNS, 0
        self.mended = 0
        """Inputs that were mended and added."""
        self._successes: Counter[tuple[str, ObjectEnd | None]] = Counter()
        self.fitted: list[tuple[Input, int]] = []
        """Mended inputs in which an object, by its number, has the least number of elements that is needed."""
        self.ends: list[tuple[Input, int, ObjectEnd]] = []
        """Mended inputs in which an object, by its number, ends with what ends a search."""
        self._known_values: dict[int, Counter[bytes]] = defaultdict(Counter)
        """Values that were compared with elements, by their size in bytes: two of them may end a search together."""

    def is_needed(self, entries: int, dropped: int) -> bool:
        """Whether so few of the inputs are of use that further ones are worth mending."""
        is_scarce = dropped >= _LEAST_DROPPED and 2 * dropped > 3 * (entries - self.mended)
        is_promising = self._failures < _MAX_FAILURES * (1 + self.mended)
        return is_scarce and is_promising and self._may_run and self.mended < _MAX_MENDED

    @property
    def _may_run(self) -> bool:
        return self._runs_left > 0 and self._cost_left > 0

    def mend(self, input: Input) -> None:
        """Add an input like this one, if some changes make the function defined on it."""
        failure = self._try(input)
        if failure is not None and (smaller := _reduce_arguments(input)) != input:
            input, failure = smaller, self._try(smaller)
        grown: set[int] = set()
        ended: dict[int, ObjectEnd] = {}
        edges, growths = frozenset[int](), 0
        self._failures += 1
        for _ in range(_MAX_ROUNDS):
            if failure is None:
                self._finish(input, grown, ended)
                return
            if growths > _MAX_GROWTHS:
                return
            edges |= failure.error.edges
            kept = self._find_progress(input, failure, edges)
            if kept is None:
                return
            change, failure_now = kept
            growths += change.kind == "grow"
            if failure.error.overrun and change.kind == "grow":
                grown.add(failure.error.overrun.object_number)
            elif failure.error.overrun and change.tail:
                ended[failure.error.overrun.object_number] = change.tail
            elif change.kind in ("fill", "join"):  # which renumbers the objects
                grown.clear()
                ended.clear()
            input, failure = change.input, failure_now

    def _find_progress(
        self, input: Input, failure: _Failure, edges: frozenset[int]
    ) -> tuple[_Change, _Failure | None] | None:
        """The first change with which the function gets further, with the failure of its run. `edges`: those so far."""
        changes = sorted(self._propose(input, failure), key=lambda change: -self._successes[change.rank])
        for change in changes:
            if not self._may_run:
                return None
            result = self._try(change.input)
            if result is None or (not change.must_mend and _is_further(result, failure, edges, change.kind)):
                self._successes[change.rank] += result is None
                return change, result
        return None

    def _propose(self, input: Input, failure: _Failure) -> Iterator[_Change]:
        """Changes after which the function may get further, the likeliest first."""
        overrun = failure.error.overrun
        if overrun:
            target = list_objects(input)[overrun.object_number]
            known = self._known_values[target.element.size]
            for change in _end_object(input, overrun.object_number, failure.comparisons):
                if change.tail:
                    known[change.tail[1]] += 1
                yield change
            if isinstance(target.element, Int) and target.count:
                yield from _end_with_pair(
                    input, overrun.object_number, [value for value, _ in known.most_common(_MAX_PAIRED)]
                )
            yield from _grow(input, overrun)
        else:
            for kind, changed in (("ring", close_rings(input)), ("fill", fill_null_pointers(input))):
                if changed is not None:
                    yield _Change(kind, changed)
        for changed in _join_pointers(input, self._restricted):
            yield _Change("join", changed)
        yield from _change_numbers(input)

    def _try(self, input: Input) -> _Failure | None:
        """How a run fails; None where the function is defined on the input."""
        spent = self._budget.spent
        try:
            self._probe(input)
        except UndefinedInputError as error:
            return _Failure(error, self._effort(), self._comparisons())
        finally:
            self._runs_left -= 1
            self._cost_left -= self._budget.spent - spent
        return None

    def _finish(self, input: Input, grown: set[int], ended: Mapping[int, ObjectEnd]) -> None:
        """Add a mended input, with the objects that were lengthened no longer than they must be."""
        for number in sorted(grown - ended.keys()):
            input = self._shorten(input, number)
        if not self._add_if_defined(input):
            return
        self.mended, self._failures = self.mended + 1, 0
        self.fitted += [(input, number) for number in sorted(grown - ended.keys())]
        self.ends += [(input, number, tail) for number, tail in sorted(ended.items())]

    def _shorten(self, input: Input, number: int) -> Input:
        """The input with the least number of elements in an object and in those beside it."""
        too_few, enough = 0, list_objects(input)[number].count
        while enough - too_few > 1:
            middle = (too_few + enough) // 2
            is_enough = self._try(_resize(input, number, middle)) is None
            too_few, enough = (too_few, middle) if is_enough else (middle, enough)
        return _resize(input, number, enough)


def _is_further(now: _Failure, before: _Failure, edges: frozenset[int], kind: str) -> bool:
    """Whether a run got further than another: it took an edge that is not among `edges`, or more steps, or as many
    steps and needs another size. Of an end of a search only an edge tells, since any other end makes it go on."""
    if now.error.edges - edges or kind == "end":
        return bool(now.error.edges - edges)
    if now.steps != before.steps:
        return now.steps > before.steps
    return now.error.overrun != before.error.overrun and now.error.overrun is not None


def _reduce_arguments(input: Input) -> Input:
    """The input with small numbers in the place of large arguments: what they count is easier to give."""
    for number in InputNumbers(input).list_direct():
        if number.kind == "arg" and number.value > _LARGE and number.type.size > 1 and not number.type.enumerators:
            input = set_number(input, number, 1 + number.value % _MAX_REDUCED)
    return input


def _join_pointers(input: Input, restricted: Collection[int]) -> Iterator[Input]:
    """The input with an argument that leads to the end of the buffer of an earlier one of the same type."""
    for position, value in enumerate(input.args):
        for earlier, first in enumerate(input.args[:position]):
            if {earlier, position} & set(restricted):
                continue
            if first.type == value.type and first.links and isinstance(first.links[0][1], Object):
                buffer = first.links[0][1]
                args = list(input.args)
                args[position] = replace(value, data=bytes(8), links=())
                without = graft_argument(input, replace(input, args=tuple(args)), position)
                number = next(at for at, target in enumerate(list_objects(input)) if target is buffer)
                end = Alias(buffer.element, number, len(buffer.data))
                args = list(without.args)
                args[position] = replace(args[position], links=((0, end),))
                yield replace(without, args=tuple(args))


def _change_numbers(input: Input) -> Iterator[_Change]:
    """The input with all integers of its objects changed by one rule."""
    counts = [target.count for target in list_objects(input) if target.count > 1]
    bound = min(counts, default=1)
    for kind, value in _NUMBER_RULES.items():
        changed = change_numbers(input, lambda number, at, value=value: value(number, at, bound))  # type: ignore[misc]
        if changed != input:
            yield _Change(kind, changed)


_NUMBER_RULES: dict[str, Callable[[InputNumber, int, int], int]] = {
    "indices": lambda number, _, bound: number.value % bound,
    "earlier indices": lambda number, at, _: number.value % (at + 1),
    "positive": lambda number, _, bound: 1 + number.value % bound,
    "ascending": lambda _, at, bound: at % (bound + 1),
}
"""What all integers of the input's objects become, by the integer, its place in its object, and the number of elements
of the shortest object: indices into any object, links to earlier elements, divisors, tables of offsets."""


def _grow(input: Input, overrun: Overrun) -> Iterator[_Change]:
    target = list_objects(input)[overrun.object_number]
    size = max(target.element.size, 1)
    if isinstance(target.element, Pointer) or target.links:  # further elements are null, and null may be their end
        ended = append_element(input, overrun.object_number, bytes(size))
        yield _Change("end", ended, (size, bytes(size)), must_mend=True)
    needed = -(-overrun.needed_bytes // size)
    if needed * size <= _MAX_GROWN_BYTES:
        count = min(2 * needed, _MAX_GROWN_BYTES // size)
        yield _Change("grow", _resize(input, overrun.object_number, count, may_shorten=False))


def _resize(input: Input, number: int, count: int, *, may_shorten: bool = True) -> Input:
    """The input with `count` elements in an object, and in those of the same type beside it: the rows of an array of
    pointers are as long as each other."""
    objects = list_objects(input)
    for sibling in _find_siblings(objects, objects[number]):
        if may_shorten or objects[sibling].count < count:
            input = resize_object(input, sibling, count)
    return input


def _find_siblings(objects: list[Object], target: Object) -> list[int]:
    """The numbers of the objects that the same array of pointers leads to, with that of the object itself."""
    numbers = {id(one): number for number, one in enumerate(objects)}

    def is_array_with(links: Links) -> bool:
        return any(to is target for _, to in links)

    for owner in objects:
        if isinstance(owner.element, Pointer) and is_array_with(owner.links):
            return [numbers[id(to)] for _, to in owner.links if isinstance(to, Object) and to.element == target.element]
    return [numbers[id(target)]]


def _end_object(input: Input, number: int, comparisons: Comparisons) -> Iterator[_Change]:
    """The object with a value at its end that the function has compared with a value of the object: the values of the
    last element first, since a search that runs past the end has looked at these last."""
    target = list_objects(input)[number]
    if not target.count:
        return
    start = (target.count - 1) * target.element.size
    inside = [one for one in InputNumbers(input) if one.kind == "object" and one.owner == number]
    last = [one for one in inside if one.offset >= start] or _read_last(number, target)
    tried: set[tuple[int, bytes]] = set()
    for part in last:
        others = [one for one in inside if (one.offset - part.offset) % target.element.size == 0]
        for value in _compared_with([part, *others], comparisons):
            data = (value % (1 << 8 * part.type.size)).to_bytes(part.type.size, "little")
            if (part.offset, data) in tried or len(tried) >= _MAX_END_VALUES:
                continue
            tried.add((part.offset, data))
            at = part.offset - start
            yield _Change("end", set_last_element(input, number, at, data), (target.element.size - at, data))


def _end_with_pair(input: Input, number: int, values: list[bytes]) -> Iterator[_Change]:
    """The object with two values at its end: the second one is often looked at behind the first one only (`*/`)."""
    for first, second in itertools.product(values, repeat=2):
        with_first = set_last_element(input, number, 0, first)
        yield _Change(
            "end", append_element(with_first, number, second), (len(first + second), first + second), must_mend=True
        )


def _read_last(number: int, target: Object) -> list[InputNumber]:
    """The last element, where it lies behind the numbers that are looked at."""
    if not isinstance(target.element, Int):
        return []
    start = (target.count - 1) * target.element.size
    return [
        InputNumber("object", number, start, target.element, int.from_bytes(target.data[start:], "little")),
    ]


def _compared_with(numbers: list[InputNumber], comparisons: Comparisons) -> Iterator[int]:
    """The values that were compared with one of some integers, those of the first integer first."""
    for number in numbers:
        for pair in comparisons.comparisons:
            if _is_side(number, pair.first, pair):
                yield pair.second
            elif _is_side(number, pair.second, pair):
                yield pair.first


def _is_side(number: InputNumber, side: int, pair: ComparedOperands) -> bool:
    """Whether an integer, or the wider one that it was promoted to, is a side of a comparison."""
    if pair.size < number.type.size:
        return False
    bits = 8 * number.type.size
    is_negative = number.type.signed and number.value >> (bits - 1)
    return side == (number.value - (1 << bits) if is_negative else number.value) % (1 << 8 * pair.size)
