"""Inputs of a solver's model: what the prover says a function differs on, put into inputs of the suite.

A model has values of registers and bytes of memory. They replace the integers of an input that lie there: arguments in
registers, global variables, and parts of objects that arguments point to. The objects and all else are the input's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmcompiler.corpus.input_numbers import InputNumber, InputNumbers
from pytest_llmcompiler.emulator.engine_look import MAX_CHANGES, Lead
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.prover.contract import REGISTER_NUMBERS
from pytest_llmcompiler.targets.abi import ArgumentLocation
from pytest_llmcompiler.values.input import Input, Object, list_objects

if TYPE_CHECKING:
    from pytest_llmcompiler.prover.refutation import Refutation

_MAX_INPUTS = 16
"""Inputs of the suite that a model is put into. Their objects differ in size and in their pointers."""


def list_refuting(refutation: Refutation, inputs: Sequence[Input], under_test: FunctionUnderTest) -> list[Lead]:
    """A model as changes of some inputs of a suite, spread over all of them."""
    step = max(1, len(inputs) // _MAX_INPUTS)
    readers = ((at, _ModelReader(refutation, inputs[at], under_test)) for at in range(0, len(inputs), step))
    leads = [Lead(at, reader.list_changes()) for at, reader in readers]
    return leads[:_MAX_INPUTS]


class _ModelReader:
    """What a model says of the integers of one input."""

    def __init__(self, refutation: Refutation, input: Input, under_test: FunctionUnderTest) -> None:
        self._registers, self._memory, self._input = refutation["registers"], dict(refutation["memory"]), input
        convention = under_test.reference.target.convention
        in_memory = convention.locate_result(under_test.signature).is_in_memory
        self._locations = convention.locate_call_arguments([value.type for value in input.args], in_memory)
        self._symbols = under_test.reference.golden.symbols
        self._objects = self._find_objects()

    def list_changes(self) -> tuple[tuple[int, int], ...]:
        """The integers that the model has with another value: their indices and values."""
        numbers = list(InputNumbers(self._input, with_floats=True))
        values = [self._read(number) for number in numbers]
        changes = [(at, value) for at, (number, value) in enumerate(zip(numbers, values)) if value != number.value]
        return tuple(changes[:MAX_CHANGES])

    def _read(self, number: InputNumber) -> int:
        """The value of an integer in the model; the input's own where the model says nothing."""
        if number.kind == "arg":
            return self._read_argument(number, self._locations[number.owner])
        if number.kind == "object":
            start = self._objects.get(number.owner)
        else:
            start = self._symbols[self._input.globals[number.owner][0]].address
        if start is None:
            return number.value
        own = number.value.to_bytes(number.type.size, "little")
        first = start + number.offset
        return int.from_bytes(bytes(self._memory.get(first + at, byte) for at, byte in enumerate(own)), "little")

    def _read_argument(self, number: InputNumber, location: ArgumentLocation) -> int:
        part, offset = divmod(number.offset, location.register_bytes)
        register = self._find_register(location, part)
        if register is None or offset + number.type.size > location.register_bytes:
            return number.value
        return (register >> 8 * offset) & ((1 << 8 * number.type.size) - 1)

    def _find_register(self, location: ArgumentLocation, part: int) -> int | None:
        """The value of a register with a part of an argument; None for one that is passed elsewhere."""
        if location.is_indirect or part >= len(location.registers):
            return None
        number = REGISTER_NUMBERS.get(location.registers[part])
        return None if number is None else self._registers[number]

    def _find_objects(self) -> dict[int, int]:
        """By number: the addresses in the model of the objects that arguments point to."""
        numbers = {id(target): number for number, target in enumerate(list_objects(self._input))}
        addresses: dict[int, int] = {}
        for value, location in zip(self._input.args, self._locations):
            for offset, target in value.links:
                address = self._find_register(location, offset // location.register_bytes)
                if isinstance(target, Object) and address is not None:
                    addresses[numbers[id(target)]] = address
        return addresses
