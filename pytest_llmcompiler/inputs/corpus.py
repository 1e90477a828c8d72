"""The corpus of a function: inputs on which it is defined, generated once and used for every sample."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeVar

from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from pytest_llmcompiler.inputs.value import Input, Object

Entry = TypeVar("Entry")


class Undefined(Exception):
    """The reference is not defined on an input; the message says why, in few words that can be counted."""


class Corpus(Generic[Entry]):
    """Inputs, each with what `accept` returned for it. `accept` raises Undefined for an input that is of no use."""

    def __init__(self, accept: Callable[[Input], Entry]) -> None:
        self.entries: dict[Input, Entry] = {}
        self.dropped: Counter[str] = Counter()
        """How many different inputs were of no use, by reason."""
        self._accept = accept
        self._seen: set[Input] = set()

    def offer(self, made: Input) -> bool:
        """Take an input in where that can be; whether it is in now."""
        if made not in self._seen:
            self._seen.add(made)
            try:
                self.entries[made] = self._accept(made)
            except Undefined as reason:
                self.dropped[str(reason)] += 1
        return made in self.entries

    def explore(self, inputs: st.SearchStrategy[Input], examples: int, random_seed: int) -> None:
        """Take in up to `examples` more inputs of a strategy."""
        wanted = len(self.entries) + examples

        def step(made: Input) -> None:
            try:
                taken = self.offer(made)
            except Exception as fault:
                raise _Enough from fault
            assume(taken)
            if len(self.entries) >= wanted:
                raise _Enough

        _search(inputs, step, 2 * examples, random_seed, (Phase.generate,))


class _Enough(BaseException):
    """Ends a search from within; hypothesis lets it through at once. Its cause is a fault of the harness, if any."""


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

    def step(made: Input) -> None:
        nonlocal best, calls
        if made not in seen:
            calls += 1
            if calls > most:
                raise _Enough
            try:
                seen[made] = fails(made)
            except Exception as fault:
                raise _Enough from fault
        if seen[made]:
            best = made
            raise AssertionError

    with contextlib.suppress(AssertionError):
        _search(inputs, step, 2 * examples, random_seed, (Phase.generate, Phase.shrink))
    return best if weight(best) <= weight(first) else first


def weight(made: Input) -> tuple[int, int]:
    """How much there is to read in an input: bytes of buffers, and the sizes of its numbers."""
    total = sum(len(target.data) for target in _objects(made))
    numbers = sum(int.from_bytes(value.data, "little").bit_length() for value in made.args)
    return total, numbers


def _objects(made: Input) -> list[Object]:
    found: list[Object] = []
    todo = [target for value in made.args for _, target in value.links]
    while todo:
        target = todo.pop()
        if isinstance(target, Object):
            found.append(target)
            todo += [inner for _, inner in target.links]
    return found


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
        phases=phases,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def run(made: Input) -> None:
        step(made)

    try:
        with contextlib.suppress(Unsatisfiable):
            run()
    except _Enough as end:
        if end.__cause__:
            raise end.__cause__ from None
