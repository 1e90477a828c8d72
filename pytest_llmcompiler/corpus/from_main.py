"""Inputs taken from life: the arguments that the program's own `main` passes to each function."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from pytest_llmcompiler.corpus.relations import relations_by_name
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.stack import STACK_SIZE, STACK_START
from pytest_llmcompiler.errors import LLMCompilerError
from pytest_llmcompiler.program.image import ProgramImage
from pytest_llmcompiler.values.c_types import (
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
from pytest_llmcompiler.values.input import Alias, Callback, Input, Object, Target, Value

_LIMIT = 20_000_000
"""Instructions of `main` that are run."""
_DEPTH, _MOST_ELEMENTS, _ROOM = 6, 64, 256


def record_main_inputs(
    program: ProgramImage,
    functions: Mapping[str, Function],
    globals: Mapping[str, Mapping[str, Type]],
    externals: Mapping[str, Function],
    most: int = 8,
) -> dict[str, list[Input]]:
    """Run `main` and take what it passes, directly or not, to each function: up to `most` different inputs.

    `globals` are the variables that are part of each function's input, where they have changed by then; `externals` are
    the types of the functions that the program only declares.
    """
    taken: dict[str, list[Input]] = {name: [] for name in functions}
    if not program.has_main:
        return taken
    machine = Machine(program, "main", Function(None, ()), externals=externals)
    initial = {name: machine.guest.read_variable(name) for own in globals.values() for name in own}

    def take(name: str) -> None:
        if len(taken[name]) < most:
            changed = {
                variable: type
                for variable, type in globals.get(name, {}).items()
                if machine.guest.read_variable(variable) != initial[variable]
            }
            made = _MainRecorder(machine).input(functions[name], changed)
            if made not in taken[name]:
                taken[name].append(made)
            if all(len(found) >= most for found in taken.values()):
                raise _EnoughError

    for name, function in functions.items():
        if not any(find_unsupported(param.type) for param in function.params):
            address = program.symbols[name].address
            machine.guest.watch(address, address, lambda _, name=name: take(name))  # type: ignore[misc]
    with contextlib.suppress(_EnoughError):
        machine.run_main(_LIMIT)
    return taken


class _EnoughError(LLMCompilerError):
    """Ends the run of `main`: every function has its inputs."""


class _MainRecorder:
    """Follows the pointers of one call."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._ranges: list[tuple[int, int, Type]] = []
        """Where each object lies, in the order in which they are reached: address, size, type of the elements."""

    def input(self, function: Function, globals: Mapping[str, Type]) -> Input:
        params = function.params
        in_memory = self._machine.program.target.convention.locate_result(function).is_in_memory
        images = self._machine.guest.read_arguments([param.type for param in params], in_memory=in_memory)
        args = tuple(self._values(params, images))
        state = tuple(
            (name, self._value(type, self._machine.guest.read_variable(name), None, 0))
            for name, type in globals.items()
        )
        return Input(args, globals=state)

    def _values(self, members: tuple[Param, ...], images: list[bytes], depth: int = 0) -> list[Value]:
        bound = relations_by_name([member.name for member in members], [member.type for member in members])
        counts = {
            buffer: int.from_bytes(images[length], "little")
            for length, buffers in bound.length_of.items()
            for buffer in buffers
        }
        return [
            self._value(member.type, image, counts.get(index), depth)
            for index, (member, image) in enumerate(zip(members, images, strict=True))
        ]

    def _value(self, type: Type, image: bytes, count: int | None, depth: int) -> Value:
        if isinstance(type, Pointer):
            address = int.from_bytes(image, "little")
            target = self._target(type, address, count, depth)
            return Value(type, bytes(8), ((0, target),) if target else ())
        if isinstance(type, Struct) and not type.union:
            return self._struct(type, image, depth)
        if isinstance(type, Array) and isinstance(type.element, (Pointer, Struct)):
            size = type.element.size
            parts = [self._value(type.element, image[at : at + size], None, depth) for at in range(0, type.size, size)]
            links = [(index * size + at, to) for index, part in enumerate(parts) for at, to in part.links]
            return Value(type, b"".join(part.data for part in parts), tuple(links))
        return Value(type, image)

    def _struct(self, type: Struct, image: bytes, depth: int) -> Value:
        plain = [field for field in type.fields if field.bits is None]
        members = tuple(Param(field.name, field.type) for field in plain)
        values = self._values(members, [image[f.offset : f.offset + f.type.size] for f in plain], depth)
        data, links = bytearray(image), []
        for field, value in zip(plain, values, strict=True):
            data[field.offset : field.offset + len(value.data)] = value.data
            links += [(field.offset + at, target) for at, target in value.links]
        return Value(type, bytes(data), tuple(links))

    def _target(self, type: Pointer, address: int, count: int | None, depth: int) -> Target | None:
        if isinstance(type.target, Function):
            return Callback(type.target, 0) if address else None
        if depth >= _DEPTH or not self._machine.guest.read(address, 1):
            return None
        element: Type = type.target or UNTYPED
        known = self._known(element, address)
        return known or self._object(element, address, element.size * self._count(type, element, address, count), depth)

    def _known(self, element: Type, address: int) -> Alias | None:
        for index, (start, size, other) in enumerate(self._ranges):
            if other == element and start <= address < start + size:
                return Alias(element, index, address - start)
        return None

    def _object(self, element: Type, address: int, size: int, depth: int) -> Object:
        data = self._machine.guest.read(address, size) if element.size else b""
        starts = range(0, len(data) - element.size + 1, max(element.size, 1))
        self._ranges.append((address, len(starts) * element.size, element))
        parts = [self._value(element, data[at : at + element.size], None, depth + 1) for at in starts]
        links = [(index * element.size + at, to) for index, part in enumerate(parts) for at, to in part.links]
        return Object(element, len(parts), b"".join(part.data for part in parts), tuple(links))

    def _count(self, type: Pointer, element: Type, address: int, count: int | None) -> int:
        """How many elements a pointer leads to: its length, the end of a string, or the end of what holds it."""
        if count is not None:
            return count
        if isinstance(element, Struct):
            return 1
        room = self._machine.addresses.bytes_to_end(address)
        on_stack = STACK_START <= address < STACK_START + STACK_SIZE
        if isinstance(element, Int) and element.character:
            text = self._machine.guest.read(address, 4096)
            end = text.find(b"\0") + 1
            if end and (type.const or on_stack):
                return end if type.const else max(end, min(room, _ROOM))
        return max(1, min(room // max(element.size, 1), _MOST_ELEMENTS))
