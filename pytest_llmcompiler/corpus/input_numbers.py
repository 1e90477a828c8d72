"""The integers in an input: finding them, and changing one of them."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, overload

from pytest_llmcompiler.values.c_types import Array, Float, Int, Struct, Type
from pytest_llmcompiler.values.input import Input, Object, Value, list_objects, replace_object

_MAX_NUMBERS = 256
"""Numbers of an input that are considered. Later elements of long arrays are left alone."""
_MAX_MEMBER_NUMBERS = 64
"""The same of one array in a structure: members behind a large one count too."""
_WORDS = {size: struct.Struct(f"<{letter}") for size, letter in ((1, "B"), (2, "H"), (4, "I"), (8, "Q"))}
"""The formats of unsigned numbers, by their bytes."""

FLOAT_NAME = "bits of a float"
"""The name of the type of integers that stand for floats."""

OwnerKind = Literal["arg", "global", "object"]


class InputNumber(NamedTuple):
    """An integer in an input: an argument, a global variable, or a part of one of these or of an object."""

    kind: OwnerKind
    owner: int
    """The number of the argument, of the global variable, or of the object that holds the integer."""
    offset: int
    """Bytes from the start of the owner."""
    type: Int
    value: int
    """The value of its bytes as an unsigned number."""


class NumberRow(NamedTuple):
    """Integers of one type, side by side."""

    kind: OwnerKind
    owner: int
    offset: int
    """Of the first one, in bytes from the start of the owner."""
    type: Int
    values: list[int]


class InputNumbers(Sequence[InputNumber]):
    """The integers in an input, up to a limit: arguments first, then global variables, then objects.

    They are kept as rows, since most are elements of arrays: a text of 256 characters is one row. `with_floats`: floats
    count too, as integers of their size that have the same bits.
    """

    def __init__(self, input: Input, *, with_floats: bool = False) -> None:
        self._with_floats = with_floats
        self._rows: list[NumberRow] = []
        self._ends: list[int] = []
        """For each row, how many numbers there are up to its end."""
        self._count = 0
        for kind, owner, type, data in _list_owners(input):
            if self._count >= _MAX_NUMBERS:
                break
            self._add_inside(kind, owner, type, data, 0)
        self._masked: dict[tuple[int, int], list[int]] = {}
        """The lowest bytes of the values of a row, by the index of the row and the number of the bytes."""

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> InputNumber: ...
    @overload
    def __getitem__(self, index: slice) -> list[InputNumber]: ...
    def __getitem__(self, index: int | slice) -> InputNumber | list[InputNumber]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(self._count))]
        if index < 0:
            index += self._count
        if not 0 <= index < self._count:
            raise IndexError(index)
        number = bisect_right(self._ends, index)
        row = self._rows[number]
        position = index - (self._ends[number] - len(row.values))
        return InputNumber(row.kind, row.owner, row.offset + position * row.type.size, row.type, row.values[position])

    def list_direct(self) -> list[InputNumber]:
        """The numbers in arguments and global variables."""
        count = sum(len(row.values) for row in self._rows if row.kind != "object")
        return self[:count]

    def list_outside(self, objects: set[int]) -> list[InputNumber]:
        """The numbers but for those in some objects, which are given by their numbers."""
        return [
            self[end - len(row.values) + position]
            for end, row in zip(self._ends, self._rows, strict=True)
            if row.kind != "object" or row.owner not in objects
            for position in range(len(row.values))
        ]

    @property
    def rows(self) -> Sequence[NumberRow]:
        """The rows, in the order of their numbers."""
        return self._rows

    def find_equal(self, value: int, size: int) -> list[int]:
        """The indices of the numbers that equal a value of `size` bytes, in all of the lowest bytes that both have."""
        indices: list[int] = []
        for number, row in enumerate(self._rows):
            width = min(row.type.size, size)
            low = value & (1 << 8 * width) - 1
            values = row.values if width == row.type.size else self._lowest_bytes(number, width)
            first = self._ends[number] - len(values)
            indices += [first + at for at, one in enumerate(values) if one == low]
        return indices

    def _lowest_bytes(self, row: int, width: int) -> list[int]:
        if (row, width) not in self._masked:
            mask = (1 << 8 * width) - 1
            self._masked[row, width] = [value & mask for value in self._rows[row].values]
        return self._masked[row, width]

    def _add_inside(self, kind: OwnerKind, owner: int, type: Type, data: bytes, start: int) -> None:
        """Add the integers of a value that lies at an offset of its owner. Of a union only the first member counts."""
        number = self._number_type(type)
        element = self._number_type(type.element) if isinstance(type, Array) else None
        if number:
            self._add_row(kind, owner, number, data, start, 1)
        elif isinstance(type, Array):
            if element:
                self._add_row(kind, owner, element, data, start, type.count)
                return
            for index in range(type.count):
                if self._count >= _MAX_NUMBERS:
                    return
                self._add_inside(kind, owner, type.element, data, start + index * type.element.size)
        elif isinstance(type, Struct) and not type.opaque:
            for field in type.fields[:1] if type.union else type.fields:
                if not field.bits:
                    part = field.type
                    if isinstance(part, Array) and part.count > _MAX_MEMBER_NUMBERS:
                        part = Array(part.element, _MAX_MEMBER_NUMBERS)
                    self._add_inside(kind, owner, part, data, start + field.offset)

    def _number_type(self, type: Type) -> Int | None:
        """The type as which a part of an input is a number; None for what is none."""
        if isinstance(type, Float) and self._with_floats:
            return Int(type.size, False, FLOAT_NAME)
        return type if isinstance(type, Int) else None

    def _add_row(self, kind: OwnerKind, owner: int, type: Int, data: bytes, start: int, count: int) -> None:
        values = _read_values(data[start : start + min(count, _MAX_NUMBERS - self._count) * type.size], type.size)
        if values:
            self._rows.append(NumberRow(kind, owner, start, type, values))
            self._count += len(values)
            self._ends.append(self._count)


def _list_owners(input: Input) -> Iterator[tuple[OwnerKind, int, Type, bytes]]:
    for owner, value in enumerate(input.args):
        yield "arg", owner, value.type, value.data
    for owner, (_, value) in enumerate(input.globals):
        yield "global", owner, value.type, value.data
    for owner, target in enumerate(list_objects(input)):
        yield "object", owner, Array(target.element, target.count), target.data


def _read_values(data: bytes, size: int) -> list[int]:
    """Numbers of `size` bytes that lie side by side, as unsigned numbers."""
    if size in _WORDS:
        return [value for (value,) in _WORDS[size].iter_unpack(data)]
    return [int.from_bytes(data[at : at + size], "little") for at in range(0, len(data), size)]


def set_number(input: Input, number: InputNumber, value: int) -> Input:
    """The input with another value of an integer, reduced to the width of its type."""
    data = (value % (1 << 8 * number.type.size)).to_bytes(number.type.size, "little")
    if number.type.boolean:
        data = bytes([value & 1])

    def patch(old: bytes) -> bytes:
        return old[: number.offset] + data + old[number.offset + len(data) :]

    if number.kind == "object":
        return replace_object(
            input, number.owner, lambda old: Object(old.element, old.count, patch(old.data), old.links)
        )
    if number.kind == "arg":
        args = list(input.args)
        old = args[number.owner]
        args[number.owner] = Value(old.type, patch(old.data), old.links)
        return replace(input, args=tuple(args))
    globals = list(input.globals)
    name, variable = globals[number.owner]
    globals[number.owner] = name, Value(variable.type, patch(variable.data), variable.links)
    return replace(input, globals=tuple(globals))
