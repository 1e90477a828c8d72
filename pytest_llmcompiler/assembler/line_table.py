"""The lines of machine code, which few verdicts need: they are found when they are first asked for."""

from __future__ import annotations

import functools
from array import array
from collections.abc import Iterator, Mapping, Sequence

from pytest_llmcompiler.assembler.source_lines import SourceLines
from pytest_llmcompiler.assembler.statements import Statement


class LineTable(Mapping[int, int]):
    """Address -> line of the text, counted from 1. It does not keep the statements: code is kept longer than they."""

    def __init__(self, lines: SourceLines, statements: Sequence[tuple[int, Statement]]) -> None:
        """`statements` has an address for each."""
        self._source = lines
        self._addresses = array("Q", [address for address, _ in statements])
        self._offsets = array("I", [statement.offset for _, statement in statements])

    @functools.cached_property
    def _lines(self) -> dict[int, int]:
        return dict(zip(self._addresses, self._source.find_lines(self._offsets), strict=True))

    def __getitem__(self, address: int) -> int:
        return self._lines[address]

    def __iter__(self) -> Iterator[int]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)
