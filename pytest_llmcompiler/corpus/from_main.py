"""Recording inputs: the arguments that the program's own `main` passes to each function.

The machine runs `main` and stops at each call of a function under test. The values of the parameters are read, and
their pointers are followed through memory.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping

from pytest_llmcompiler.corpus.possible_values import PossibleValues
from pytest_llmcompiler.corpus.relations import relations_by_name
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.stack import STACK_SIZE, STACK_START
from pytest_llmcompiler.errors import LLMCompilerError, ProcessStartError
from pytest_llmcompiler.program.image import ProgramImage
from pytest_llmcompiler.values.c_types import (
    FILE,
    UNTYPED,
    Array,
    Function,
    Int,
    Param,
    Pointer,
    Struct,
    Type,
    find_unsupported,
)
from pytest_llmcompiler.values.input import Alias, Callback, Input, Object, PointerTarget, StandardStream, Value
from pytest_llmcompiler.values.va_list import is_va_list

_MAX_INSTRUCTIONS = 20_000_000
"""Instructions of `main` that are executed."""
_MAX_CALLS_READ, _MAX_CALLS = 500, 100_000
"""Calls of one function whose input is read, which takes about 50 µs each, and calls of all functions after which
`main` is not run further: a loop may make millions of the same call."""
MAX_INPUTS = 8
"""Different inputs of a function that are recorded, unless the caller asks for more."""
_UNNAMED_ARGUMENTS = 8
"""Arguments without a name that are read of a call."""
_MAX_DEPTH = 6
"""Pointers that are followed one after the other. Deeper pointers become null."""
_MAX_ELEMENTS = 64
"""Elements of a buffer of unknown length."""
_MAX_ROOM = 256
"""Bytes of a text on the stack with the memory after its terminator, which the function may write to."""
_MAX_TEXT_BYTES = 4096
"""Bytes that are searched for the terminator of a text."""


def record_main_inputs(
    program: ProgramImage,
    functions: Mapping[str, Function],
    globals: Mapping[str, Mapping[str, Type]],
    externals: Mapping[str, Function],
    max_inputs: int = MAX_INPUTS,
    possible: Mapping[str, PossibleValues] | None = None,
    *,
    natively: bool = False,
) -> dict[str, list[Input]]:
    """Run `main` and record up to `max_inputs` different inputs of each function, in the order of the calls.

    `globals` are the variables that are part of each function's input. An input has those whose values have changed
    before the call. `possible` are the values that these can have, by function. `externals` are the types of the
    functions that the program only declares. Functions with parameters of unsupported types get no inputs, and without
    `main` there are none at all. `natively` is as for `Machine`.
    """
    recorded: dict[str, list[Input]] = {name: [] for name in functions}
    if not program.has_main:
        return recorded
    try:
        machine = Machine(program, "main", Function(None, ()), externals=externals, natively=natively)
    except ProcessStartError:  # the judge says so where it opens its own machines
        return recorded
    initial = {name: machine.guest.read_variable(name) for own in globals.values() for name in own}

    calls = Counter[str]()

    def record(name: str) -> None:
        calls[name] += 1
        if len(recorded[name]) < max_inputs and calls[name] <= _MAX_CALLS_READ:
            changed = {
                variable: type
                for variable, type in globals.get(name, {}).items()
                if machine.guest.read_variable(variable) != initial[variable]
            }
            input = _CallReader(machine).read_input(
                functions[name], changed, (possible or {}).get(name, PossibleValues({}))
            )
            if input not in recorded[name]:
                recorded[name].append(input)
        has_all = all(len(recorded[name]) >= max_inputs or calls[name] >= _MAX_CALLS_READ for name in recorded)
        if has_all or calls.total() >= _MAX_CALLS:
            raise _EnoughInputsError

    for name, function in functions.items():
        if not any(find_unsupported(param.type) or is_va_list(param.type) for param in function.params):
            address = program.symbols[name].address
            machine.guest.watch(address, address, lambda _, name=name: record(name))  # type: ignore[misc]
    with contextlib.suppress(_EnoughInputsError):
        machine.run_program(_MAX_INSTRUCTIONS)
    machine.close()
    return recorded


def _list_unnamed(function: Function) -> Iterator[Param]:
    """The arguments without a name that a call may have, where the function reads one type alone: the places of
    arguments depend on their types. Nothing tells how many there are. What is read behind the last one is garbage."""
    if len(function.unnamed) == 1:
        yield from (Param(f"...[{index}]", function.unnamed[0]) for index in range(_UNNAMED_ARGUMENTS))


class _EnoughInputsError(LLMCompilerError):
    """Ends the run of `main` when every function has its inputs, or has been called often enough."""


class _CallReader:
    """Reads the input of one call from the machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._ranges: list[tuple[int, int, Type]] = []
        """The objects in the order of their numbers: address, size, type of the elements."""

    def read_input(self, function: Function, globals: Mapping[str, Type], possible: PossibleValues) -> Input:
        """The arguments and global variables of the call at which the machine has stopped."""
        params = (*function.params, *_list_unnamed(function))
        in_memory = self._machine.program.target.convention.locate_result(function).is_in_memory
        images = self._machine.guest.read_arguments([param.type for param in params], in_memory=in_memory)
        args = tuple(self._read_values(params, images))
        addresses = self._machine.program.addresses
        state = []
        for name, type in globals.items():
            data = self._machine.guest.read_variable(name)[: type.size]
            known = possible.recognise(name, type, data, addresses)
            state.append((name, known or self._read_value(type, data, None, 0)))
        return possible.restrict(Input(args, globals=tuple(state)))

    def _read_values(self, members: tuple[Param, ...], images: list[bytes], depth: int = 0) -> list[Value]:
        relations = relations_by_name([member.name for member in members], [member.type for member in members])
        counts = {
            buffer: int.from_bytes(images[length], "little")
            for length, buffers in relations.length_of.items()
            for buffer in buffers
        }
        return [
            self._read_value(member.type, image, counts.get(index), depth)
            for index, (member, image) in enumerate(zip(members, images, strict=True))
        ]

    def _read_value(self, type: Type, image: bytes, count: int | None, depth: int) -> Value:
        if isinstance(type, Pointer):
            address = int.from_bytes(image, "little")
            target = self._read_target(type, address, count, depth)
            return Value(type, bytes(8), ((0, target),) if target else ())
        if isinstance(type, Struct) and not type.union:
            return self._read_struct(type, image, depth)
        if isinstance(type, Array) and isinstance(type.element, (Pointer, Struct)):
            size = type.element.size
            parts = [
                self._read_value(type.element, image[at : at + size], None, depth) for at in range(0, type.size, size)
            ]
            links = [(index * size + at, to) for index, part in enumerate(parts) for at, to in part.links]
            return Value(type, b"".join(part.data for part in parts), tuple(links))
        return Value(type, image)

    def _read_struct(self, type: Struct, image: bytes, depth: int) -> Value:
        plain = [field for field in type.fields if field.bits is None]
        members = tuple(Param(field.name, field.type) for field in plain)
        values = self._read_values(members, [image[f.offset : f.offset + f.type.size] for f in plain], depth)
        data, links = bytearray(image), []
        for field, value in zip(plain, values, strict=True):
            data[field.offset : field.offset + len(value.data)] = value.data
            links += [(field.offset + at, target) for at, target in value.links]
        return Value(type, bytes(data), tuple(links))

    def _read_target(self, type: Pointer, address: int, count: int | None, depth: int) -> PointerTarget | None:
        if isinstance(type.target, Function):
            return Callback(type.target, 0) if address else None
        if type.target is FILE:
            return next((StandardStream(n) for n, at in enumerate(self._machine.guest.streams) if at == address), None)
        if depth >= _MAX_DEPTH or not self._machine.guest.read(address, 1):
            return None
        element: Type = type.target or UNTYPED
        alias = self._find_alias(element, address)
        return alias or self._read_object(
            element, address, element.size * self._count_elements(type, element, address, count), depth
        )

    def _find_alias(self, element: Type, address: int) -> Alias | None:
        for index, (start, size, known_element) in enumerate(self._ranges):
            if known_element == element and start <= address < start + size:
                return Alias(element, index, address - start)
        return None

    def _read_object(self, element: Type, address: int, size: int, depth: int) -> Object:
        data = self._machine.guest.read(address, size) if element.size else b""
        starts = range(0, len(data) - element.size + 1, max(element.size, 1))
        self._ranges.append((address, len(starts) * element.size, element))
        parts = [self._read_value(element, data[at : at + element.size], None, depth + 1) for at in starts]
        links = [(index * element.size + at, to) for index, part in enumerate(parts) for at, to in part.links]
        return Object(element, len(parts), b"".join(part.data for part in parts), tuple(links))

    def _count_elements(self, type: Pointer, element: Type, address: int, count: int | None) -> int:
        """The number of elements behind a pointer: by its length, the terminator, or the end of its memory."""
        if count is not None:
            return count
        if isinstance(element, Struct):
            return 1
        room = self._machine.addresses.bytes_to_end(address)
        on_stack = STACK_START <= address < STACK_START + STACK_SIZE
        if isinstance(element, Int) and element.character:
            text = self._machine.guest.read(address, _MAX_TEXT_BYTES)
            end = text.find(b"\0") + 1
            if end and (type.const or on_stack):
                return end if type.const else max(end, min(room, _MAX_ROOM))
        return max(1, min(room // max(element.size, 1), _MAX_ELEMENTS))
