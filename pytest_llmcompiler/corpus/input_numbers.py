"""The integers in an input: finding them, and changing one of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, NamedTuple

from pytest_llmcompiler.values.c_types import Array, Int, Struct, Type
from pytest_llmcompiler.values.input import Input, list_objects, replace_object

_MAX_NUMBERS = 256
"""Numbers of an input that are considered. Later elements of long arrays are left alone."""


class InputNumber(NamedTuple):
    """An integer in an input: an argument, a global variable, or a part of one of these or of an object."""

    kind: Literal["arg", "global", "object"]
    owner: int
    """The number of the argument, of the global variable, or of the object that holds the integer."""
    offset: int
    """Bytes from the start of the owner."""
    type: Int
    value: int
    """The value of its bytes as an unsigned number."""


def find_numbers(input: Input) -> Iterator[InputNumber]:
    """The integers in an input, up to a limit: arguments first, then global variables, then objects."""
    return itertools.islice(_find_all(input), _MAX_NUMBERS)


def _find_all(input: Input) -> Iterator[InputNumber]:
    for owner, value in enumerate(input.args):
        yield from _find_inside("arg", owner, value.type, value.data)
    for owner, (_, value) in enumerate(input.globals):
        yield from _find_inside("global", owner, value.type, value.data)
    for owner, target in enumerate(list_objects(input)):
        yield from _find_inside("object", owner, Array(target.element, target.count), target.data)


def _find_inside(
    kind: Literal["arg", "global", "object"], owner: int, type: Type, data: bytes
) -> Iterator[InputNumber]:
    for offset, inner in _find_integers(type, 0):
        value = int.from_bytes(data[offset : offset + inner.size], "little")
        yield InputNumber(kind, owner, offset, inner, value)


def _find_integers(type: Type, start: int) -> Iterator[tuple[int, Int]]:
    """The offsets and types of the integers in a value. Of a union only the first member counts."""
    if isinstance(type, Int):
        yield start, type
    elif isinstance(type, Array):
        for index in range(type.count):
            yield from _find_integers(type.element, start + index * type.element.size)
    elif isinstance(type, Struct) and not type.opaque:
        for field in type.fields[:1] if type.union else type.fields:
            if not field.bits:
                yield from _find_integers(field.type, start + field.offset)


def set_number(input: Input, number: InputNumber, value: int) -> Input:
    """The input with another value of an integer, reduced to the width of its type."""
    data = (value % (1 << 8 * number.type.size)).to_bytes(number.type.size, "little")
    if number.type.boolean:
        data = bytes([value & 1])

    def patch(old: bytes) -> bytes:
        return old[: number.offset] + data + old[number.offset + len(data) :]

    if number.kind == "object":
        return replace_object(input, number.owner, lambda target: replace(target, data=patch(target.data)))
    if number.kind == "arg":
        args = list(input.args)
        args[number.owner] = replace(args[number.owner], data=patch(args[number.owner].data))
        return replace(input, args=tuple(args))
    globals = list(input.globals)
    name, variable = globals[number.owner]
    globals[number.owner] = name, replace(variable, data=patch(variable.data))
    return replace(input, globals=tuple(globals))
