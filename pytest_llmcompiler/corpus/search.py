"""Running hypothesis as a generator: a search that a step can end, and that keeps nothing between runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from pytest_llmcompiler.corpus.provider import BACKEND, ignore_local_constants

_MAX_USELESS, _MAX_USELESS_PER_USEFUL = 458, 100
"""Drawn inputs on which a function is not defined, and how many more of them for each other one: with more it is almost
certain that fewer than one input in a hundred is of use (hypothesis gives up at these numbers too)."""
_MAX_REPEATED = 100
"""Inputs in a row that were drawn before. Then a function has hardly any others."""

ValueT = TypeVar("ValueT")


class SearchDoneError(BaseException):
    """Ends a hypothesis search from within the test function. Its cause is the fault of the harness, if there is one.

    The base is BaseException, not LLMCompilerError, on purpose: hypothesis takes an Exception for a failing example and
    goes on to shrink it, but lets a BaseException through at once.
    """


def run_search(
    strategy: st.SearchStrategy[ValueT],
    step: Callable[[ValueT], None],
    examples: int,
    random_seed: int,
    phases: tuple[Phase, ...],
) -> None:
    """Call `step` with up to `examples` values of a strategy. `step` ends the search with a SearchDoneError.

    An AssertionError of `step` makes hypothesis shrink the value, if `phases` has the shrink phase. It is raised from
    here in the end.
    """

    @seed(random_seed)
    @settings(
        max_examples=examples,
        backend=BACKEND,
        phases=phases,
        database=None,  # results of an earlier session must not matter: the same sample gets the same verdict
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def run(value: ValueT) -> None:
        step(value)

    with end_search(), contextlib.suppress(Unsatisfiable), ignore_local_constants():
        run()


@contextlib.contextmanager
def end_search() -> Iterator[None]:
    """Swallow the SearchDoneError that ends a search. If it has a cause, raise the cause instead."""
    try:
        yield
    except SearchDoneError as end:
        if end.__cause__:
            raise end.__cause__ from None


class Exploration:
    """Tells when enough inputs were drawn: all are there, or further ones are not worth their time."""

    def __init__(self, first: int, examples: int) -> None:
        self.first, self._examples = first, examples
        """The number of entries at the beginning."""
        self._useful = self._useless = self._repeated = 0

    def is_done(self, entries: int, is_useful: bool, is_new: bool) -> bool:
        """Whether to stop after an input. `is_useful` says that it, or a repaired one, is an entry now."""
        self._useful += is_useful
        self._useless += not is_useful
        self._repeated = 0 if is_new else self._repeated + 1
        return (
            entries >= self.first + self._examples
            or self._useful >= 2 * self._examples
            or self._useless > _MAX_USELESS + _MAX_USELESS_PER_USEFUL * self._useful
            or self._repeated >= _MAX_REPEATED
        )
