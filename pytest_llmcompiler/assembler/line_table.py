"""The lines of machine code, which few verdicts need: they are found when they are first asked for."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence

from pytest_llmcompiler.assembler.statements import ParsedAssembly, Statement


class LineTable(Mapping[int, int]):
    """Address -> line of the text, counted from 1."""

    def __init__(self, parsed: ParsedAssembly, statements: Sequence[tuple[int, Statement]]) -> None:
        """`statements` has an address for each."""
        self._parsed, self._statements = parsed, statements

    @functools.cached_property
    def _lines(self) -> dict[int, int]:
        lines = self._parsed.find_lines([statement for _, statement in self._statements])
        return {address: line for (address, _), line in zip(self._statements, lines, strict=True)}

    def __getitem__(self, address: int) -> int:
        return self._lines[address]

    def __iter__(self) -> Iterator[int]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)
