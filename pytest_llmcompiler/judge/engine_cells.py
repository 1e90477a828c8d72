"""The numbers of an input as the engine reads them: where each lies, so that a second look can change it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_llmcompiler.corpus.input_numbers import FLOAT_NAME, InputNumbers, NumberRow
from pytest_llmcompiler.emulator.engine_image import ImageWriter
from pytest_llmcompiler.targets.abi import ArgumentLocation, CallingConvention
from pytest_llmcompiler.values.c_types import Int
from pytest_llmcompiler.values.input import Input, find_text_number

_REGISTER, _STACK, _OBJECT, _VARIABLE = range(4)
"""What integers lie in, as in `engine/look.h`."""


@dataclass(frozen=True)
class _CellRow:
    """Integers of one type, side by side."""

    first: int
    """The number of the first one, in the order of `InputNumbers`."""
    count: int
    place: int
    index: int
    """The number of the register, of the object or of the variable in the input."""
    offset: int
    """Of the first one, in bytes."""
    type: Int
    is_extended: bool = False
    """Whether the caller extends the integer to 32 bits."""


def write_cells(
    writer: ImageWriter, input: Input, convention: CallingConvention, registers: Mapping[str, int], *, in_memory: bool
) -> None:
    """Write where the integers of an input lie. `registers` are the numbers of registers by name; `in_memory` tells
    whether the result is returned in memory."""
    locations = convention.locate_call_arguments([value.type for value in input.args], in_memory)
    rows = list(_list_rows(input, locations, extends=convention.caller_extends, registers=registers))
    writer.u32(len(rows))
    for row in rows:
        writer.u32(row.first, row.count, row.place, row.index)
        writer.u64(row.offset)
        is_float = row.type.name == FLOAT_NAME
        writer.u32(row.type.size, row.type.boolean, row.type.signed, row.is_extended, is_float)


def _list_rows(
    input: Input, locations: Sequence[ArgumentLocation], *, extends: bool, registers: Mapping[str, int]
) -> Iterator[_CellRow]:
    first, text = 0, find_text_number(input)
    for row in InputNumbers(input, with_floats=True).rows:
        count, type = len(row.values), row.type
        # The kernel has a copy of what can be read from standard input: changes of the object would not show.
        if type.size in (1, 2, 4, 8) and (row.kind, row.owner) != ("object", text):
            if row.kind == "arg":
                is_extended = extends and isinstance(input.args[row.owner].type, Int)
                yield from _locate_argument(row, first, locations[row.owner], registers, is_extended=is_extended)
            else:
                place = _OBJECT if row.kind == "object" else _VARIABLE
                yield _CellRow(first, count, place, row.owner, row.offset, type)
        first += count


def _locate_argument(
    row: NumberRow, first: int, location: ArgumentLocation, registers: Mapping[str, int], *, is_extended: bool
) -> Iterator[_CellRow]:
    """The integers of an argument; none for one of which a copy is passed."""
    if location.is_indirect:
        return
    if not location.registers:
        yield _CellRow(first, len(row.values), _STACK, 0, location.offset + row.offset, row.type, is_extended)
        return
    for at in range(len(row.values)):
        part, offset = divmod(row.offset + at * row.type.size, location.register_bytes)
        number = registers[location.registers[part]]
        yield _CellRow(first + at, 1, _REGISTER, number, offset, row.type, is_extended)
