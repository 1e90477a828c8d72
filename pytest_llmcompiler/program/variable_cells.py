"""A local variable, cut into the cells that the module's stores write, with what each may hold."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pytest_llmcompiler.program.address_flow import Accesses, Place
from pytest_llmcompiler.program.initial_values import CellValue, InitialValue, SymbolAddress
from pytest_llmcompiler.program.value_sets import Constant, ValueSet, joined

PartValues = Callable[[int, int], ValueSet]
"""What a store or copy gives a part of its place, by the part's offset in bytes and its size."""


@dataclass(frozen=True)
class Cell:
    """Bytes of a variable or an argument, with the values that they may have."""

    offset: int
    size: int
    values: tuple[CellValue, ...]
    """The values: first the initial one, then the others in a fixed order."""


@dataclass(frozen=True)
class KnownVariable:
    """What is known of a local variable."""

    initial: CellValue
    cells: tuple[Cell, ...]
    """The cells whose values are known, in order."""

    @property
    def is_complete(self) -> bool:
        """Whether the cells are the whole variable."""
        return sum(cell.size for cell in self.cells) == len(self.initial.data)

    @property
    def is_constant(self) -> bool:
        """Whether the variable always has its initial value."""
        return self.is_complete and all(len(cell.values) == 1 for cell in self.cells)


class VariableCells:
    """The cells of a local variable while they are solved."""

    def __init__(self, initial: InitialValue, accesses: Accesses) -> None:
        self.initial, self.accesses = initial, accesses
        self.size = size = len(initial.data)
        """Bytes of the variable."""
        self.edges = {0, size, *(at for start in initial.pointers for at in (start, start + 8) if at <= size)}
        self._starts: list[int] = []
        self._values: dict[int, ValueSet] = {}
        """What each cell that is stored to may hold, by its start."""
        for access in accesses.writes:
            self.cut(access.place, access.size, ())

    def cut(self, place: Place, size: int, inside: Iterable[int]) -> None:
        """Begin cells where an access begins and ends, and at some offsets inside of it."""
        inner = (0, size, *inside)
        for offset in place.offsets(size, self.size):
            self.edges.update(offset + edge for edge in inner)

    def begin(self) -> None:
        """Give each cell that is stored to its initial value."""
        self._starts = sorted(self.edges)
        stored = {
            offset + at
            for access in self.accesses.writes
            for offset in access.place.offsets(access.size, self.size)
            for at in range(access.size)
        }
        for start, end in self._pairs():
            if start in stored:
                self._values[start] = part_of(self.initial, start, end - start)

    def _pairs(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._starts[1:])

    def _inside(self, offset: int, size: int) -> list[tuple[int, int]]:
        first = bisect_left(self._starts, offset)
        last = bisect_left(self._starts, offset + size)
        return list(zip(self._starts[first:last], self._starts[first + 1 : last + 1]))

    def is_open(self, offsets: Iterable[int], size: int) -> bool:
        """Whether any cell in parts of the variable is still known."""
        return any(self._values.get(start) is not None for at in offsets for start, _ in self._inside(at, size))

    def add(self, offset: int, size: int, values: PartValues) -> bool:
        """Add values to the cells in a part of the variable. Returns whether any is new."""
        has_changed = False
        for start, end in self._inside(offset, size):
            before = self._values[start]
            if before is not None:
                after = joined((before, values(start - offset, end - start)))
                self._values[start] = after
                has_changed |= after != before
        return has_changed

    def read(self, offset: int, size: int) -> ValueSet:
        """What a part of the variable may hold: a cell, a part of a cell, or bytes that nothing stores to."""
        index = bisect_right(self._starts, offset) - 1
        start, end = self._starts[index], self._starts[index + 1]
        if offset + size <= end:
            if start not in self._values:
                return part_of(self.initial, offset, size)
            return slice_of(self._values[start], end - start, offset - start, size)
        return None

    def cells(self) -> Iterator[Cell]:
        """The cells whose values are known, without those that can have any value of their size."""
        for start, end in self._pairs():
            size = end - start
            if start not in self._values:
                yield Cell(start, size, (self.initial.part(start, end),))
            elif (values := self._values[start]) is not None and len(values) < 1 << min(8 * size, 62):
                (first,) = part_of(self.initial, start, size) or (0,)
                rest = sorted(values - {first}, key=order_of)
                yield Cell(start, size, tuple(cell_value(value, size) for value in (first, *rest)))


def part_of(initial: InitialValue, offset: int, size: int) -> ValueSet:
    """The initial value of a part of a variable; None where it is neither a number nor one pointer."""
    inside = {at - offset: to for at, to in initial.pointers.items() if offset - 8 < at < offset + size}
    if not inside:
        return frozenset((int.from_bytes(initial.data[offset : offset + size], "little"),))
    return frozenset((inside[0],)) if size == 8 and list(inside) == [0] else None


def slice_of(values: ValueSet, whole: int, at: int, size: int) -> ValueSet:
    """A part of each value of `whole` bytes."""
    if values is None or (at, size) == (0, whole):
        return values
    if any(isinstance(value, SymbolAddress) for value in values):
        return None
    return frozenset(value >> 8 * at & (1 << 8 * size) - 1 for value in values if isinstance(value, int))


def cell_value(value: Constant, size: int) -> CellValue:
    if isinstance(value, SymbolAddress):
        return CellValue(bytes(size), ((0, value),))
    return CellValue(value.to_bytes(size, "little"))


def order_of(value: Constant) -> tuple[int, str, int]:
    return (1, *value) if isinstance(value, SymbolAddress) else (0, "", value)
