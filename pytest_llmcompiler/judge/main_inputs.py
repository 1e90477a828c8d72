"""The inputs that a program's own `main` passes to its functions."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from pytest_llmcompiler.corpus.from_main import MAX_INPUTS, record_main_inputs
from pytest_llmcompiler.corpus.possible_values import PossibleValues
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.values.input import Input

_MAX_FROM_TESTS = 32
"""Different inputs of a function that are recorded where published tests call it."""
_MAIN_INPUTS: WeakKeyDictionary[Reference, dict[str, list[Input]]] = WeakKeyDictionary()


def find_main_inputs(under_test: FunctionUnderTest) -> list[Input]:
    """The inputs that the program's own `main` passes to the function, in the order of the calls."""
    inputs = _record_all(under_test.reference, natively=under_test.native.needs_processor)
    return inputs.get(under_test.function, [])


def _record_all(reference: Reference, *, natively: bool) -> dict[str, list[Input]]:
    """The inputs that `main` passes, by function. One run of the program records those of all functions."""
    if reference in _MAIN_INPUTS:
        return _MAIN_INPUTS[reference]
    functions = {name: reference.signatures[name] for name in reference.functions}
    globals = {name: reference.input_globals(name) for name in functions}
    possible = {name: PossibleValues(reference.known_variables(name)) for name in functions}
    limit = _MAX_FROM_TESTS if reference.case.tests else MAX_INPUTS
    inputs = record_main_inputs(
        reference.golden, functions, globals, reference.external_functions, limit, possible=possible, natively=natively
    )
    return _MAIN_INPUTS.setdefault(reference, inputs)
