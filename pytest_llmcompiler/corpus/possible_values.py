"""Inputs keep to the values that a file's static variables can have: others can't happen.

`static int mode; void begin(void) { mode = 5; }` gives `mode` the values 0 and 5. Every other value in an input is
replaced by one of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from pytest_llmcompiler.corpus.drawing import Draw
from pytest_llmcompiler.program.initial_values import CellValue, SymbolAddress
from pytest_llmcompiler.program.variable_cells import Cell, KnownVariable
from pytest_llmcompiler.values.c_types import Type
from pytest_llmcompiler.values.input import Input, Links, SymbolPointer, Value, drop_links

_MAX_DRAWN_CELLS = 24
"""Cells of one variable whose values are drawn. Later cells take the same values in turn."""
_MAX_SPECIALS = 64
"""Values of one variable that are tried one by one."""


class PossibleValues:
    """The values of static variables, as far as they are known."""

    def __init__(self, variables: Mapping[str, KnownVariable]) -> None:
        self._variables = variables

    def is_complete(self, name: str) -> bool:
        """Whether all bytes of a variable are known, so that it needs no other drawing."""
        return name in self._variables and self._variables[name].is_complete

    def initial(self, name: str, type: Type) -> Value:
        """The initial value of a variable that is known."""
        return _as_value(type, self._variables[name].initial)

    def draw(self, draw: Draw, input: Input) -> Input:
        """The input with drawn values of all static variables that it sets. It has only possible values before."""
        known = [(name, self._draw(draw, name, value)) for name, value in input.globals]
        return replace(input, globals=tuple(known)) if self._variables else input

    def _draw(self, draw: Draw, name: str, value: Value) -> Value:
        cells = self._variables[name].cells if name in self._variables else ()
        varying = [cell for cell in cells if len(cell.values) > 1]
        drawn = [draw.integer(0, len(cell.values) - 1) for cell in varying[:_MAX_DRAWN_CELLS]]
        for turn, cell in enumerate(varying):
            value = _with_cell(value, cell, cell.values[drawn[turn % len(drawn)] % len(cell.values)])
        return value

    def allows(self, input: Input) -> bool:
        """Whether all static variables have values that they can have."""
        return all(
            _read_cell(value, cell) in cell.values
            for name, value in input.globals
            if name in self._variables
            for cell in self._variables[name].cells
        )

    def restrict(self, input: Input) -> Input:
        """The input with possible values in the place of impossible ones."""
        if not self._variables or self.allows(input):
            return input
        input = drop_links(input, self._leads_to_object)
        return replace(input, globals=tuple((name, self._restrict(name, value)) for name, value in input.globals))

    def _leads_to_object(self, name: str, offset: int) -> bool:
        cells = self._variables[name].cells if name in self._variables else ()
        return any(cell.offset <= offset < cell.offset + cell.size for cell in cells)

    def _restrict(self, name: str, value: Value) -> Value:
        if name in self._variables:
            for cell in self._variables[name].cells:
                if _read_cell(value, cell) not in cell.values:
                    part = value.data[cell.offset : cell.offset + cell.size]
                    number = int.from_bytes(part, "little") % len(cell.values)
                    value = _with_cell(value, cell, cell.values[number])
        return value

    def generate_specials(self, input: Input, types: Mapping[str, Type]) -> Iterator[Input]:
        """The input with each possible value of each variable in turn."""
        for name, type in types.items():
            if name not in self._variables:
                continue
            others = tuple(pair for pair in input.globals if pair[0] != name)
            varying = [cell for cell in self._variables[name].cells if len(cell.values) > 1]
            values = [(cell, value) for cell in varying for value in cell.values]
            for cell, value in values[:_MAX_SPECIALS]:
                yield replace(input, globals=(*others, (name, _with_cell(self.initial(name, type), cell, value))))

    def recognise(self, name: str, type: Type, data: bytes, addresses: Mapping[str, int]) -> Value | None:
        """The value of a completely known variable from its bytes in a program; None where it has no possible value."""
        if not self.is_complete(name):
            return None
        value = self.initial(name, type)
        for cell in self._variables[name].cells:
            part = data[cell.offset : cell.offset + cell.size]
            known = next((one for one in cell.values if _at_addresses(one, addresses) == part), None)
            if known is None:
                return None
            value = _with_cell(value, cell, known)
        return value


def _as_value(type: Type, whole: CellValue) -> Value:
    return Value(type, whole.data, _as_links(whole, 0))


def _as_links(value: CellValue, start: int) -> Links:
    return tuple((start + at, SymbolPointer(to.symbol, to.offset)) for at, to in value.pointers)


def _read_cell(value: Value, cell: Cell) -> CellValue | None:
    """What a value has in a cell; None where a pointer leads to anything but a symbol."""
    end = cell.offset + cell.size
    links = [(at - cell.offset, target) for at, target in value.links if cell.offset <= at < end]
    pointers = [(at, SymbolAddress(to.symbol, to.offset)) for at, to in links if isinstance(to, SymbolPointer)]
    if len(pointers) < len(links):
        return None
    return CellValue(value.data[cell.offset : end], tuple(pointers))


def _with_cell(value: Value, cell: Cell, content: CellValue) -> Value:
    """A value with another content of a cell."""
    end = cell.offset + cell.size
    data = value.data[: cell.offset] + content.data + value.data[end:]
    links = [(at, target) for at, target in value.links if not cell.offset <= at < end]
    return replace(value, data=data, links=(*links, *_as_links(content, cell.offset)))


def _at_addresses(value: CellValue, addresses: Mapping[str, int]) -> bytes:
    data = bytearray(value.data)
    for at, target in value.pointers:
        data[at : at + 8] = (addresses.get(target.symbol, 0) + target.offset).to_bytes(8, "little")
    return bytes(data)
