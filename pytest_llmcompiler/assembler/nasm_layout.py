"""Where the labels of a NASM text are, as far as that is known before it is assembled.

The size of an instruction is not known here, the size of data is. So each section is a row of *fragments*: one ends at
each instruction. Two labels in one fragment have a known distance, as in `message: db "abc"`, `length equ $ - message`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pytest_llmcompiler.assembler.nasm_expressions import SymbolSum, wrap


class Location(NamedTuple):
    """A place in a section."""

    fragment: int
    offset: int
    """In bytes from the start of the fragment."""


class DistanceTracker:
    """Follows the places of one text."""

    def __init__(self) -> None:
        self._cursors: dict[str, Location] = {}
        self._fragments = 0
        self.section = ""

    def enter(self, section: str) -> bool:
        """Go on in a section. Whether it is new."""
        self.section = section
        is_new = section not in self._cursors
        if is_new:
            self.end_fragment()
        return is_new

    @property
    def here(self) -> Location:
        """The current place."""
        return self._cursors[self.section]

    def advance(self, count: int) -> None:
        """Pass bytes of data."""
        self._cursors[self.section] = self.here._replace(offset=self.here.offset + count)

    def end_fragment(self) -> None:
        """Pass something of unknown size."""
        self._fragments += 1
        self._cursors[self.section] = Location(self._fragments, 0)


def simplify(value: SymbolSum, locations: Mapping[str, Location]) -> SymbolSum:
    """The value with differences of labels as numbers, where both labels are in one fragment."""
    if len(value.symbols) < 2:
        return value
    sums: dict[int, tuple[int, int]] = {}
    for name, factor in value.symbols:
        location = locations.get(name)
        if location:
            factors, distance = sums.get(location.fragment, (0, 0))
            sums[location.fragment] = factors + factor, distance + factor * location.offset
    known = {fragment: distance for fragment, (factors, distance) in sums.items() if factors == 0}
    symbols = tuple(
        (name, factor)
        for name, factor in value.symbols
        if name not in locations or locations[name].fragment not in known
    )
    return SymbolSum(wrap(value.number + sum(known.values())), symbols, value.registers, value.modifier)
