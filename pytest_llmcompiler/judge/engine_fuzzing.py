"""Inputs that reach code which no input of a corpus reaches, found by the engine.

The corpus is fuzzed with a probe, which knows what is compared, and takes up to a millisecond for an input. The engine
runs some 50,000 inputs a second and knows only which edges they take. So where the probe's inputs leave code
unreached, the engine changes them at random, and keeps what takes a new pair of paths to change it further, as in a
second look (`engine/look.c`). The candidate is clang's own code at -O2: its constants are those of the program.

Example: `skip_value` of a JSON scanner in `benchmarks/functions`. 100 inputs and the fuzzer reach 36 of its 39 edges; a
quarter of a second of the engine finds inputs for the other three, which lie behind nested values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_llmcompiler.corpus.input_numbers import InputNumbers, set_number
from pytest_llmcompiler.emulator.engine_look import Lead, LookRequest
from pytest_llmcompiler.errors import AssemblyError, LinkError, UnsupportedError
from pytest_llmcompiler.judge.code_constants import find_constants
from pytest_llmcompiler.judge.engine_suite import ImageKind, build_plain_image
from pytest_llmcompiler.judge.function_engine import FunctionEngine
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.judge.oracle import SuiteEntry
from pytest_llmcompiler.values.input import Input

_EFFORT_PER_EXAMPLE = 0.5
"""The effort of the search, as of a second look, for each input that is to be generated: with 100 inputs some 20,000
are tried, in a quarter of a second."""
MAX_ROUNDS = 3
"""Searches that follow each other, as long as each reaches new code."""


@dataclass(frozen=True)
class EngineFuzzer:
    """Searches with the engine. `examples` is the number of inputs that are to be generated."""

    under_test: FunctionUnderTest
    examples: int
    seed: int

    def search(self, entries: Mapping[Input, SuiteEntry]) -> list[Input]:
        """Inputs on which the reference takes edges that it takes on none of the entries; nothing where there is no
        engine for the function. Whether the function is defined on them is for the oracle to say."""
        if self.under_test.native.needs_processor:
            return []
        engine = FunctionEngine(lambda kind: build_plain_image(self.under_test, entries), has_looks=True)
        try:
            reaching = self._look(engine)
        finally:
            engine.close()
        inputs = list(entries)
        changed = (change_input(inputs[lead.entry], lead) for lead in reaching)
        return [input for input in changed if input is not None]

    def _look(self, engine: FunctionEngine) -> tuple[Lead, ...]:
        under_test = self.under_test
        golden, function = under_test.reference.golden, under_test.function
        text = under_test.reference.texts.assembly(function, "O2")
        with engine.sample():
            try:
                code = under_test.assemble_candidate(text, "keystone", encode=engine.encode)
            except (AssemblyError, LinkError, UnsupportedError):
                return ()
            if under_test.program_for(code) is not golden:
                return ()
            constants = find_constants(code, function, golden.target.processor, frozenset())
            request = LookRequest(self.seed, self.examples * _EFFORT_PER_EXAMPLE, constants, reports_reaching=True)
            result = engine.run(golden, code, function, ImageKind(), request)
        return result.reaching if result else ()


def change_input(input: Input, lead: Lead) -> Input | None:
    """The input of a lead, made from that of its entry; None where it names numbers that the input does not have."""
    numbers = InputNumbers(input, with_floats=True)
    if any(not 0 <= index < len(numbers) for index, _ in lead.numbers):
        return None
    for index, value in lead.numbers:
        input = set_number(input, numbers[index], value)
    return input
