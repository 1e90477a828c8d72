"""Shrinking: looking for a smaller input on which a candidate still fails."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.control import BuildContext
from hypothesis.errors import UnsatisfiedAssumption
from hypothesis.internal.conjecture.data import ConjectureData
from hypothesis.internal.conjecture.engine import ConjectureRunner
from hypothesis.internal.conjecture.shrinker import sort_key
from hypothesis.internal.escalation import InterestingOrigin

from pytest_llmcompiler.corpus.input_numbers import InputNumber, InputNumbers, set_number
from pytest_llmcompiler.corpus.provider import BACKEND, ignore_local_constants
from pytest_llmcompiler.corpus.search import SearchDoneError, end_search
from pytest_llmcompiler.corpus.text_shrink import generate_simpler_texts
from pytest_llmcompiler.values.input import Input, find_standard_input, list_objects, set_standard_input

_MAX_CALLS = 600
"""Runs of the candidate in one search. The limit is no time, so that the result does not depend on the machine."""
_SMALL_NUMBER = 255
"""Numbers up to this are left as they are. They are easy to read, and often count elements, which would have to change
with them."""


def shrink(
    strategy: st.SearchStrategy[Input],
    first: Input,
    examples: int,
    random_seed: int,
    fails: Callable[[Input], bool],
    max_calls: int = _MAX_CALLS,
) -> Input:
    """The smallest input found on which `fails` is true; `first` if there is no smaller one.

    The search first draws inputs again, with the strategy and the random seed of the corpus, and lets hypothesis shrink
    the first one that fails. Where none fails, they get numbers of `first`. Then the search moves single numbers nearer
    to zero: hypothesis itself can't do so for numbers that a strategy takes from a list, such as the constants of the
    program. At most `max_calls` calls of `fails`.
    """
    is_failing = _LimitedCheck(fails, max_calls)
    search = _Search(strategy, is_failing)
    with end_search():
        search.run(examples, random_seed)
    if search.best is None:
        search = _Search(strategy.map(functools.partial(_copy_numbers, first)), is_failing)
        with end_search():
            search.run(examples, random_seed)
    best = first if search.best is None or weight(search.best) > weight(first) else search.best
    with end_search():
        while simpler := next(filter(is_failing, _generate_simpler(best)), None):
            best = simpler
    return best


@functools.cache
def warm_up_shrinking() -> None:
    """Shrink something. The first search of a process loads modules of hypothesis: forked children inherit them."""
    _Search(st.just(Input(())), lambda input: True).run(1, 0)


class _Search:
    """A search of hypothesis for an input that fails, and for the smallest one that it can shrink it to.

    The engine of hypothesis is used without `given`. Around a search, that looks at the source of the test, and repeats
    the failing test for its report, which takes longer than most searches.
    """

    _ORIGIN = InterestingOrigin(AssertionError, None, None, (), ())
    """All failures are the same one to hypothesis."""

    def __init__(self, strategy: st.SearchStrategy[Input], is_failing: Callable[[Input], bool]) -> None:
        self._strategy, self._is_failing = strategy, is_failing
        self.best: Input | None = None
        """The failing input that is the smallest one by hypothesis's order of the choices that draw it."""
        self._best_key: tuple[int, tuple[int, ...]] | None = None

    def run(self, examples: int, random_seed: int) -> None:
        """Draw up to twice as many inputs, and shrink the first one that fails."""
        runner = ConjectureRunner(self._test, settings=_search_settings(2 * examples), random=Random(random_seed))
        with ignore_local_constants():
            runner.run()

    def _test(self, data: ConjectureData) -> None:
        try:
            with BuildContext(data, wrapped_test=self._test):
                input = data.draw(self._strategy)
        except UnsatisfiedAssumption:  # a strategy gives up on its choices: that of narrow floats on wide ones
            data.mark_invalid()
        if not self._is_failing(input):
            return
        key = sort_key(data.nodes)
        if self._best_key is None or key < self._best_key:
            self.best, self._best_key = input, key
        data.mark_interesting(self._ORIGIN)


@functools.cache
def _search_settings(examples: int) -> settings:
    return settings(
        max_examples=examples,
        backend=BACKEND,
        phases=(Phase.generate, Phase.shrink),
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


class _LimitedCheck:
    """Whether a candidate fails on an input. Each input is run once, and the search ends above a number of runs."""

    def __init__(self, fails: Callable[[Input], bool], max_calls: int) -> None:
        self._fails = fails
        self._calls_left = max_calls
        self._results: dict[Input, bool] = {}

    def __call__(self, input: Input) -> bool:
        """Raises SearchDoneError where no run is left, and for an exception of `fails`."""
        if input not in self._results:
            if self._calls_left <= 0:
                raise SearchDoneError
            self._calls_left -= 1
            try:
                self._results[input] = self._fails(input)
            except Exception as fault:
                raise SearchDoneError from fault
        return self._results[input]


def weight(input: Input) -> tuple[int, int]:
    """The size of an input as a reader sees it: bytes of all objects, then bits of all arguments that are numbers."""
    size = sum(len(target.data) for target in list_objects(input))
    bits = sum(int.from_bytes(value.data, "little").bit_length() for value in input.args)
    return size, bits


def _copy_numbers(first: Input, input: Input) -> Input:
    """An input with the large numbers of another one in its arguments and global variables; with all, where none is
    large. The strategy may never draw them: they were found by mutation, or made for one candidate."""
    numbers = InputNumbers(first).list_direct()
    large = [number for number in numbers if abs(_to_signed(number)) > _SMALL_NUMBER]
    places = {_describe_place(input, number) for number in InputNumbers(input).list_direct()}
    for number in large or numbers:
        if _describe_place(first, number) in places:
            input = set_number(input, number, number.value)
    return input


def _describe_place(input: Input, number: InputNumber) -> tuple[object, ...]:
    variable = input.globals[number.owner][0] if number.kind == "global" else ""
    return number.kind, number.owner, variable, number.offset, number.type


def _to_signed(number: InputNumber) -> int:
    bits = 8 * number.type.size
    return number.value - (1 << bits if number.type.signed and number.value >> (bits - 1) else 0)


def _generate_simpler(input: Input) -> Iterator[Input]:
    """Inputs with a shorter text of standard input, inputs with one global variable less, then inputs with one large
    number nearer to zero, the nearest first."""
    for text in generate_simpler_texts(find_standard_input(input) or b""):
        yield set_standard_input(input, text)
    for index, (_, variable) in enumerate(input.globals):
        if not variable.links:  # aliases elsewhere may lead to the objects of this variable
            yield replace(input, globals=input.globals[:index] + input.globals[index + 1 :])
    for number in InputNumbers(input):
        value = _to_signed(number)
        magnitude, sign = abs(value), 1 if value > 0 else -1
        if magnitude > _SMALL_NUMBER:
            for shift in range(magnitude.bit_length()):
                yield set_number(input, number, sign * (magnitude - (magnitude >> shift)))
