"""Running hypothesis as a generator: a search that a step can end, and that keeps nothing between runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from pytest_llmcompiler.corpus.provider import BACKEND, ignore_local_constants
from pytest_llmcompiler.values.input import Input


class SearchDoneError(BaseException):
    """Ends a hypothesis search from within the test function. Its cause is the fault of the harness, if there is one.

    The base is BaseException, not LLMCompilerError, on purpose: hypothesis takes an Exception for a failing example and
    goes on to shrink it, but lets a BaseException through at once.
    """


def run_search(
    strategy: st.SearchStrategy[Input],
    step: Callable[[Input], None],
    examples: int,
    random_seed: int,
    phases: tuple[Phase, ...],
) -> None:
    """Call `step` with up to `examples` inputs of a strategy. `step` ends the search with a SearchDoneError.

    An AssertionError of `step` makes hypothesis shrink the input, if `phases` has the shrink phase. It is raised from
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
    def run(input: Input) -> None:
        step(input)

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
