"""What a run covers: the features that guide the fuzzer, the comparisons that it makes, and its basic blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import unicorn

Feature = tuple[str, int, int]
"""Something that a run covers, as (kind, which, detail):

- ("edge", number of the edge, how often it was taken, in steps that double);
- ("relation", slot of the comparison, bit of the relation of its two sides, such as "smaller by one");
- ("near", slot of the comparison, leading zero bits of the distance of its sides);
- ("index", slot of the array access, bit of the range that the index falls in);
- ("path", hash of the set of all edges, 0);
- ("text", how two compared texts differ, 0);
- ("letter", the character that was searched for and found, else 256; 1 if any of a set was searched for, else 0).
"""
Features = frozenset[Feature]


class ComparedOperands(NamedTuple):
    """The two unequal sides of a comparison, as unsigned numbers of `size` bytes."""

    first: int
    second: int
    size: int


@dataclass(frozen=True)
class Comparisons:
    """The comparisons of one run whose sides differed: a fuzzer that makes them equal takes another way."""

    comparisons: tuple[ComparedOperands, ...] = ()
    """The latest ones of each place in the code, in the order of the places."""
    texts: tuple[tuple[bytes, bytes], ...] = ()
    """What the run gave to the library's functions that compare or search strings or memory."""


class BlockTrace:
    """Counts the code that a run executes, by a hook at each basic block, and records the edges in one function.

    The hook is a Python call for each block (`NativeBlockTrace` has none): only machines that need the numbers watch.
    """

    def __init__(self, start: int, end: int, case_code: range) -> None:
        self.bounds = start, end, case_code.start, case_code.stop
        """The addresses of the function and of the case's code, each with its end."""
        self.reset()

    def watch(self, uc: Any) -> None:
        """Count the blocks of all runs from now on."""
        uc.hook_add(unicorn.UC_HOOK_BLOCK, self._on_block)

    def collect(self) -> None:
        """Take in what the last run has done."""

    def reset(self) -> None:
        """Forget the last run."""
        self.executed_bytes = 0
        """Bytes of all blocks that were executed: an upper bound of the number of instructions."""
        self.case_bytes = 0
        """Those of them that are the case's own code, and not the library's."""
        self.edges: set[tuple[int, int]] = set()
        """The edges between blocks of the function, by the addresses of the blocks. The first one comes from 0."""
        self._last_block = 0

    def _on_block(self, uc: Any, address: int, size: int, data: Any) -> None:
        """The hook: a block of `size` bytes begins."""
        start, end, case_start, case_end = self.bounds
        self.executed_bytes += size
        if case_start <= address < case_end:
            self.case_bytes += size
        if start <= address < end:
            self.edges.add((self._last_block, address))
            self._last_block = address
