"""The second look at a candidate that runs natively: the engine can't run it, so each input is a run of two machines.

Inputs are those of the reserve, and inputs with some numbers changed, as in `engine/look.c`; there are fewer of them,
and none is followed by the paths that it takes. What differs is a lead, of which the oracle has the last word.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypedDict

from pytest_llmcompiler.corpus.input_numbers import InputNumbers
from pytest_llmcompiler.corpus.probing import UndefinedInputError
from pytest_llmcompiler.emulator.engine_look import MAX_LEADS, Lead, LookRequest
from pytest_llmcompiler.emulator.observation import ENDINGS
from pytest_llmcompiler.errors import LayoutError
from pytest_llmcompiler.judge.differential import DifferentialRun
from pytest_llmcompiler.judge.engine_fuzzing import change_input
from pytest_llmcompiler.judge.reserve import build_reserve_entry
from pytest_llmcompiler.judge.second_look import encode_lead
from pytest_llmcompiler.judge.verdict import RUN_FAILURES
from pytest_llmcompiler.values.input import Input

_INPUTS = 400
"""Inputs of a look with effort 1, about a tenth of a second."""
_MOST_INPUTS = 100_000
_MOST_CHANGES = 3
"""Numbers of an input that are changed at once."""
_BOUNDARIES = (0, 1, (1 << 64) - 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 1 << 63)
"""Values at which widths of integers end, as unsigned numbers."""


class NativeLook(TypedDict):
    """What a look has found."""

    inputs: int
    """How many inputs were run."""
    leads: list[dict[str, Any]]
    """The inputs on which the candidate seems to differ, as `encode_lead` writes them."""


def look(differential: DifferentialRun, request: LookRequest) -> NativeLook:
    """Run a candidate that passes its suite beside the reference. Only a child process may call this: the candidate's
    code is hostile."""
    suite = differential.suite
    under_test, oracle = suite.under_test, suite.oracle
    reference = under_test.open_machine(under_test.reference.golden)
    inputs = [*suite.corpus.entries, *suite.corpus.reserve]
    limit = max((entry.limit for entry in suite.corpus.entries.values()), default=0)
    found = NativeLook(inputs=0, leads=[])
    if any(entry.expected.calls for entry in suite.corpus.entries.values()):
        return found  # as for the engine: answers to calls are known for the suite's inputs alone
    for lead in _list_leads(inputs, len(suite.corpus.entries), request):
        input = change_input(inputs[lead.entry], lead)
        if input is None or len(found["leads"]) >= MAX_LEADS:
            continue
        try:
            context, call = oracle.set_up(under_test.possible_values.restrict(input))
        except (UndefinedInputError, LayoutError):
            continue
        expected = reference.run(context.layout, call, limit)
        if expected.outcome not in ENDINGS:
            continue
        found["inputs"] += 1
        entry = replace(build_reserve_entry(context, call, limit), expected=expected)
        failure = differential.failure(entry, ())
        if failure and failure.kind in RUN_FAILURES:
            found["leads"].append(encode_lead(lead))
    return found


def _list_leads(inputs: Sequence[Input], suite_size: int, request: LookRequest) -> Iterator[Lead]:
    """The inputs to try: those that failed earlier candidates, some of the reserve, and others with some numbers
    changed, which are at least half of what is tried: the reserve knows nothing of the candidate's constants."""
    count = min(_MOST_INPUTS, round(_INPUTS * request.effort))
    yield from request.first
    choice = random.Random(request.seed)
    reserve = range(suite_size, len(inputs))
    kept = sorted(choice.sample(reserve, min(len(reserve), count // 2)))
    yield from (Lead(number, ()) for number in kept)
    values = (*request.constants, *_BOUNDARIES)
    for _ in range(count - len(kept)):
        number = choice.randrange(len(inputs))
        numbers = InputNumbers(inputs[number], with_floats=True)
        if len(numbers):
            indices = {choice.randrange(len(numbers)) for _ in range(choice.randint(1, _MOST_CHANGES))}
            yield Lead(number, tuple((index, choice.choice(values) & (1 << 64) - 1) for index in sorted(indices)))
