"""Lines and columns of positions in a text."""

from __future__ import annotations

import functools
import itertools
from bisect import bisect_right
from collections.abc import Iterable

from pytest_llmcompiler.assembler.position_map import PositionMap


class SourceLines:
    """The lines of a source."""

    def __init__(self, source: str, positions: PositionMap | None = None) -> None:
        """`positions`: where `source` is the translation of another text, of which lines and columns are given."""
        self._source, self._positions = source, positions

    def locate(self, offset: int) -> tuple[int, int]:
        """Line and column, both counted from 1, of a position in characters."""
        if self._positions:
            offset = self._positions.find_origin(offset)
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def find_lines(self, offsets: Iterable[int]) -> list[int]:
        """The line, counted from 1, of each position."""
        if self._positions:
            return [self.locate(offset)[0] for offset in offsets]
        starts = self._starts
        return [bisect_right(starts, offset) for offset in offsets]

    @functools.cached_property
    def _starts(self) -> list[int]:
        source = self._positions.source if self._positions else self._source
        return list(itertools.accumulate((len(line) + 1 for line in source.split("\n")[:-1]), initial=0))
